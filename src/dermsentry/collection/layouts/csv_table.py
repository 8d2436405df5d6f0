"""A CSV table with a row per photograph: its path, its diagnosis, and any other column of a collection."""

from __future__ import annotations

import os
from pathlib import Path

from dermsentry.collection.columns import own_splits
from dermsentry.collection.labels import label_rows
from dermsentry.collection.layouts import class_folders
from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.layouts.photographs import NO_ROW
from dermsentry.collection.paths import find_files, normal
from dermsentry.collection.table import COLUMNS, Collection, ordered
from dermsentry.csv_tables import column_names
from dermsentry.errors import InputError
from dermsentry.image_files import NotRead
from dermsentry.stats.numbers import counted

ABOUT = About(
    name="A table of paths",
    published="your own",
    licence="your own",
    recognised="a CSV or Excel file, given itself or in a folder, with `path` (or `file`, `filepath`) and "
    "`diagnosis` (or `dx`, `label`)",
    gives=COLUMNS[3:],
    remark="paths are relative to the table, to the folder of `--images`, or absolute; those of another "
    "machine are found by their end; "
    "any of the columns above",
)

_NEEDED = ("path", "diagnosis")


def recognises(found: Contents) -> bool:
    """Whether a file was given, or a folder with such a table and none that names a diagnosis."""
    if found.table is not None:
        return True
    return bool(found.tables_with(*_NEEDED)) and not class_folders.names_diagnoses(found)


def read(found: Contents) -> Collection:
    """Read it; paths are relative to the table's folder, or absolute. Raises InputError."""
    path = found.table or found.only(found.tables_with(*_NEEDED))
    columns = found.columns(path)
    if columns and not columns & {"path", "image_id"}:
        raise InputError(
            f"{path} has the columns {', '.join(column_names(path))}; expected image_id or path"
            f"{'' if 'diagnosis' in columns else ', and diagnosis'}. Say with --column which heading means "
            "which, such as image_id='Bild-Nr.'."
        )
    table = found.read(path, *_NEEDED)
    table, unknown = label_rows(table, found.vocabulary, str(path))
    if "split" in table.columns:
        table["split"] = own_splits(table["split"], path)
    nameless = int((table["path"] == "").sum())
    if nameless:
        raise InputError(
            f"{path} has {counted(nameless, 'row')} without a path; give each photograph its path."
        )
    files = find_files(found.root, list(table["path"]))
    if len(files.missing) == len(table) > 0:
        raise InputError(
            f"None of the {len(table):,} paths of {path} leads to a file, such as {files.missing[0]!r}; "
            f"expected paths below {found.root}, or absolute ones; --images says where the photographs are."
        )
    root = found.root
    top = normal(root.absolute())
    if not all(p.is_relative_to(top) for p in files.paths):
        root = top = Path(os.path.commonpath([top, *(p.parent for p in files.paths)]))
    table["path"] = [p.relative_to(top).as_posix() for p in files.paths]
    twice = table.loc[table["path"].duplicated(), "path"]
    if len(twice):
        raise InputError(
            f"{path} lists {counted(len(twice), 'photograph')} twice, such as {twice.iloc[0]}; "
            "list each once."
        )
    if "image_id" not in table.columns:
        table["image_id"] = [Path(p).stem for p in table["path"]]
    told = tuple(f"{path.name}: {line}" for line in files.told)
    if own := [str(name) for name in table.columns if name not in COLUMNS]:
        names = "its own name" if len(own) == 1 else "their own names"
        told += (
            f"{path.name}: {', '.join(own)} kept under {names}; --column says what means age, sex, site or "
            "another column that is known",
        )
    alone = found.table is not None and found.root == found.table.parent
    not_read = [] if alone else _without_row(found, set(files.paths))
    return Collection(root, ordered(table), told, tuple(not_read), unknown)


def _without_row(found: Contents, listed: set[Path]) -> list[NotRead]:
    """What is not read in a folder of which the table tells: photographs that it does not list among them."""
    top = normal(found.root.absolute())
    others = [path for path in (*found.photographs, *found.unsupported) if normal(top / path) not in listed]
    return [*found.not_read, *(NotRead(path, NO_ROW) for path in others)]
