"""ISIC 2017: `labels.csv` with two columns of 0 and 1 beside `train/`, `val/` and `test/`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dermsentry.collection.columns import read_columns
from dermsentry.collection.layouts.photographs import with_photographs
from dermsentry.collection.table import SPLITS, Collection


def recognises(path: Path) -> bool:
    """Whether `path` has `labels.csv` and one of the three folders."""
    return (path / "labels.csv").is_file() and any(
        (path / split).is_dir() for split in ("train", "val", "test")
    )


def read(path: Path) -> Collection:
    """Read it: both 0 is a nevus, an empty field an unknown diagnosis. Raises InputError."""
    table = read_columns(path / "labels.csv", "image_id", "melanoma", "seborrheic_keratosis", "split")
    melanoma, keratosis = table["melanoma"], table["seborrheic_keratosis"]
    known = (melanoma != "") & (keratosis != "")
    table["diagnosis"] = np.select(
        [melanoma.isin(["1", "1.0"]), keratosis.isin(["1", "1.0"]), known], ["MEL", "SK", "NV"], default=""
    )
    table["split"] = table["split"].str.lower().map(SPLITS).fillna("")
    return with_photographs(path, table)
