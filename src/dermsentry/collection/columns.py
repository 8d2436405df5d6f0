"""Tables as others publish them, their columns under our names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dermsentry.collection.table import COLUMNS, SPLITS
from dermsentry.csv_tables import read_table
from dermsentry.errors import InputError
from dermsentry.image_formats import SUFFIXES

_ALIASES = {
    "image": "image_id",
    "image_name": "image_id",
    "isic_id": "image_id",
    "filename": "image_id",
    "file_name": "image_id",
    "lesion": "lesion_id",
    "lesion_number": "lesion_id",
    "lesion_no": "lesion_id",
    "patient": "patient_id",
    "patient_number": "patient_id",
    "patient_no": "patient_id",
    "dx": "diagnosis",
    "label": "diagnosis",
    "age_approx": "age",
    "age_approximate": "age",
    "gender": "sex",
    "localization": "site",
    "anatom_site_general": "site",
    "anatom_site_general_challenge": "site",
    "fitzpatrick_skin_type": "skin_type",
    "dx_type": "diagnosis_confirm_type",
    "license": "copyright_license",
    "file": "path",
    "filepath": "path",
}
IMAGE_SUFFIX = re.compile(
    "(?:" + "|".join(re.escape(suffix) for suffix in sorted(SUFFIXES)) + r")\Z", re.IGNORECASE
)


def own_names(columns: Sequence[str], special: Mapping[str, str] | None = None) -> list[str]:
    """Columns under the names of `COLUMNS` where they mean one, each name once; the others as they are.

    Capitals, blanks and hyphens make no difference: `Lesion ID` and `LesionID` are `lesion_id`. `special` are
    names that only one layout has, or gives another meaning.
    """
    aliases = {**_ALIASES, **(special or {})}
    given = [folded(column) for column in columns]
    exact = {name for name in given if aliases.get(name, name) == name and name in COLUMNS}
    names: list[str] = []
    for column, lower in zip(columns, given, strict=True):
        known = aliases.get(lower, lower)
        mine = known in COLUMNS and known not in names and (lower == known or known not in exact)
        names.append(known if mine else column)
    return names


def folded(column: str) -> str:
    """A column's name in lower case, its words joined by underscores."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[\s.-]+", "_", column.strip())
    return re.sub(r"__+", "_", words).lower()


def own_splits(texts: pd.Series[str], where: Path) -> pd.Series[str]:
    """Splits under their names in a collection. Raises InputError for any other word."""
    unknown = sorted(set(texts.str.lower()) - set(SPLITS) - {""})
    if unknown:
        raise InputError(
            f"{where} has splits {', '.join(unknown)}; expected train, validation, test or nothing."
        )
    return texts.str.lower().map(SPLITS).fillna("")


def read_columns(path: Path, *needed: str, special: Mapping[str, str] | None = None) -> pd.DataFrame:
    """A CSV table under our names; image ids without a file's suffix.

    Raises InputError where it is no table, or a column of `needed` is missing.
    """
    table = read_table(path)
    given = ", ".join(table.columns)
    table.columns = own_names(list(table.columns), special)
    if not set(needed) <= set(table.columns):
        raise InputError(f"{path} has the columns {given}; expected {', '.join(needed)} among them.")
    if "image_id" in table.columns:  # some tables give the file's name
        table["image_id"] = table["image_id"].str.replace(IMAGE_SUFFIX, "", regex=True)
    if "age" in table.columns:  # `45,5` in most of Europe
        table["age"] = table["age"].str.replace(r"\A(\d+),(\d+)\Z", r"\1.\2", regex=True)
    return table
