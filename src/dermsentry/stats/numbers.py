"""Numbers as text, the same on reports, pages, cards and the command line.

No rounding makes a share look like none or like all: what is not 0 never prints as 0 %, what is not 1
never as 100 %. Figures that are compared print with the digits that keep them apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from dermsentry.stats.intervals import Estimate

MISSING = "–"
_MOST_DIGITS = 6


def percent(share: float | None, digits: int = 1) -> str:
    """A share as per cent: `97.3 %`; `< 0.1 %` and `> 99.9 %` where rounding would say none or all.

    Parameters
    ----------
    share
        From 0 to 1; None or NaN prints as `–`.
    digits
        Decimals.
    """
    if share is None or math.isnan(share):
        return MISSING
    return f"{_rounded(100 * share, digits, 100, inside=0 < share < 1)} %"


def percent_as_given(share: float) -> str:
    """A share that somebody chose, such as a target or a prevalence: `95 %`, `0.5 %`; 3 decimals at most."""
    digits = next((n for n in range(3) if math.isclose(100 * share, round(100 * share, n))), 3)
    return percent(share, digits)


def brief(share: float) -> str:
    """A share for a sentence: `62 %`, with a decimal only below 10 % and above 99 %."""
    return percent(share, digits_of(share))


def digits_of(*shares: float) -> int:
    """The decimals with which per cents are read best in a sentence: none from 10 to 99 %, else one."""
    return 0 if all(0.1 <= share <= 0.99 or share in (0, 1) for share in shares) else 1


def decimal(value: float | None, digits: int = 3) -> str:
    """A figure such as an AUROC: `0.925`; with a true minus sign, none before zero; `–` for none, `∞`.

    `> 0.999` and `< 0.001` where rounding would say a perfect one or none.
    """
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return _rounded(value, digits, 1, inside=0 < value < 1)


def significant(value: float, digits: int = 3) -> str:
    """A threshold, to so many significant digits: `0.0231`; one below 1 never as 1."""
    text = f"{value:.{digits}g}"
    return f"> {1 - 10.0**-digits:.{digits}f}" if value < 1 <= float(text) else text


def signed(value: float, digits: int = 3) -> str:
    """A difference, in whatever unit: `+0.012`, `−0.003`, `+1.0`; `0.000` where it rounds to none."""
    if not math.isfinite(value):
        return decimal(value)
    text = f"{value:+.{digits}f}"
    return text.replace("-", "−") if float(text) else text[1:]


def percent_range(figure: Estimate, digits: int = 1) -> str:
    """The 95 % interval of a share: `90.1–99.8`, `45.8 to > 99.9`."""
    return _range(*(percent(end, digits).removesuffix(" %") for end in (figure.low, figure.high)))


def decimal_range(figure: Estimate, digits: int = 3) -> str:
    """The 95 % interval of a figure: `0.899–0.947`, `−0.050 to 0.030`."""
    return _range(decimal(figure.low, digits), decimal(figure.high, digits))


def percent_interval(figure: Estimate | None, digits: int = 1, against: float | None = None) -> str:
    """A share with its 95 % interval: `97.3 % (90.1–99.8)`; None prints as `–`.

    `against`: a share that it is compared with. It takes more decimals where fewer would show them alike.
    """
    if figure is None:
        return MISSING
    if against is not None:
        digits = _digits(against, (figure.value, figure.low, figure.high), digits, percent)
    return f"{percent(figure.value, digits)} ({percent_range(figure, digits)})"


def decimal_interval(figure: Estimate | None, digits: int = 3) -> str:
    """A figure with its 95 % interval: `0.925 (0.899–0.947)`, `−0.010 (−0.050 to 0.030)`; None is `–`."""
    if figure is None:
        return MISSING
    return f"{decimal(figure.value, digits)} ({decimal_range(figure, digits)})"


def beside_chance(area: Estimate | None) -> str:
    """What an AUROC's interval says of chance, 0.5: `no better than chance` where it reaches it, else `""`.

    `worse than chance` where all of it is below.
    """
    if area is None or area.low > 0.5:
        return ""
    return "worse than chance" if area.high < 0.5 else "no better than chance"


def compared(
    value: float,
    *thresholds: float,
    digits: int = 1,
    show: Callable[[float | None, int], str] = percent,
) -> tuple[str, ...]:
    """A share and its thresholds as per cent, each on the side of the share that it truly is on.

    `2.6 %` below a threshold of `2.6 %` becomes `2.58 %` and `2.60 %`; equal ones print alike. Where six
    decimals show no difference, a threshold says so: `> 2.600000 %`.

    Parameters
    ----------
    value, thresholds
        From 0 to 1.
    digits
        Decimals, at least.
    show
        How a number is written: `percent` or `decimal`.

    Returns
    -------
    tuple of str
        The value, then the thresholds in their order.
    """
    digits = _digits(value, thresholds, digits, show)
    own = show(value, digits)

    def beside(threshold: float) -> str:
        text = show(threshold, digits)
        if text != own or threshold == value or text[0] in "<>":
            return text
        return f"{'<' if threshold < value else '>'} {text}"

    return (own, *(beside(threshold) for threshold in thresholds))


def _digits(
    value: float, others: tuple[float, ...], digits: int, show: Callable[[float | None, int], str]
) -> int:
    """How many decimals tell a value from those of the others that differ from it."""
    apart = [other for other in others if other != value]
    while digits < _MOST_DIGITS and show(value, digits) in [show(other, digits) for other in apart]:
        digits += 1
    return digits


def _rounded(value: float, digits: int, whole: int, *, inside: bool) -> str:
    """`inside`: that it is neither none nor the whole, and must not look so."""
    text = f"{value:.{digits}f}"
    edge = 10.0**-digits
    if inside and not float(text):
        return f"< {edge:.{digits}f}"
    if inside and float(text) == whole and whole > edge:
        return f"> {whole - edge:.{digits}f}"
    return text.removeprefix("-") if not float(text) else text.replace("-", "−")


def _range(low: str, high: str) -> str:
    return f"{low}{' to ' if set(low + high) & set('−<>') else '–'}{high}"


Unit = Literal["patient", "lesion", "lesion or patient", "distinct photograph", "group"]
"""What a group of related photographs is, as far as that is known; `group` where nobody said."""
_UNITS: dict[Unit, tuple[str, str, str, str]] = {
    "patient": ("patient", "patients", "patient with melanoma", "patients with melanoma"),
    "lesion": ("lesion", "lesions", "melanoma lesion", "melanoma lesions"),
    "lesion or patient": (
        "lesion or patient", "lesions or patients", "melanoma lesion or patient",
        "melanoma lesions or patients",
    ),
    "distinct photograph": (
        "distinct photograph", "distinct photographs", "distinct melanoma photograph",
        "distinct melanoma photographs",
    ),
    "group": (
        "group of related photographs", "groups of related photographs", "group of melanoma photographs",
        "groups of melanoma photographs",
    ),
}  # fmt: skip


def units(unit: Unit, *, melanoma: bool = False) -> str:
    """`lesions`, or `melanoma lesions`."""
    return _UNITS[unit][3 if melanoma else 1]


def counted_units(number: int, unit: Unit, *, melanoma: bool = False) -> str:
    """`1 lesion`, `2 patients`, or `12 melanoma lesions`, `3 patients with melanoma`."""
    return counted(number, *_UNITS[unit][2 * melanoma : 2 * melanoma + 2])


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 photograph`, `2 photographs`, `no photographs`; thousands with a comma."""
    word = one if number == 1 else many or f"{one}s"
    return f"{number:,} {word}" if number else f"no {word}"
