"""Numbers as text, the same on reports, pages, cards and the command line.

No rounding makes a share look like none or like all: what is not 0 never prints as 0 %, what is not 1
never as 100 %. Two figures that are compared print with the digits that keep them apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable

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
    return MISSING if share is None or math.isnan(share) else f"{_per_cent(share, digits)} %"


def brief(share: float) -> str:
    """A share for a sentence: `62 %`, with a decimal only below 10 % and above 99 %."""
    return percent(share, digits_of(share))


def digits_of(*shares: float) -> int:
    """The decimals with which per cents are read best in a sentence: none from 10 to 99 %, else one."""
    return 0 if all(0.1 <= share <= 0.99 or share in (0, 1) for share in shares) else 1


def percent_interval(figure: Estimate | None, digits: int = 1) -> str:
    """A share with its 95 % interval: `97.3 % (90.1–99.8)`; None prints as `–`."""
    if figure is None:
        return MISSING
    low, high = _per_cent(figure.low, digits), _per_cent(figure.high, digits)
    return f"{percent(figure.value, digits)} ({low}–{high})"


def decimal(value: float | None, digits: int = 3) -> str:
    """A figure such as an AUROC: `0.925`; with a true minus sign, none before zero; `–` for none, `∞`."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{digits}f}"
    # An AUROC of 0.9997 is not a perfect one.
    if 0 < value < 1 and float(text) in (0.0, 1.0):
        edge = 10.0**-digits
        text = f"< {edge:.{digits}f}" if value < 0.5 else f"> {1 - edge:.{digits}f}"
    return "0" + text[2:] if text.startswith("-") and not float(text) else text.replace("-", "−")


def decimal_interval(figure: Estimate | None, digits: int = 3) -> str:
    """A figure with its 95 % interval: `0.925 (0.899–0.947)`, `−0.010 (−0.050 to 0.030)`; None is `–`."""
    if figure is None:
        return MISSING
    low, high = decimal(figure.low, digits), decimal(figure.high, digits)
    between = " to " if "−" in low + high else "–"
    return f"{decimal(figure.value, digits)} ({low}{between}{high})"


def compared(
    value: float,
    *thresholds: float,
    digits: int = 1,
    show: Callable[[float | None, int], str] = percent,
) -> tuple[str, ...]:
    """A share and its thresholds as per cent, each on the side of the share that it truly is on.

    `2.6 %` below a threshold of `2.6 %` becomes `2.58 %` and `2.60 %`; equal ones print alike.

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
    others = [threshold for threshold in thresholds if threshold != value]
    while digits < _MOST_DIGITS and show(value, digits) in [show(other, digits) for other in others]:
        digits += 1
    return tuple(show(number, digits) for number in (value, *thresholds))


def _per_cent(share: float, digits: int) -> str:
    text = f"{100 * share:.{digits}f}"
    edge = 10.0**-digits
    if 0 < share < 1 and float(text) == 0:
        return f"< {edge:.{digits}f}"
    if 0 < share < 1 and float(text) == 100:
        return f"> {100 - edge:.{digits}f}"
    return text.replace("-", "−")
