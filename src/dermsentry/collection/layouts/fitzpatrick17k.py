"""Fitzpatrick17k: clinical photographs of two atlases, with skin types."""

from __future__ import annotations

from pathlib import Path

from dermsentry.collection.ids import image_key
from dermsentry.collection.labels import FALLBACK
from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.layouts.photographs import with_photographs
from dermsentry.collection.table import Collection

ABOUT = About(
    name="Fitzpatrick17k",
    published="https://github.com/mattgroh/fitzpatrick17k",
    licence="CC BY-NC-SA 3.0 for the annotations; the photographs are the atlases'",
    recognised="a table with `md5hash`, `label` and `three_partition_label`",
    gives=("skin_type", "image_type"),
    remark="most labels are none of the nine: benign ones are read as any benign diagnosis, others stay "
    "unknown, and so "
    "do those marked as wrongly labelled (`qc`); photographs are named by `md5hash` or `url_alphanum`",
)
_NEEDED = {"md5hash", "diagnosis", "three_partition_label"}


def recognises(found: Contents) -> bool:
    """Whether its table is there."""
    return bool(_tables(found))


def read(found: Contents) -> Collection:
    """Read it. Raises InputError."""
    path = _tables(found)[0]
    special = {"fitzpatrick_scale": "skin_type", "fitzpatrick": "skin_type"}
    table = found.read(path, *sorted(_NEEDED), special=special).assign(image_type="clinical: close-up")
    files = {image_key(name) for name in found.photographs}
    by_url = "url_alphanum" in table.columns and not set(table["md5hash"].map(image_key)) & files
    table["image_id"] = table["url_alphanum" if by_url else "md5hash"]
    if "skin_type" in table.columns:
        table["skin_type"] = table["skin_type"].where(~table["skin_type"].isin(["-1", "-1.0"]), "")
    wrong = table["qc"].str.startswith("3") if "qc" in table.columns else table["md5hash"] == ""
    text = table["three_partition_label"].str.casefold()
    table[FALLBACK] = text.where(text.isin(["benign", "malignant"]) & ~wrong, "")
    table["diagnosis"] = table["diagnosis"].where(~wrong, "")
    left_alone = (f"{path.name}: {int(wrong.sum())} rows marked as wrongly labelled",) if wrong.any() else ()
    return with_photographs(found, table, path.name, left_alone=left_alone)


def _tables(found: Contents) -> list[Path]:
    return [path for path in found.tables_with("md5hash") if found.columns(path) >= _NEEDED]
