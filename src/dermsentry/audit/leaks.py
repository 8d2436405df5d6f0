"""What is in more than one of train, validation and test: the same photograph, or one of the same lesion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from dermsentry.collection.groups import DuplicateGroup, lesion_keys, patient_keys, same_photographs


@dataclass(frozen=True)
class AuditedPhotograph:
    """A photograph's path, its label, and the split that its folder or table gives it (`""`: none)."""

    path: str
    diagnosis: str
    split: str


@dataclass(frozen=True)
class PhotographGroup:
    """Files that are one photograph, ordered by path."""

    photographs: tuple[AuditedPhotograph, ...]


@dataclass(frozen=True)
class SharedLesion:
    """Different photographs of one lesion, or one patient, in more than one split; `name` is its id."""

    of: Literal["lesion", "patient"]
    name: str
    photographs: tuple[AuditedPhotograph, ...]


def place(table: pd.DataFrame) -> dict[str, AuditedPhotograph]:
    """Each photograph of a collection's table by its path."""
    rows = zip(table["path"], table["diagnosis"], table["split"], strict=True)
    return {path: AuditedPhotograph(path, diagnosis, split) for path, diagnosis, split in rows}


def in_several_splits(photographs: Iterable[AuditedPhotograph]) -> bool:
    """Whether photographs are in more than one of train, validation and test."""
    return len({photograph.split for photograph in photographs} - {""}) > 1


def count_in_test(groups: Iterable[PhotographGroup | SharedLesion]) -> int:
    """How many images of Test are in any of the groups."""
    return len({p.path for group in groups for p in group.photographs if p.split == "test"})


def find_leaks(table: pd.DataFrame, duplicates: Sequence[DuplicateGroup]) -> list[PhotographGroup]:
    """Each photograph that is in more than one split: its copies, or files under the same image id."""
    placed = place(table)
    groups = [tuple(placed[path] for path in sorted(paths)) for paths in same_photographs(table, duplicates)]
    leaking = sorted((group for group in groups if in_several_splits(group)), key=lambda group: group[0].path)
    return [PhotographGroup(group) for group in leaking]


def find_shared_lesions(table: pd.DataFrame, duplicates: Sequence[DuplicateGroup]) -> list[SharedLesion]:
    """Lesions, then patients, in more than one split by different photographs; leaks are left out.

    A patient is left out where each of their lesions in several splits has been named already.
    """
    leaking = {p.path for group in find_leaks(table, duplicates) for p in group.photographs}
    placed = place(table)
    found: list[SharedLesion] = []
    kinds: tuple[tuple[Literal["lesion", "patient"], list[str]], ...] = (
        ("lesion", lesion_keys(table)),
        ("patient", patient_keys(table)),
    )
    for of, keys in kinds:
        members: dict[str, list[AuditedPhotograph]] = {}
        for path, key in zip(table["path"], keys, strict=True):
            if key and path not in leaking:
                members.setdefault(key, []).append(placed[path])
        named = {p.path for shared in found for p in shared.photographs}
        for key in sorted(members):
            group = sorted(members[key], key=lambda p: p.path)
            if in_several_splits(group) and not {p.path for p in group} <= named:
                found.append(SharedLesion(of, key.rpartition("\0")[2], tuple(group)))
    return found
