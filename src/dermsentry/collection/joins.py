"""Metadata joined by image id, and collections joined into one."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from dermsentry.collection.columns import own_names, read_columns
from dermsentry.collection.groups import components, original_id
from dermsentry.collection.ids import match_ids
from dermsentry.collection.table import Collection, joined_unknown, ordered
from dermsentry.csv_tables import column_names
from dermsentry.errors import InputError, require_type
from dermsentry.image_files import NotRead
from dermsentry.stats.numbers import counted

_LEFT = ("image_id", "path", "diagnosis", "split")  # what a table may have, and does not give a collection
_NAMED = 3  # that a message names


def join_metadata(
    collection: Collection, path: Path, headings: Mapping[str, str] | None = None
) -> Collection:
    """Fill in every column of a table by image id where it is unknown, but for path, diagnosis and split.

    An id is a photograph's with or without folder, suffix, `_downsampled`, capitals and spaces around.
    Columns that a collection has not, such as `hospital`, are added. A source that is only the folder's name
    gives way. Rows that contradict each other settle nothing. What matched, and what did not, is added to
    `left_alone`. `headings` are those of the table that the user means by our names.

    Raises
    ------
    InputError
        The table has no image ids, or none of them is a photograph's.
    """
    extra = read_columns(path, "image_id", headings=headings)
    given = column_names(path)
    called = dict(zip(own_names(given, headings=headings), given, strict=True))
    names = collection.table["image_id"]
    rows_of, unclear = match_ids(list(extra["image_id"]), list(collection.table["path"]), list(names))
    if not rows_of and len(collection):
        raise InputError(
            f"{path} has a row of none of the photographs ({len(collection):,}): its column "
            f"{called['image_id']} has ids such as {_first(extra['image_id'])!r}, the photographs are called "
            f"such as {names.iloc[0]!r}."
        )
    told = [_coverage(path, extra, rows_of, collection)]
    if unclear:
        told.append(
            f"{path.name}: {counted(len(unclear), 'row')} not used: a camera's number, such as {unclear[0]}, "
            "that several photographs have"
        )
    table = collection.table.copy()
    columns = [column for column in extra.columns if column not in _LEFT]
    if not columns:
        told.append(f"{path.name}: none of its columns ({', '.join(given)}) says anything of a photograph")
    if "source" in columns:
        own = table["source"] == collection.root.resolve().name
        table["source"] = table["source"].where(~own, "")
    for column in columns:
        table[column] = table[column] if column in table.columns else ""
        told += _fill(table, column, list(extra[column]), rows_of, f"{path.name}: {called[column]}")
        if column in ("lesion_id", "patient_id"):
            told += _join_sources(table, column, rows_of, f"{path.name}: {called[column]}")
    if "source" in columns:
        table["source"] = table["source"].where(table["source"] != "", collection.table["source"])
    return replace(collection, table=table, left_alone=(*collection.left_alone, *told))


def join_labels(collection: Collection, labels: Mapping[str, str], where: str) -> tuple[dict[str, str], str]:
    """Reference labels also by the photographs' own image ids, and how many photographs have one, in words.

    Raises InputError where none has.
    """
    table = collection.table
    ids = list(labels)
    rows_of, _ = match_ids(ids, list(table["path"]), list(table["image_id"]))
    known = dict(labels)
    for place, rows in rows_of.items():
        said = {labels[ids[row]] for row in rows}
        if len(said) == 1:
            known[table["image_id"].iloc[place]] = said.pop()
    found = sum(name in known or original_id(name) in known for name in table["image_id"])
    if not found and len(table) and ids:
        raise InputError(
            f"{where} has a label of none of the photographs ({len(table):,}): it has ids such as "
            f"{ids[0]!r}, the photographs are called such as {table['image_id'].iloc[0]!r}."
        )
    return known, f"{where}: {found:,} of {len(table):,} photographs have a reference label"


def _fill(
    table: pd.DataFrame, column: str, values: Sequence[str], rows_of: Mapping[int, Sequence[int]], called: str
) -> list[str]:
    """Fill one column of `table` where it is empty; what contradicts something, in words."""
    known = list(table[column])
    ids = list(table["image_id"])
    contradicting, other = [], []
    for place, rows in rows_of.items():
        said = {re.sub(r"\.0+\Z", "", values[row]): values[row] for row in rows if values[row]}
        if len(said) > 1:
            contradicting.append(f"{ids[place]} ({', '.join(said.values())})")
        elif said and not known[place]:
            known[place] = next(iter(said.values()))
        elif said and known[place] not in (*said, *said.values()):
            other.append(f"{ids[place]} ({known[place]}, not {next(iter(said.values()))})")
    table[column] = known
    told = []
    if contradicting:
        told.append(
            f"{called}: rows of {counted(len(contradicting), 'photograph')} contradict each other, which "
            f"settles nothing: {_listed(contradicting)}"
        )
    if other:
        told.append(
            f"{called}: the collection itself says something else of "
            f"{counted(len(other), 'photograph')}, which is kept: {_listed(other)}"
        )
    return told


def _join_sources(table: pd.DataFrame, column: str, places: Iterable[int], called: str) -> list[str]:
    """Count sources as one that share an id of one table: by themselves, their ids are not each other's."""
    rows = table.iloc[sorted(places)]
    rows = rows[rows[column] != ""]
    names = sorted(set(rows["source"]))
    first = {value: names.index(source) for value, source in zip(rows[column], rows["source"], strict=True)}
    pairs = [(first[value], names.index(s)) for value, s in zip(rows[column], rows["source"], strict=True)]
    told = []
    for members in components(len(names), pairs):
        joined = [names[i] for i in members]
        if len(joined) > 1:
            table["source"] = table["source"].where(~table["source"].isin(joined), "+".join(joined))
            told.append(f"{called}: {', '.join(joined)} share ids, and count as one source")
    return told


