"""What the ISIC challenges' label tables have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dermsentry.collection.labels import decode_one_hot
from dermsentry.collection.layouts.contents import Contents, listed
from dermsentry.collection.layouts.photographs import fill_in, stacked, with_photographs
from dermsentry.collection.table import Collection
from dermsentry.errors import InputError

PARTS = (("train", "Train(?:ing)?"), ("validation", "Validation"), ("test", "Test(?:_v2)?"))
"""The official splits, and what file names call them."""


def tables_of(found: Contents, pattern: str) -> list[tuple[Path, str]]:
    """The table of each official split that is there, with the split; `{part}` in `pattern` is its name."""
    there = [(found.named(pattern.format(part=part)), split) for split, part in PARTS]
    return [(one_of(found, paths), split) for paths, split in there if paths]


def one_of(found: Contents, paths: Sequence[Path]) -> Path:
    """The only one of some files, or the first where all are the same. Raises InputError naming them."""
    if len({path.read_bytes() for path in paths}) > 1:
        raise InputError(
            f"{found.root} has several tables of one kind that differ: {listed(paths, found.root)}. "
            "Expected one; give the folder of one set."
        )
    return paths[0]


def read_one_hot(found: Contents, truth: str, beside: Sequence[str]) -> Collection:
    """A challenge with a ground truth of one column per diagnosis for each split, and tables beside it.

    Both are patterns of file names, with `{part}` for the split.
    """
    parts, notes = [], []
    names = []
    for path, split in tables_of(found, truth):
        table, told = decode_one_hot(found.read(path, "image_id"), str(path))
        parts.append((table, split))
        names.append(path.name)
        notes += told
    table = stacked(parts)
    for pattern in beside:
        for path, _ in tables_of(found, pattern):
            table, told = fill_in(table, found.read(path, "image_id"))
            notes += [f"{path.name}: {line}" for line in told]
    return with_photographs(found, table, ", ".join(names), left_alone=tuple(notes))
