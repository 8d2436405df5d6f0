"""What `isic image download` gives: the ISIC Archive's own fields, diagnoses in five levels."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dermsentry.collection.labels import FALLBACK, LEVELS
from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.layouts.photographs import with_photographs
from dermsentry.collection.table import Collection

ABOUT = About(
    name="ISIC Archive (`isic image download`)",
    published="https://www.isic-archive.com",
    licence="each photograph's own, in `copyright_license`",
    recognised="`metadata.csv` with `isic_id` and `diagnosis_1`, or with `isic_id`, `attribution` and "
    "`copyright_license`",
    gives=(
        "lesion_id",
        "patient_id",
        "age",
        "sex",
        "site",
        "skin_type",
        "diagnosis_confirm_type",
        "image_type",
        "copyright_license",
        "attribution",
    ),
    remark="the finest of `diagnosis_1` to `diagnosis_5` that is one of the nine; what is none of them "
    "but benign is "
    "any benign diagnosis",
)


def recognises(found: Contents) -> bool:
    """Whether the archive's metadata are there."""
    return _metadata(found) is not None


def read(found: Contents) -> Collection:
    """Read it. Raises InputError."""
    path = _metadata(found)
    assert path is not None  # recognised
    table = with_fallback(found.read(path, "image_id"))
    return with_photographs(found, table, path.name)


def with_fallback(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with what its older field `benign_malignant` says, where it has that."""
    if "benign_malignant" not in table.columns:
        return table
    text = table["benign_malignant"].str.strip().str.casefold()
    return table.assign(**{FALLBACK: text.where(text.isin(["benign", "malignant"]), "")})


def _metadata(found: Contents) -> Path | None:
    for path in found.named(r"metadata\.csv"):
        columns = found.columns(path)
        if "image_id" in columns and (
            LEVELS[0] in columns or {"attribution", "copyright_license"} <= columns
        ):
            return path
    return None
