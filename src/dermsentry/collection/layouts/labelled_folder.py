"""A label table by image id, and the photographs beside or below it."""

from __future__ import annotations

from pathlib import Path

from dermsentry.collection.columns import own_splits, read_columns
from dermsentry.collection.labels import LEVELS, decode_one_hot, is_one_hot
from dermsentry.collection.layouts import class_folders
from dermsentry.collection.layouts.contents import About, Contents, listed
from dermsentry.collection.layouts.isic_archive import with_fallback
from dermsentry.collection.layouts.photographs import with_photographs
from dermsentry.collection.table import Collection
from dermsentry.errors import InputError

ABOUT = About(
    name="A label table beside photographs",
    published="your own",
    licence="your own",
    recognised="`metadata.csv` or `labels.csv` beside `images/`; or one table with `image_id` (or "
    "`image`, `isic_id`) "
    "and `diagnosis` (or `dx`, `label`, `benign_malignant`, or a column per diagnosis) above the photographs",
    gives=("split", "lesion_id", "patient_id", "source", "age", "sex", "site", "skin_type"),
    remark="any of the columns above; other folders beside `images/` are listed and not read",
)
_FOLDER = "images"
_TABLES = ("metadata.csv", "labels.csv")
_LABELS = ("diagnosis", LEVELS[0], "benign_malignant", "malignant", "target")


def recognises(found: Contents) -> bool:
    """Whether there is such a table, and no folder that names a diagnosis."""
    if found.table is not None:
        columns = found.columns(found.table)
        return "path" not in columns and (is_one_hot(columns) or _is_labels(columns))
    return _beside_images(found) is not None or (
        bool(_candidates(found)) and not class_folders.names_diagnoses(found)
    )


def read(found: Contents) -> Collection:
    """Read it. Raises InputError."""
    beside = _beside_images(found)
    path = found.table or beside
    if path is None:
        tables = _candidates(found)
        if len(tables) > 1:
            raise InputError(
                f"{found.root} has several label tables: {listed(tables, found.root)}. Expected one; "
                "give one of them in place of the folder."
            )
        path = tables[0]
    notes: list[str] = []
    table = read_columns(path, "image_id")
    if "diagnosis" not in table.columns and is_one_hot(table.columns):
        table, notes = decode_one_hot(table, str(path))
    elif "diagnosis" not in table.columns and LEVELS[0] not in table.columns:
        named = next(name for name in _LABELS if name in table.columns)
        table = table.rename(columns={named: "diagnosis"})
    if "split" in table.columns:
        table["split"] = own_splits(table["split"], path)
    folder = _FOLDER if beside is not None and path == beside else "."
    others = [
        entry.name
        for entry in sorted(found.root.iterdir())
        if folder == _FOLDER and entry.is_dir() and entry.name != _FOLDER and not entry.name.startswith(".")
    ]
    notes += [f"{name}/: a folder beside {_FOLDER}/, not read" for name in others]
    return with_photographs(found, with_fallback(table), str(path), folder=folder, left_alone=tuple(notes))


def _beside_images(found: Contents) -> Path | None:
    tables = [found.root / name for name in _TABLES] if found.table is None else []
    return next((p for p in tables if p.is_file() and (found.root / _FOLDER).is_dir()), None)


def _candidates(found: Contents) -> list[Path]:
    return [path for path in found.tables_with("image_id") if _is_labels(found.columns(path))]


def _is_labels(columns: set[str]) -> bool:
    return "image_id" in columns and (is_one_hot(columns) or any(name in columns for name in _LABELS))
