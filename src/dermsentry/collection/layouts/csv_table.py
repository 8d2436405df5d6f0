"""A CSV table with a row per photograph: its path, its diagnosis, and any other column of a collection."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from dermsentry.collection.columns import read_columns
from dermsentry.collection.paths import find_files, normal
from dermsentry.collection.table import SPLITS, Collection, ordered
from dermsentry.diagnoses import find_label
from dermsentry.errors import InputError


def recognises(path: Path) -> bool:
    """Whether `path` is a file."""
    return path.is_file()


def read(path: Path) -> Collection:
    """Read it; paths are relative to the table's folder, or absolute. Raises InputError."""
    table = read_columns(path, "path", "diagnosis")
    table["diagnosis"] = _labels(table["diagnosis"], path)
    if "split" in table.columns:
        unknown = sorted(set(table["split"].str.lower()) - set(SPLITS) - {""})
        if unknown:
            raise InputError(
                f"{path} has splits {', '.join(unknown)}; expected train, validation, test or nothing."
            )
        table["split"] = table["split"].str.lower().map(SPLITS).fillna("")
    nameless = int((table["path"] == "").sum())
    if nameless:
        raise InputError(f"{path} has {nameless} rows without a path; give each photograph its path.")
    found = find_files(path.parent, list(table["path"]))
    if len(found.missing) == len(table) > 0:
        raise InputError(
            f"None of the {len(table):,} paths of {path} leads to a file, such as {found.missing[0]!r}; "
            f"expected paths below {path.parent}, or absolute ones."
        )
    root = path.parent
    top = normal(root.absolute())
    if not all(p.is_relative_to(top) for p in found.files):
        root = top = Path(os.path.commonpath([top, *(p.parent for p in found.files)]))
    table["path"] = [p.relative_to(top).as_posix() for p in found.files]
    twice = table.loc[table["path"].duplicated(), "path"]
    if len(twice):
        raise InputError(
            f"{path} lists {len(twice)} photographs twice, such as {twice.iloc[0]}; list each once."
        )
    if "image_id" not in table.columns:
        table["image_id"] = [Path(p).stem for p in table["path"]]
    return Collection(root, ordered(table), tuple(f"{path.name}: {line}" for line in found.told))


def _labels(texts: pd.Series[str], where: Path) -> list[str]:
    """Each text's label; `""` stays unknown. Raises InputError listing every one that is none of the nine."""
    labels = {text: find_label(text) if text else "" for text in texts.unique()}
    unknown = sorted(text for text, label in labels.items() if label is None)
    if unknown:
        counts = texts.value_counts()
        listed = "; ".join(f"{text!r} ({counts[text]})" for text in unknown)
        raise InputError(
            f"{where} has diagnoses that are none of the nine: {listed}. "
            "Rename them, or leave the field empty for unknown."
        )
    return [labels[text] or "" for text in texts]
