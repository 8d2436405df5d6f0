"""Tables as others publish them, their columns under our names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from dermsentry.collection.table import COLUMNS
from dermsentry.csv_tables import read_table
from dermsentry.errors import InputError
from dermsentry.image_formats import SUFFIXES

_ALIASES = {
    "image": "image_id",
    "image_name": "image_id",
    "isic_id": "image_id",
    "dx": "diagnosis",
    "label": "diagnosis",
    "age_approx": "age",
    "localization": "site",
    "anatom_site_general": "site",
    "anatom_site_general_challenge": "site",
    "fitzpatrick_skin_type": "skin_type",
    "file": "path",
    "filepath": "path",
}
IMAGE_SUFFIX = re.compile(
    "(?:" + "|".join(re.escape(suffix) for suffix in sorted(SUFFIXES)) + r")\Z", re.IGNORECASE
)


def own_names(columns: Iterable[str]) -> list[str]:
    """Columns under the names of `COLUMNS` where they mean one, each name once; the others as they are."""
    names: list[str] = []
    for column in columns:
        known = _ALIASES.get(column.lower(), column.lower())
        names.append(known if known in COLUMNS and known not in names else column)
    return names


def read_columns(path: Path, *needed: str) -> pd.DataFrame:
    """A CSV table under our names; image ids without a file's suffix.

    Raises InputError where it is no table, or a column of `needed` is missing.
    """
    table = read_table(path)
    given = ", ".join(table.columns)
    table.columns = own_names(table.columns)
    if not set(needed) <= set(table.columns):
        raise InputError(f"{path} has the columns {given}; expected {', '.join(needed)} among them.")
    if "image_id" in table.columns:  # some tables give the file's name
        table["image_id"] = table["image_id"].str.replace(IMAGE_SUFFIX, "", regex=True)
    if "age" in table.columns:  # `45,5` in most of Europe
        table["age"] = table["age"].str.replace(r"\A(\d+),(\d+)\Z", r"\1.\2", regex=True)
    return table
