"""ISIC (ISBI) 2016, Part 3: tables without a header, in words for training and in numbers for the test."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dermsentry.collection.labels import truth
from dermsentry.collection.layouts.challenge import tables_of
from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.layouts.photographs import stacked, with_photographs
from dermsentry.collection.table import Collection
from dermsentry.csv_tables import read_table
from dermsentry.errors import InputError

ABOUT = About(
    name="ISIC 2016, Part 3",
    published="https://challenge.isic-archive.com/data/#2016",
    licence="CC0",
    recognised="`ISBI2016_ISIC_Part3_*_GroundTruth.csv` (or `Part3B`), at any depth, with a header or "
    "without",
    gives=("split",),
    remark="`malignant` (1) is melanoma, `benign` (0) any diagnosis but melanoma",
)
_TRUTH = r"ISBI2016_ISIC_Part3B?_{part}_GroundTruth\.csv"
_MEANING = {"malignant": "melanoma", "benign": "not melanoma", True: "melanoma", False: "not melanoma"}


def recognises(found: Contents) -> bool:
    """Whether a ground truth is there."""
    return bool(tables_of(found, _TRUTH))


def read(found: Contents) -> Collection:
    """Read it. Raises InputError."""
    tables = tables_of(found, _TRUTH)
    table = stacked([(_labels(found.used(path)), split) for path, split in tables])
    return with_photographs(found, table, ", ".join(path.name for path, _ in tables))


def _labels(path: Path) -> pd.DataFrame:
    table = read_table(path)
    rows = [tuple(table.columns), *table.itertuples(index=False)]
    if len(table.columns) < 2:
        raise InputError(f"{path} has one column; expected an image id and its label, such as malignant.")
    read = [(row[0], row[1], _MEANING.get(row[1].casefold()) or _MEANING.get(truth(row[1]))) for row in rows]
    if read[0][2] is None:  # a header, which some copies have
        del read[0]
    wrong = [f"{name} ({text})" for name, text, meaning in read if meaning is None or text == ""]
    if wrong:
        raise InputError(
            f"{path} has {len(wrong)} rows that are neither benign nor malignant, such as {wrong[0]}; "
            "expected one of the two, or 0 and 1."
        )
    return pd.DataFrame([(name, meaning) for name, _, meaning in read], columns=["image_id", "diagnosis"])
