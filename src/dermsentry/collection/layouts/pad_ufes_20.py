"""PAD-UFES-20: photographs by smartphone, of known patients and skin types."""

from __future__ import annotations

from pathlib import Path

from dermsentry.collection.labels import truths
from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.layouts.photographs import with_photographs
from dermsentry.collection.table import Collection

ABOUT = About(
    name="PAD-UFES-20",
    published="https://doi.org/10.17632/zr7vgbcyr2.1",
    licence="CC BY 4.0",
    recognised="`metadata.csv` with `img_id`, `diagnostic` and `fitspatrick`",
    gives=(
        "patient_id",
        "lesion_id",
        "age",
        "sex",
        "site",
        "skin_type",
        "diagnosis_confirm_type",
        "image_type",
    ),
    remark="`biopsed` says whether a diagnosis was made by histopathology",
)
_SPECIAL = {"img_id": "image_id", "diagnostic": "diagnosis", "fitspatrick": "skin_type", "region": "site"}
_NEEDED = {"image_id", "diagnosis", "skin_type"}


def recognises(found: Contents) -> bool:
    """Whether its metadata are there."""
    return bool(_tables(found))


def read(found: Contents) -> Collection:
    """Read it. Raises InputError."""
    path = _tables(found)[0]
    table = found.read(path, *sorted(_NEEDED), special=_SPECIAL).assign(image_type="clinical: close-up")
    table["skin_type"] = table["skin_type"].str.replace(r"\.0$", "", regex=True)
    if "biopsed" in table.columns:
        biopsied = truths(table, ["biopsed"], str(path))[:, 0]
        table["diagnosis_confirm_type"] = [
            "histopathology" if one else "clinical assessment" for one in biopsied
        ]
    return with_photographs(found, table, path.name)


def _tables(found: Contents) -> list[Path]:
    return [path for path in found.named(r"metadata\.csv") if found.columns(path, _SPECIAL) >= _NEEDED]