def _coverage(
    path: Path, extra: pd.DataFrame, rows_of: Mapping[int, Sequence[int]], collection: Collection
) -> str:
    per_row = Counter(row for rows in rows_of.values() for row in rows)
    most = max(per_row.values(), default=0)
    line = f"{path.name}: {len(per_row):,} of {len(extra):,} rows have a photograph here"
    line += f" (up to {most} each)" if most > 1 else ""
    line += f", {len(rows_of):,} of {len(collection):,} photographs a row"
    without = [name for place, name in enumerate(collection.table["image_id"]) if place not in rows_of]
    return f"{line}; none: {_listed(without)}" if without else line


def _first(texts: Iterable[str]) -> str:
    return next((text for text in texts if text), "")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


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

    Examples
    --------
    >>> import dermsentry
    >>> parts = [dermsentry.read_collection(f"photographs/{part}") for part in ("Train", "Test")]
    >>> joined = dermsentry.join_collections(parts)
    >>> sorted(set(joined.table["source"]))
    ['Test', 'Train']
    """
    if not collections:
        raise InputError("Received no collection to join; expected at least one.")
    for collection in collections:
        require_type("one of the collections", collection, Collection, "read_collection")
    root = Path(os.path.commonpath([c.root.resolve() for c in collections]))
    names = [c.root.resolve().name for c in collections]
    tables: list[pd.DataFrame] = []
    left_alone: list[str] = []
    not_read: list[NotRead] = []
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
        if below == ".":
            left_alone += collection.left_alone
            not_read += collection.not_read
        else:
            left_alone += [f"{below}: {line}" for line in collection.left_alone]
            not_read += [NotRead(f"{below}/{one.path}", one.reason) for one in collection.not_read]
    table = pd.concat(tables, ignore_index=True)
    with_row = set(table["path"])  # of several tables about one folder, what one leaves out another may have
    not_read = list(dict.fromkeys(one for one in not_read if one.path not in with_row))
    twice = table.loc[table["path"].duplicated(), "path"]
    if len(twice):
        raise InputError(
            f"Two of the collections hold the same {counted(len(twice), 'photograph')}, such as "
            f"{twice.iloc[0]}; give each once."
        )
    unknown = joined_unknown(c.unknown_diagnoses for c in collections)
    return Collection(root, ordered(table), tuple(left_alone), tuple(not_read), unknown)
