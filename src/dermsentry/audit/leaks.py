"""What stands on both sides of Train and Test: the same photograph, or another one of the same lesion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from dermsentry.collection.groups import DuplicateGroup, lesion_keys, patient_keys, same_photographs


@dataclass(frozen=True)
class Placed:
    """A photograph and where it stands: path, label of its folder or table, split (`""`: none)."""

    path: str
    diagnosis: str
    split: str


@dataclass(frozen=True)
class SharedLesion:
    """Different photographs of one lesion, or one patient, on more than one side."""

    of: Literal["lesion", "patient"]
    name: str
    photographs: tuple[Placed, ...]


def place(table: pd.DataFrame) -> dict[str, Placed]:
    """Each photograph of a collection's table by its path."""
    rows = zip(table["path"], table["diagnosis"], table["split"], strict=True)
    return {path: Placed(path, diagnosis, split) for path, diagnosis, split in rows}


def on_both_sides(photographs: Iterable[Placed]) -> bool:
    """Whether photographs stand in more than one of train, validation and test."""
    return len({photograph.split for photograph in photographs} - {""}) > 1


def find_leaks(table: pd.DataFrame, duplicates: Sequence[DuplicateGroup]) -> list[tuple[Placed, ...]]:
    """Each photograph that is in more than one split: its copies, or files under the same image id."""
    placed = place(table)
    groups = [tuple(placed[path] for path in sorted(paths)) for paths in same_photographs(table, duplicates)]
    return sorted((group for group in groups if on_both_sides(group)), key=lambda group: group[0].path)


def find_shared_lesions(table: pd.DataFrame, duplicates: Sequence[DuplicateGroup]) -> list[SharedLesion]:
    """Lesions, then patients, on more than one side by different photographs; leaks are not told again.

    A patient is left out where each of their lesions on both sides has been named already.
    """
    leaking = {p.path for group in find_leaks(table, duplicates) for p in group}
    placed = place(table)
    found: list[SharedLesion] = []
    for of, keys in (("lesion", lesion_keys(table)), ("patient", patient_keys(table))):
        members: dict[str, list[Placed]] = {}
        for path, key in zip(table["path"], keys, strict=True):
            if key and path not in leaking:
                members.setdefault(key, []).append(placed[path])
        told = {p.path for shared in found for p in shared.photographs}
        for key in sorted(members):
            group = sorted(members[key], key=lambda p: p.path)
            if on_both_sides(group) and not {p.path for p in group} <= told:
                name = key.rpartition("\0")[2]
                found.append(SharedLesion("lesion" if of == "lesion" else "patient", name, tuple(group)))
    return found
