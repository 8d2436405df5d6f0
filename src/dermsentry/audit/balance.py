"""How many photographs each diagnosis has, where, and which diagnoses dominate."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from dermsentry.diagnoses import CODES

UNSPLIT, UNKNOWN = "unsplit", "unknown"
_ORDER = ("train", "validation", "test", UNSPLIT)
_DOMINATES = 1.25  # times an equal share


@dataclass(frozen=True)
class Balance:
    """Counts of photographs.

    Attributes
    ----------
    splits
        Split to count; `unsplit` for photographs that are in neither Train nor Test.
    classes
        Label to counts per split, in the order of the diagnoses; `unknown` comes last.
    counted_in
        The split that `least` and `dominant` are about: train where there is one.
    least
        The label with the fewest photographs there, `""` if none has a label.
    dominant
        Labels that have at least a quarter more than an equal share there, most first.
    """

    splits: dict[str, int]
    classes: dict[str, dict[str, int]]
    counted_in: str
    least: str
    dominant: tuple[str, ...]


def count_classes(table: pd.DataFrame) -> Balance:
    """Count a collection's photographs by diagnosis and split."""
    split, diagnosis = table["split"].replace("", UNSPLIT), table["diagnosis"]
    splits = {name: int((split == name).sum()) for name in _ORDER if (split == name).any()}
    classes = {
        label or UNKNOWN: {name: int(((diagnosis == label) & (split == name)).sum()) for name in splits}
        for label in sorted(set(diagnosis), key=_position)
    }
    counted_in = next(name for name in ("train", UNSPLIT, "validation", "test") if name in splits)
    known = {label: counts[counted_in] for label, counts in classes.items() if label != UNKNOWN}
    equal = sum(known.values()) / max(len(known), 1)
    most_first = sorted(known, key=lambda k: -known[k])
    dominant = [label for label in most_first if known[label] >= _DOMINATES * equal]
    least = min(known, key=lambda k: known[k], default="")
    return Balance(splits, classes, counted_in, least, tuple(dominant) if len(known) > 1 else ())


def count_confirmed(table: pd.DataFrame) -> dict[str, int]:
    """How many of the known diagnoses were made in which way, the most frequent first; none where unsaid."""
    ways = table.loc[table["diagnosis"] != "", "diagnosis_confirm_type"].replace("", UNKNOWN)
    counts = {str(way): int(count) for way, count in ways.value_counts().items()}
    return counts if set(counts) - {UNKNOWN} else {}


def _position(label: str) -> tuple[int, str]:
    return (CODES.index(label.split("|")[0]) if label else len(CODES), label)
