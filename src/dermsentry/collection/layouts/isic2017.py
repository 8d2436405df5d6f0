"""ISIC 2017, Part 3: two columns of 0 and 1, as the challenge has them or in one table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dermsentry.collection.columns import own_splits
from dermsentry.collection.labels import row_names, truths
from dermsentry.collection.layouts.challenge import tables_of
from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.layouts.photographs import fill_in, stacked, with_photographs
from dermsentry.collection.table import Collection

ABOUT = About(
    name="ISIC 2017, Part 3",
    published="https://challenge.isic-archive.com/data/#2017",
    licence="CC0",
    recognised="`ISIC-2017_*_Part3_GroundTruth.csv`, at any depth; or `labels.csv` with `split`, "
    "`melanoma` and "
    "`seborrheic_keratosis` beside `train/`, `val/`, `test/`",
    gives=("split", "age", "sex"),
    remark="both columns 0 is a nevus, empty is unknown; superpixels are not read",
)
_TRUTH = r"ISIC-2017_{part}_Part3_GroundTruth\.csv"
_METADATA = r"ISIC-2017_{part}_Data_metadata\.csv"
_FOLDERS = ("train", "val", "test")


def recognises(found: Contents) -> bool:
    """Whether a ground truth, or `labels.csv` and one of the three folders are there."""
    return bool(tables_of(found, _TRUTH)) or (
        found.table is None
        and (found.root / "labels.csv").is_file()
        and any((found.root / split).is_dir() for split in _FOLDERS)
    )


def read(found: Contents) -> Collection:
    """Read it. Raises InputError."""
    parts, notes = [], []
    for path, split in tables_of(found, _TRUTH):
        table, told = _decoded(found.read(path, "image_id", *_COLUMNS), path)
        parts.append((table, split))
        notes += told
    if not parts:
        path = found.root / "labels.csv"
        table, notes = _decoded(found.read(path, "image_id", *_COLUMNS, "split"), path)
        table["split"] = own_splits(table["split"], path)
        return with_photographs(found, table, str(path), left_alone=tuple(notes))
    table = stacked(parts)
    for path, _ in tables_of(found, _METADATA):
        table, told = fill_in(table, found.read(path, "image_id"))
        notes += [f"{path.name}: {line}" for line in told]
    names = ", ".join(path.name for path, _ in tables_of(found, _TRUTH))
    return with_photographs(found, table, names, left_alone=tuple(notes))


_COLUMNS = ("melanoma", "seborrheic_keratosis")


def _decoded(table: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """The table with its diagnoses, and the rows that have two."""
    melanoma, keratosis = truths(table, _COLUMNS, str(path)).T
    known = ((table["melanoma"] != "") & (table["seborrheic_keratosis"] != "")).to_numpy()
    both = melanoma & keratosis
    said = [both, melanoma, keratosis, known]
    table["diagnosis"] = np.select(said, ["", "melanoma", "seborrheic keratosis", "nevus"], default="")
    named = f"{int(both.sum())} rows with two diagnoses, kept as unknown: {', '.join(row_names(table, both))}"
    return table, [f"{path.name}: {named}"] if both.any() else []
