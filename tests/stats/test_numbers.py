"""Numbers as text: no rounding tells another story."""

from __future__ import annotations

import pytest

from dermsentry.stats.numbers import compared, decimal


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0.0258, 0.026), ("2.58 %", "2.60 %")),
        ((0.5, 0.5), ("50.0 %", "50.0 %")),
        ((0.2,), ("20.0 %",)),
        ((0.5499, 0.55, 0.2), ("54.99 %", "55.00 %", "20.00 %")),
        # Fewer digits show some of them alike.
        ((0.025490, 0.025510, 0.025485), ("2.5490 %", "2.5510 %", "2.5485 %")),
    ],
)
def test_what_is_compared_prints_on_its_side(numbers: tuple[float, ...], expected: tuple[str, ...]) -> None:
    assert compared(*numbers) == expected


def test_decimals_are_compared_too() -> None:
    assert compared(0.4999, 0.5, digits=2, show=decimal) == ("0.4999", "0.5000")
