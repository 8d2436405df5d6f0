"""Which photographs of a collection are evaluated, and the caveats of that choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import pandas as pd

from dermsentry.collection import Collection
from dermsentry.collection.groups import DuplicateGroup, connected_groups, lesion_keys, patient_keys
from dermsentry.errors import InputError
from dermsentry.evaluation.caveats import caveat
from dermsentry.split.folds import LEARNED_FROM
from dermsentry.split.make import settle

AS_GIVEN = "test-as-given"
"""The Test folder as published, with the photographs that leak and those that carry two labels."""


class SplitTable(Protocol):
    """Anything with the table of `split.csv`: `path, image_id, diagnosis, group, part, reason`."""

    @property
    def table(self) -> pd.DataFrame:
        """One row per photograph."""


@dataclass(frozen=True)
class Chosen:
    """The photographs to evaluate on: columns `path`, `diagnosis`, `group`; and the caveats of the choice."""

    table: pd.DataFrame
    part: str
    caveats: tuple[str, ...]


def choose(
    collection: Collection,
    split: SplitTable | pd.DataFrame | None,
    part: str,
    labels: Mapping[str, str] | None = None,
) -> Chosen:
    """The photographs of one part of a split, or of the collection's own Test; see `evaluate`."""
    if split is None:
        return _choose_unsplit(collection, part, labels or {})
    table = split if isinstance(split, pd.DataFrame) else split.table
    return _choose_part(collection, table, part, labels or {})


def _choose_part(collection: Collection, split: pd.DataFrame, part: str, labels: Mapping[str, str]) -> Chosen:
    known = collection.table.set_index("path")
    missing = [path for path in split["path"] if path not in known.index]
    if missing:
        others = f"{len(missing)} of the split's {len(split)} photographs are not in the collection"
        raise InputError(f"{others}, such as {missing[0]}; give the collection that the split was made of.")
    split = split.assign(given=split["path"].map(known["split"]))
    if part == AS_GIVEN:
        quarantined = (split["part"] == "quarantined") & (split["given"] == "test")
        table = split[split["part"].isin(["test", "test-leaking"]) | quarantined]
        table = table.assign(diagnosis=table["path"].map(known["diagnosis"]))
    else:
        table = split[split["part"] == part]
    if not len(table):
        parts = ", ".join(f"{name} ({count})" for name, count in split["part"].value_counts().items())
        raise InputError(f"The split has no photograph in the part {part!r}; it has {parts}, and {AS_GIVEN}.")
    caveats = _caveats_of_part(table, part, _related(collection, split, table))
    return _relabelled(Chosen(table[["path", "diagnosis", "group"]], part, caveats), collection, labels, ())


def _related(collection: Collection, split: pd.DataFrame, table: pd.DataFrame) -> int:
    """How many of these rows are of a group, lesion or patient that was learned from."""
    learned = split["part"].isin(LEARNED_FROM)
    found = table["group"].isin(set(split.loc[learned, "group"])).to_numpy()
    paths = collection.table["path"]
    for keys in (lesion_keys(collection.table), patient_keys(collection.table)):
        key_of = dict(zip(paths, keys, strict=True))
        known = set(split.loc[learned, "path"].map(key_of)) - {""}
        found = found | table["path"].map(key_of).isin(known).to_numpy()
    return int(found.sum())


def _relabelled(
    chosen: Chosen,
    collection: Collection,
    labels: Mapping[str, str],
    duplicates: Sequence[DuplicateGroup],
) -> Chosen:
    """The same photographs by the reference labels, with how many these change."""
    image_id = dict(zip(collection.table["path"], collection.table["image_id"], strict=True))
    table = chosen.table.assign(image_id=chosen.table["path"].map(image_id))
    diagnosis, reasons = settle(table, labels, duplicates)
    changed = sum(map(bool, reasons))
    if not changed:
        return chosen
    told = caveat("relabelled", count=changed, of=len(table))
    return replace(chosen, table=chosen.table.assign(diagnosis=diagnosis), caveats=(*chosen.caveats, told))


def _caveats_of_part(table: pd.DataFrame, part: str, related: int) -> tuple[str, ...]:
    if part in LEARNED_FROM:
        return (caveat("learned_from", part=part),)
    counts = {"leaking": related, "quarantined": int((table["part"] == "quarantined").sum())}
    return tuple(caveat(topic, count=count, of=len(table)) for topic, count in counts.items() if count)


def _choose_unsplit(collection: Collection, part: str, labels: Mapping[str, str]) -> Chosen:
    from dermsentry.audit.duplicates import find_duplicates

    if part != "test":
        raise InputError(f"Received the part {part!r} without a split; give the split.csv that names it.")
    table = collection.table
    given = bool((table["split"] == "test").any())
    duplicates = find_duplicates(collection).groups
    table = table.assign(group=connected_groups(table, duplicates))
    if given:
        table = table[table["split"] == "test"]
    chosen = Chosen(table[["path", "diagnosis", "group"]], AS_GIVEN if given else "all", ())
    return _relabelled(chosen, collection, labels, duplicates)
