"""Derm7pt: a clinical and a dermoscopic photograph of each case."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.layouts.photographs import with_photographs
from dermsentry.collection.table import Collection
from dermsentry.csv_tables import read_table
from dermsentry.errors import InputError

ABOUT = About(
    name="Derm7pt",
    published="https://derm.cs.sfu.ca",
    licence="its own, for research and education",
    recognised="`meta.csv` with `case_num`, `diagnosis`, `derm` and `clinic`, at any depth",
    gives=("split", "lesion_id", "sex", "site", "image_type", "diagnosis_confirm_type"),
    remark="the official splits are those of `train_indexes.csv`, `valid_indexes.csv` and "
    "`test_indexes.csv`; what was "
    "excised is confirmed by histopathology",
)
_NEEDED = {"case_num", "diagnosis", "derm", "clinic"}
_KINDS = {"derm": "dermoscopic", "clinic": "clinical: close-up"}
_SPLITS = {"train": "train", "valid": "validation", "test": "test"}


def recognises(found: Contents) -> bool:
    """Whether its table is there."""
    return bool(_tables(found))


def read(found: Contents) -> Collection:
    """Read it. Raises InputError."""
    path = _tables(found)[0]
    table = found.read(path, *sorted(_NEEDED), special={"location": "site"})
    table["lesion_id"] = "case " + table["case_num"]
    table["split"] = _splits(found, len(table))
    if "management" in table.columns:
        excised = table["management"].str.casefold() == "excision"
        table["diagnosis_confirm_type"] = ["histopathology" if one else "" for one in excised]
    both = pd.concat(
        [table.assign(image_id=table[column], image_type=kind) for column, kind in _KINDS.items()],
        ignore_index=True,
    )
    # A case's photographs are named as folder and file, and no two files share a name.
    return with_photographs(found, both[both["image_id"] != ""], path.name)


def _tables(found: Contents) -> list[Path]:
    return [path for path in found.named(r"meta\.csv") if found.columns(path) >= _NEEDED]


def _splits(found: Contents, rows: int) -> list[str]:
    """The split of each row of the table, by the official lists of row numbers (from 0)."""
    split = [""] * rows
    for name, ours in _SPLITS.items():
        for path in found.named(rf"{name}_indexes\.csv")[:1]:
            for text in read_table(found.used(path))["indexes"]:
                if not text.isdigit() or int(text) >= rows:
                    raise InputError(f"{path} lists the row {text!r}; expected numbers from 0 to {rows - 1}.")
                split[int(text)] = ours
    return split
