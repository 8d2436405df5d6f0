"""Photographs in folders: those there are, and those that a label table names by image id."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pandas as pd

from dermsentry.collection.columns import IMAGE_SUFFIX
from dermsentry.collection.labels import label_rows
from dermsentry.collection.table import Collection, ordered
from dermsentry.errors import InputError

if TYPE_CHECKING:
    from dermsentry.collection.layouts.contents import Contents

_JUNK_FILES = {".ds_store", "thumbs.db", "desktop.ini"}
_JUNK_FOLDERS = {"__macosx"}
_MASKS = re.compile(
    r"_(?:superpixels|segmentation|attribute_[a-z_]+|lesion|R\d+_Label\d+)\.\w+\Z", re.IGNORECASE
)


def walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Folders below `root` in order, with their photographs and other files; links to folders are left."""

    def refuse(error: OSError) -> None:
        raise InputError(f"Cannot read {error.filename}: {error.strerror}.")

    for name, folders, files in os.walk(root, onerror=refuse):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f.lower() not in _JUNK_FOLDERS)
        kept = sorted(f for f in files if not f.startswith(".") and f.lower() not in _JUNK_FILES)
        photographs = [f for f in kept if IMAGE_SUFFIX.search(f)]
        yield Path(name), photographs, [f for f in kept if not IMAGE_SUFFIX.search(f)]


def image_key(name: str) -> str:
    """A file's name or an image id as compared: without folder, suffix, `_downsampled`, case and blanks."""
    stem = IMAGE_SUFFIX.sub("", PurePosixPath(name.strip().replace("\\", "/")).name).strip().casefold()
    return stem.removesuffix("_downsampled")


def with_photographs(
    found: Contents,
    table: pd.DataFrame,
    where: str,
    *,
    folder: str = ".",
    left_alone: tuple[str, ...] = (),
    stored: Path | None = None,
) -> Collection:
    """The collection of a table by image id whose photographs are anywhere below `folder` of what was found.

    Parameters
    ----------
    found
        The files.
    table
        The rows, with `image_id`; `diagnosis`, or what else `label_rows` reads, as the set writes it.
    where
        What the table is called in a message.
    folder
        The only folder that is searched.
    left_alone
        What the collection's `left_alone` begins with. What has no photograph, and what the table does not
        name, is added.
    stored
        An HDF5 file that holds the photographs of the rows that have no file of their own, by image id.

    Raises
    ------
    InputError
        The table gives an image id two diagnoses, or none of its rows has a photograph.
    """
    root = found.root
    table, unknown = label_rows(table.reset_index(drop=True), found.vocabulary, where)
    keys = table["image_id"].map(image_key)
    disputed = table.assign(key=keys).drop_duplicates(["key", "diagnosis"])["key"].duplicated()
    if disputed.any():
        named = table["image_id"][disputed.index[disputed]].iloc[0]
        raise InputError(
            f"{where} gives {int(disputed.sum())} image ids two diagnoses, such as {named}; "
            "keep one row of each."
        )
    files: dict[str, list[str]] = {}
    masks = 0
    for path in found.photographs:
        if folder != "." and not path.startswith(f"{folder}/"):
            continue
        if _MASKS.search(path):
            masks += 1
        else:
            files.setdefault(image_key(path), []).append(path)
    paths = [files.get(key, [""])[0] for key in keys]
    if stored is not None:
        inside = stored.relative_to(root).as_posix()
        paths = [path or f"{inside}/{name}" for path, name in zip(paths, table["image_id"], strict=True)]
    beside = _beside(files, list(keys), paths, folder)
    if masks:
        beside.append(f"{masks} masks and superpixels, which are no photographs")
    if len(table) and files and not any(paths):
        raise InputError(
            f"No row of {where} has a photograph: it has the id {table['image_id'].iloc[0]!r}, the folder "
            f"{next(iter(files.values()))[0]!r}. Expected the ids to be the photographs' file names."
        )
    if "source" not in table.columns:
        table["source"] = root.resolve().name
    table["path"] = paths
    table["image_id"] = [IMAGE_SUFFIX.sub("", PurePosixPath(name.strip()).name) for name in table["image_id"]]
    kept = table[table["path"] != ""].drop_duplicates("path")
    table = ordered(kept.reset_index(drop=True))
    return Collection(root, table, (*left_alone, *beside), unknown_diagnoses=unknown)


def _beside(files: dict[str, list[str]], keys: list[str], paths: list[str], folder: str) -> list[str]:
    """What rows have no photograph, and what photographs no row, in words."""
    wanted = set(keys)
    unnamed = sorted(path for key, found in files.items() if key not in wanted for path in found)
    again = sorted(path for key, found in files.items() if key in wanted for path in found[1:])
    lines = []
    if missing := paths.count(""):
        lines.append(f"{missing} rows of the label table have no photograph in {folder}/")
    if unnamed:
        lines.append(f"{len(unnamed)} photographs that the label table does not name, such as {unnamed[0]}")
    if again:
        lines.append(f"{len(again)} further files of an image id, such as {again[0]}")
    return lines


def fill_in(table: pd.DataFrame, other: pd.DataFrame, on: str = "image_id") -> tuple[pd.DataFrame, list[str]]:
    """`table` with the columns of `other` where it has none or nothing, by `on`; and what contradicts itself.

    Of a row of `table` for which `other` says two things in a column, nothing is taken over in that column.
    """
    keys, theirs = table[on].map(image_key), other.assign(key=other[on].map(image_key))
    notes = []
    table = table.copy()
    for column in [c for c in other.columns if c != on]:
        told = theirs.loc[theirs[column] != "", ["key", column]].drop_duplicates()
        disputed = set(told.loc[told["key"].duplicated(), "key"]) & set(keys)
        if disputed:
            shown = theirs.loc[theirs["key"].isin(disputed), on].iloc[0]
            notes.append(f"{column}: {len(disputed)} ids have two values, such as {shown}; kept as unknown")
        said = told[~told["key"].isin(disputed)].set_index("key")[column]
        new = keys.map(said).fillna("")
        table[column] = table[column].where(table[column] != "", new) if column in table.columns else new
    return table, notes


def stacked(parts: Sequence[tuple[pd.DataFrame, str]]) -> pd.DataFrame:
    """Tables one below another, each with its split; `""` where one has no such column."""
    return pd.concat([table.assign(split=split) for table, split in parts], ignore_index=True).fillna("")
