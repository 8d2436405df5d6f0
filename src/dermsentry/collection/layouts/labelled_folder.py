"""A label table by image id, and the photographs beside or below it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dermsentry.collection.columns import folded, own_splits
from dermsentry.collection.labels import LEVELS, decode_one_hot, is_one_hot, truth
from dermsentry.collection.layouts import class_folders
from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.layouts.isic_archive import with_fallback
from dermsentry.collection.layouts.photographs import with_photographs
from dermsentry.collection.table import Collection
from dermsentry.csv_tables import column_names
from dermsentry.errors import InputError

ABOUT = About(
    name="A label table beside photographs",
    published="your own",
    licence="your own",
    recognised="`metadata.csv` or `labels.csv` beside `images/`; or one table with `image_id` (or "
    "`image`, `isic_id`, `filename`) and `diagnosis` (or `dx`, `label`, `benign_malignant`; `melanoma`, "
    "`malignant` or `target` as 1 and 0; or a column per diagnosis) above the photographs",
    gives=("split", "lesion_id", "patient_id", "source", "age", "sex", "site", "skin_type"),
    remark="any of the columns above; other folders beside `images/` are listed and not read",
)
_FOLDER = "images"
_TABLES = ("metadata.csv", "labels.csv")
_YES_OR_NO = {
    "melanoma": ("melanoma", "not melanoma"),
    "malignant": ("malignant", "benign"),
    # Melanoma in some sets and any cancer in others: a 0 says no more than that it is no melanoma.
    "target": ("malignant", "not melanoma"),
}
"""What 1 and 0 mean in a column that answers one question."""
_LABELS = ("diagnosis", LEVELS[0], "benign_malignant", *_YES_OR_NO)


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
    path = found.table or beside or found.only(_candidates(found))
    notes: list[str] = []
    table = found.read(path, "image_id")
    if "diagnosis" not in table.columns and is_one_hot(table.columns):
        table, notes = decode_one_hot(table, str(path))
    elif "diagnosis" not in table.columns and LEVELS[0] not in table.columns:
        column, named = _label_column(table, path)
        table = table.rename(columns={column: "diagnosis"})
        if named in _YES_OR_NO:
            table["diagnosis"] = _answers(table["diagnosis"], *_YES_OR_NO[named])
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


def _label_column(table: pd.DataFrame, path: Path) -> tuple[str, str]:
    """The column that holds labels, as the table and as `_LABELS` call it. Raises InputError."""
    called = {folded(column): column for column in table.columns}
    named = next((name for name in _LABELS if name in called), None)
    if named is None:
        raise InputError(
            f"{path} has the columns {', '.join(column_names(path))}; expected one of labels, such as "
            "diagnosis, dx, label, melanoma, malignant or target."
        )
    return called[named], named


def _answers(texts: pd.Series[str], yes: str, no: str) -> list[str]:
    """Diagnoses of a column of 1 and 0 in any spelling; one of words as it is."""
    answers = {text: truth(text) for text in set(texts) if text.strip()}
    if any(answer is None for answer in answers.values()):
        return list(texts)
    return ["" if not text.strip() else yes if answers[text] else no for text in texts]


def _beside_images(found: Contents) -> Path | None:
    tables = [found.root / name for name in _TABLES] if found.table is None else []
    return next((p for p in tables if p.is_file() and (found.root / _FOLDER).is_dir()), None)


def _candidates(found: Contents) -> list[Path]:
    return [path for path in found.tables_with("image_id") if _is_labels(found.columns(path))]


def _is_labels(columns: set[str]) -> bool:
    named = {folded(column) for column in columns}
    return "image_id" in columns and (is_one_hot(columns) or any(name in named for name in _LABELS))
