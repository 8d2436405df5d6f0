"""Numbers as text: no rounding tells another story."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dermsentry.stats.intervals import Estimate
from dermsentry.stats.numbers import (
    Unit,
    compared,
    counted_units,
    decimal,
    decimal_interval,
    percent,
    percent_as_given,
    percent_interval,
    signed,
    significant,
)

SHARES = st.floats(0, 1) | st.sampled_from([0.0, 1.0, 0.999, 0.9995, 0.0005, 5e-324, math.nextafter(1, 0)])


def place(text: str) -> tuple[float, int]:
    """Where a reader puts a number: `< 0.1 %` is just below 0.1 %, `0.1 %` at it, `> 0.1 %` just above."""
    side = {"<": -1, ">": 1}.get(text[0], 0)
    return float(text.lstrip("<> ").removesuffix(" %").replace("−", "-")), side


@given(SHARES, st.integers(0, 4))
def test_only_none_is_0_percent_and_only_all_is_100(share: float, digits: int) -> None:
    where = place(percent(share, digits))
    assert (where == (0, 0)) == (share == 0)
    assert (where == (100, 0)) == (share == 1)


@given(SHARES, st.integers(1, 4))
def test_only_a_perfect_figure_is_1(value: float, digits: int) -> None:
    assert (place(decimal(value, digits)) == (1, 0)) == (value == 1)
    assert (place(decimal(value, digits)) == (0, 0)) == (value == 0)


@given(SHARES, SHARES, st.integers(0, 3))
def test_a_larger_share_never_reads_as_a_smaller_one(one: float, other: float, digits: int) -> None:
    low, high = sorted([one, other])
    assert place(percent(low, digits)) <= place(percent(high, digits))


@given(SHARES, st.lists(SHARES, min_size=1, max_size=4), st.integers(0, 2))
def test_what_is_compared_prints_on_its_side(value: float, thresholds: list[float], digits: int) -> None:
    assume(all(1e-8 < number < 1 - 1e-8 or number in (0, 1) for number in (value, *thresholds)))
    own, *others = compared(value, *thresholds, digits=digits)
    for threshold, text in zip(thresholds, others, strict=True):
        assert (place(own) < place(text)) == (value < threshold)
        assert (place(own) > place(text)) == (value > threshold)


@given(SHARES, SHARES, SHARES, SHARES)
def test_an_interval_prints_on_the_sides_of_what_it_is_compared_with(
    one: float, two: float, three: float, target: float
) -> None:
    low, value, high = sorted([one, two, three])
    assume(all(abs(number - target) > 1e-7 or number == target for number in (low, value, high)))
    text = percent_interval(Estimate(value, low, high), 0, against=target)
    found, ends = text.split(" % (")
    printed = place(compared(target, low, value, high, digits=0)[0])
    shown = (found, *re.split(" to |–", ends.removesuffix(")")))
    for number, text in zip((value, low, high), shown, strict=True):
        assert (place(text) < printed) == (number < target)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0.0258, 0.026), ("2.58 %", "2.60 %")),
        ((0.5, 0.5), ("50.0 %", "50.0 %")),
        ((0.2,), ("20.0 %",)),
        ((0.5499, 0.55, 0.2), ("54.99 %", "55.00 %", "20.00 %")),
        # Fewer digits show some of them alike.
        ((0.025490, 0.025510, 0.025485), ("2.5490 %", "2.5510 %", "2.5485 %")),
        ((0.5, 0.5 + 1e-12), ("50.000000 %", "> 50.000000 %")),
    ],
)
def test_comparisons(numbers: tuple[float, ...], expected: tuple[str, ...]) -> None:
    assert compared(*numbers) == expected


def test_decimals_are_compared_too() -> None:
    assert compared(0.4999, 0.5, digits=2, show=decimal) == ("0.4999", "0.5000")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (percent(0.973), "97.3 %"),
        (percent(0.0004), "< 0.1 %"),
        (percent(0.9996), "> 99.9 %"),
        (percent(0.997, 0), "> 99 %"),
        (percent(None), "–"),
        (percent(math.nan), "–"),
        (percent(-0.0001), "0.0 %"),
        (percent_as_given(0.95), "95 %"),
        (percent_as_given(0.005), "0.5 %"),
        (percent_as_given(1 / 3), "33.333 %"),
        (percent_as_given(0.29), "29 %"),
        (decimal(0.99996), "> 0.999"),
        (decimal(-0.0001), "0.000"),
        (decimal(-0.25, 2), "−0.25"),
        (decimal(math.inf), "∞"),
        (decimal(-math.inf), "−∞"),
        (decimal(None), "–"),
        (decimal(0.7, 0), "1"),
        (decimal(0.2, 0), "< 1"),
        (decimal(16.4, 0), "16"),
        (significant(0.023149), "0.0231"),
        (significant(0.9996), "> 0.999"),
        (significant(1.0), "1"),
        (significant(12.3456), "12.3"),
        (signed(0.012), "+0.012"),
        (signed(-0.003), "−0.003"),
        (signed(0.0), "0.000"),
        (signed(0.00001), "0.000"),
        (signed(-0.00001), "0.000"),
        (signed(0.98, 1), "+1.0"),  # percentage points: no share, so nothing is hidden
        (percent_interval(Estimate(0.973, 0.901, 0.998)), "97.3 % (90.1–99.8)"),
        (percent_interval(None), "–"),
        (percent_interval(Estimate(0.9, 0.458, 0.9999)), "90.0 % (45.8 to > 99.9)"),
        (percent_interval(Estimate(0.94, 0.7, 0.9496), 0, against=0.95), "94.00 % (70.00–94.96)"),
        (decimal_interval(Estimate(0.925, 0.899, 0.947)), "0.925 (0.899–0.947)"),
        (decimal_interval(Estimate(-0.01, -0.05, 0.03)), "−0.010 (−0.050 to 0.030)"),
        (decimal_interval(Estimate(3.0, 2.0, math.inf), 0), "3 (2–∞)"),
        (decimal_interval(None), "–"),
    ],
)  # fmt: skip
def test_texts(text: str, expected: str) -> None:
    assert text == expected


@pytest.mark.parametrize(
    ("number", "unit", "melanoma", "text"),
    [
        (1, "lesion", True, "1 melanoma lesion"),
        (12, "patient", True, "12 patients with melanoma"),
        (2, "lesion or patient", False, "2 lesions or patients"),
        (1_200, "distinct photograph", False, "1,200 distinct photographs"),
        (1, "group", False, "1 group of related photographs"),
    ],
)
def test_groups_are_called_what_they_are(number: int, unit: Unit, melanoma: bool, text: str) -> None:
    assert counted_units(number, unit, melanoma=melanoma) == text
