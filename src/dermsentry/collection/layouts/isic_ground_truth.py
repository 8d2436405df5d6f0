"""ISIC 2018 and 2019: a ground truth with one column per diagnosis beside its photographs, or above them."""

from __future__ import annotations

from pathlib import Path

from dermsentry.collection.columns import own_names, read_columns
from dermsentry.collection.labels import ONE_HOT, decode_one_hot
from dermsentry.collection.layouts.photographs import with_photographs
from dermsentry.collection.table import Collection
from dermsentry.csv_tables import column_names


def recognises(path: Path) -> bool:
    """Whether `path` is a ground truth without paths, or a folder with one in it."""
    if path.is_file():
        columns = set(own_names(column_names(path)))
        return columns >= ONE_HOT and "path" not in columns
    return _ground_truth(path) is not None


def read(path: Path) -> Collection:
    """Read it. Raises InputError."""
    table = path if path.is_file() else _ground_truth(path)
    assert table is not None  # recognised
    return with_photographs(table.parent, decode_one_hot(read_columns(table, "image_id")))


def _ground_truth(folder: Path) -> Path | None:
    return next((p for p in sorted(folder.glob("*.csv")) if set(column_names(p)) >= ONE_HOT), None)
