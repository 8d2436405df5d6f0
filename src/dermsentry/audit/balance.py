"""How many photographs each diagnosis has, where, and which ones rule."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from dermsentry.diagnoses import CODES

UNSPLIT = "unsplit"
_ORDER = ("train", "validation", "test", UNSPLIT)
_RULES = 1.25  # times an equal share


@dataclass(frozen=True)
class Balance:
    """Counts of photographs.

    Attributes
    ----------
    splits
        Split to count; `unsplit` for photographs that no Train or Test claims.
    classes
        Label to counts per split, in the order of the diagnoses; `""` for unknown ones comes last.
    counted_in
        The split that `least` and `dominant` are about: train where there is one.
    least
        The label with the fewest photographs there, `""` if none has a label.
    dominant
        Labels that hold at least a quarter more than an equal share of it, most first.
    """

    splits: dict[str, int]
    classes: dict[str, dict[str, int]]
    counted_in: str
    least: str
    dominant: tuple[str, ...]

    def count(self, label: str) -> int:
        """Photographs of a label in `counted_in`."""
        return self.classes[label].get(self.counted_in, 0)


def _place_of(label: str) -> tuple[int, str]:
    return (CODES.index(label.split("|")[0]) if label else len(CODES), label)


def count_classes(table: pd.DataFrame) -> Balance:
    """Count a collection's photographs by diagnosis and split."""
    split = table["split"].replace("", UNSPLIT)
    splits = {name: int((split == name).sum()) for name in _ORDER if (split == name).any()}
    classes = {
        label: {name: int(((table["diagnosis"] == label) & (split == name)).sum()) for name in splits}
        for label in sorted(set(table["diagnosis"]), key=_place_of)
    }
    counted_in = next(name for name in ("train", UNSPLIT, "validation", "test") if name in splits)
    known = {label: counts[counted_in] for label, counts in classes.items() if label}
    equal = sum(known.values()) / max(len(known), 1)
    dominant = [label for label in sorted(known, key=lambda k: -known[k]) if known[label] >= _RULES * equal]
    least = min(known, key=lambda k: known[k], default="")
    return Balance(splits, classes, counted_in, least, tuple(dominant) if len(known) > 1 else ())
