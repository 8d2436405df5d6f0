"""HAM10000 and `isic-archive`: a table by image id beside one folder of photographs."""

from __future__ import annotations

from pathlib import Path

from dermsentry.collection.columns import read_columns
from dermsentry.collection.layouts.photographs import with_photographs
from dermsentry.collection.table import Collection
from dermsentry.diagnoses import find_label

_FOLDER = "images"
_TABLES = ("metadata.csv", "labels.csv")


def recognises(path: Path) -> bool:
    """Whether `path` has `images/` and `metadata.csv` or `labels.csv`."""
    return (path / _FOLDER).is_dir() and any((path / name).is_file() for name in _TABLES)


def read(path: Path) -> Collection:
    """Read it; a diagnosis that is none of the nine is kept as unknown and listed. Raises InputError."""
    labels = next(path / name for name in _TABLES if (path / name).is_file())
    table = read_columns(labels, "image_id", "diagnosis")
    beside = sorted(
        p.name for p in path.iterdir() if p.is_dir() and p.name != _FOLDER and not p.name.startswith(".")
    )
    found = table["diagnosis"].map({text: find_label(text) for text in table["diagnosis"].unique()})
    outside = table.loc[found.isna() & (table["diagnosis"] != ""), "diagnosis"].value_counts()
    table["diagnosis"] = found.fillna("")
    left_alone = (
        *(f"{name}/: a folder beside {_FOLDER}/, not read" for name in beside),
        *(
            f"{labels.name}: {n} photographs of {text!r}, none of the nine, kept as unknown"
            for text, n in outside.items()
        ),
    )
    return with_photographs(path, table, _FOLDER, left_alone)
