"""DDI, the Diverse Dermatology Images: confirmed by histopathology, of all skin tones."""

from __future__ import annotations

from pathlib import Path

from dermsentry.collection.labels import FALLBACK, truths
from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.layouts.photographs import with_photographs
from dermsentry.collection.table import Collection

ABOUT = About(
    name="DDI",
    published="https://ddi-dataset.github.io",
    licence="Stanford's research use agreement",
    recognised="a table with `DDI_file`, `disease` and `malignant`, such as `ddi_metadata.csv`",
    gives=("skin_type", "image_type", "diagnosis_confirm_type"),
    remark="what is none of the nine and not malignant is any benign diagnosis; skin types in three "
    "pairs (12, 34, 56)",
)
_SPECIAL = {"ddi_file": "image_id", "disease": "diagnosis", "skin_tone": "skin_type"}
_NEEDED = {"image_id", "diagnosis", "malignant"}


def recognises(found: Contents) -> bool:
    """Whether its table is there."""
    return bool(_tables(found))


def read(found: Contents) -> Collection:
    """Read it. Raises InputError."""
    path = _tables(found)[0]
    table = found.read(path, *sorted(_NEEDED), special=_SPECIAL)
    malignant = truths(table, ["malignant"], str(path))[:, 0]
    table[FALLBACK] = ["malignant" if one else "benign" for one in malignant]
    table = table.assign(image_type="clinical: close-up", diagnosis_confirm_type="histopathology")
    return with_photographs(found, table, path.name)


def _tables(found: Contents) -> list[Path]:
    return [path for path in found.tables_with("DDI_file") if found.columns(path, _SPECIAL) >= _NEEDED]
