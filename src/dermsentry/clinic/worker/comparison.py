"""What comparing two photographs of a lesion found, and by what it is judged; without what measures it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dermsentry.stats.intervals import Estimate

SIDE = 1024
"""The longer side, in pixels, of the photographs that are compared and shown."""
DISTURBED = 20
"""Disturbances of each photograph."""
REPEATED = {"area": 1.5, "colour": 8.5, "lightness": 9.0, "melanoma": 0.32}
"""What 95 % of 80 pairs of photographs of one lesion in HAM10000 differ by at most (area: as a ratio), with
the bundled model; of 80 others 5, 4, 4 and 3 % differ by more. Many of these were taken in one session."""


@dataclass(frozen=True)
class Change:
    """A figure of the first and the second photograph, and its change, each with 95 % of the disturbances.

    `beyond`: whether it is more than the disturbances and second photographs of an unchanged lesion bring
    about.
    """

    first: Estimate
    second: Estimate
    change: Estimate
    beyond: bool


@dataclass(frozen=True)
class Comparison:
    """What comparing two photographs found.

    `matrix` (2, 3) takes x and y of the first, at `SIDE`, to the second; None where they could not be
    registered. `agreement`: the share of the skin that both show in which the detail is the same. `area`: of
    the lesion, as a ratio of the second to the first; None without a registration or a lesion that is darker
    than its skin. `colour`: how far the lesion's colour is from the skin's (CIE 1976 ΔE*ab); `lightness`: by
    how much it is darker (L*). `melanoma`: its probability. `outlines`: of the lesion that was measured, each
    as x, y in pixels at `SIDE` of the first photograph; of the second where it is registered.
    """

    matrix: list[list[float]] | None
    agreement: float
    area: Change | None
    colour: Change | None
    lightness: Change | None
    melanoma: Change
    outlines: list[list[list[float]]]


def plain_change(told: Any) -> Change | None:
    """A change as JSON has it. Raises ValueError, KeyError or TypeError where it is none."""
    if told is None:
        return None
    numbers = {
        name: Estimate(*(float(told[name][own]) for own in ("value", "low", "high")))
        for name in ("first", "second", "change")
    }
    return Change(**numbers, beyond=bool(told["beyond"]))
