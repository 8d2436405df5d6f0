"""Metadata joined by image id, and collections joined into one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from dermsentry.collection.columns import read_columns
from dermsentry.collection.table import Collection, ordered
from dermsentry.errors import InputError, require_type


def join_metadata(collection: Collection, path: Path) -> Collection:
    """Fill in every column of a table by image id where it is unknown, but for path, diagnosis and split.

    Columns that a collection has not, such as `hospital`, are added. A source that is only the folder's name
    gives way. The first row of an image id counts. Raises InputError.
    """
    extra = read_columns(path, "image_id").drop_duplicates("image_id").set_index("image_id")
    table = collection.table.copy()
    for column in extra.columns.difference(["path", "diagnosis", "split"], sort=False):
        found = table["image_id"].map(extra[column]).fillna("")
        own = table[column] if column in table.columns else found
        unknown = own == ""
        if column == "source":
            unknown |= (own == collection.root.resolve().name) & (found != "")
        table[column] = own.where(~unknown, found)
    return replace(collection, table=table)


def join_collections(collections: Sequence[Collection]) -> Collection:
    """Join collections into one.

    Parameters
    ----------
    collections
        At least one. No file may be in two of them.

    Returns
    -------
    Collection
        Its root is the collections' common folder; the column `source` says which collection a row is from:
        the name of its folder, or its path below the root where two folders have the same name.

    Raises
    ------
    InputError
        There is no collection, or a file is in two of them.
    """
    if not collections:
        raise InputError("Received no collection to join; expected at least one.")
    for collection in collections:
        require_type("one of the collections", collection, Collection, "read_collection")
    root = Path(os.path.commonpath([c.root.resolve() for c in collections]))
    names = [c.root.resolve().name for c in collections]
    tables, left_alone = [], []
    for collection in collections:
        below = collection.root.resolve().relative_to(root).as_posix()
        table = collection.table.copy()
        if below != ".":
            table["path"] = [f"{below}/{path}" for path in table["path"]]
        # Two folders of one name are two sources: their lesion ids have nothing to do with each other.
        name = collection.root.resolve().name
        alone = name if names.count(name) == 1 else below
        table["source"] = table["source"].where(~table["source"].isin(["", name]), alone)
        tables.append(table)
        left_alone += [f"{below}: {line}" for line in collection.left_alone]
    table = pd.concat(tables, ignore_index=True)
    twice = table.loc[table["path"].duplicated(), "path"]
    if len(twice):
        raise InputError(
            f"{len(twice)} photographs are in two of the collections, such as {twice.iloc[0]}; "
            "give each once."
        )
    return Collection(root, ordered(table), tuple(left_alone))
