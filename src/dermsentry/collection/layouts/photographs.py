"""Photographs in folders: those there are, and those that a label table names by image id."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pandas as pd

from dermsentry.collection.columns import IMAGE_SUFFIX
from dermsentry.collection.ids import image_key, match_ids
from dermsentry.collection.labels import label_rows
from dermsentry.collection.table import Collection, ordered
from dermsentry.errors import InputError
from dermsentry.image_files import NotRead
from dermsentry.stats.numbers import counted

if TYPE_CHECKING:
    from dermsentry.collection.layouts.contents import Contents

_NAMED = 5
_NO_FILE = "the label table names it, and no photograph here has its name"
NO_ROW = "no row of the label table is about it"
_MASKS = re.compile(
    r"_(?:superpixels|segmentation|attribute_[a-z_]+|lesion|R\d+_Label\d+)\.\w+\Z", re.IGNORECASE
)


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
        What the collection's `left_alone` begins with. Rows without a photograph and photographs without a
        row are in `not_read`.
    stored
        An HDF5 file that holds the photographs of the rows that have no file of their own, by image id.

    Raises
    ------
    InputError
        None of its rows has a photograph.
    """
    root = found.root
    table, unknown = label_rows(table.reset_index(drop=True), found.vocabulary, where)
    named, masks, not_read = _below(found, folder)
    rows_of, unclear = match_ids(list(table["image_id"]), named)
    said = {place: {table["diagnosis"].iloc[row] for row in rows} for place, rows in rows_of.items()}
    disputed = [named[place] for place, diagnoses in said.items() if len(diagnoses) > 1]
    contradicting = {row for place, rows in rows_of.items() if len(said[place]) > 1 for row in rows}
    table.loc[table.index.isin(contradicting), "diagnosis"] = ""
    files: dict[int, list[str]] = {}
    for place in sorted(rows_of):
        for row in rows_of[place]:
            files.setdefault(row, []).append(named[place])
    paths = [files.get(row, [""])[0] for row in range(len(table))]
    if stored is not None:
        inside = stored.relative_to(root).as_posix()
        paths = [path or f"{inside}/{name}" for path, name in zip(paths, table["image_id"], strict=True)]
    missing = [name for name, path in zip(table["image_id"], paths, strict=True) if not path]
    if len(missing) == len(table) > 0 and named:
        raise InputError(
            f"No row of {where} has a photograph: it has the id {missing[0]!r}, the folder {named[0]!r}. "
            "Expected the ids to be the photographs' file names."
        )
    name = PurePosixPath(where).name
    beside = [f"{name}: {len(table) - len(missing):,} of {len(table):,} rows have a photograph here"]
    if disputed:
        shown = ", ".join(PurePosixPath(path).stem for path in disputed[:_NAMED])
        told = "contradict each other, which settles nothing"
        beside.append(f"{name}: rows of {counted(len(disputed), 'photograph')} {told}: {shown}")
    repeated = [named[place] for place, rows in rows_of.items() if len(rows) > 1 == len(said[place])]
    if repeated:
        beside.append(
            f"{name}: {counted(len(repeated), 'photograph')} with more than one row, such as {repeated[0]}: "
            "the first row counts"
        )
    if unclear:
        beside.append(
            f"{name}: {counted(len(unclear), 'row')} not used: a camera's number, such as {unclear[0]}, "
            "that several photographs have"
        )
    again = sorted(path for several in files.values() for path in several[1:])
    if again:
        beside.append(f"{counted(len(again), 'further file')} of an image id, such as {again[0]}")
    if masks:
        beside.append(f"{counted(masks, 'mask or superpixels', 'masks and superpixels')}, no photographs")
    not_read += [NotRead(name, _NO_FILE) for name in dict.fromkeys(missing)]
    not_read += [NotRead(path, NO_ROW) for place, path in enumerate(named) if place not in rows_of]
    if "source" not in table.columns:
        table["source"] = root.resolve().name
    table["path"] = paths
    table["image_id"] = [IMAGE_SUFFIX.sub("", PurePosixPath(name.strip()).name) for name in table["image_id"]]
    kept = table[table["path"] != ""].drop_duplicates("path")
    table = ordered(kept.reset_index(drop=True))
    return Collection(root, table, (*left_alone, *beside), tuple(not_read), unknown)


def _below(found: Contents, folder: str) -> tuple[list[str], int, list[NotRead]]:
    """The photographs below a folder, unsupported ones last; how many masks; what is not read."""

    def here(path: str) -> bool:
        return folder == "." or path.startswith(f"{folder}/")

    # A photograph of a kind that is not read has its row where there is no other one: it is found unreadable.
    paths = [path for path in (*found.photographs, *found.unsupported) if here(path)]
    named = [path for path in paths if not _MASKS.search(path)]
    return named, len(paths) - len(named), [one for one in found.not_read if here(one.path)]


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
            ids = counted(len(disputed), "id")
            notes.append(f"{column}: {ids} with two values, such as {shown}; kept as unknown")
        said = told[~told["key"].isin(disputed)].set_index("key")[column]
        new = keys.map(said).fillna("")
        table[column] = table[column].where(table[column] != "", new) if column in table.columns else new
    return table, notes


def stacked(parts: Sequence[tuple[pd.DataFrame, str]]) -> pd.DataFrame:
    """Tables one below another, each with its split; `""` where one has no such column."""
    return pd.concat([table.assign(split=split) for table, split in parts], ignore_index=True).fillna("")
