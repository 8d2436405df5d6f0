"""Which photographs of a collection are evaluated, and the caveats of that choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import pandas as pd

from dermsentry.collection import Collection
from dermsentry.errors import InputError
from dermsentry.evaluation.caveats import caveat
from dermsentry.split.folds import LEARNED_FROM

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


def choose(collection: Collection, split: SplitTable | pd.DataFrame | None, part: str) -> Chosen:
    """The photographs of one part of a split, or of the collection's own Test; see `evaluate`."""
    if split is None:
        return _choose_unsplit(collection, part)
    table = split if isinstance(split, pd.DataFrame) else split.table
    return _choose_part(collection, table, part)


def _choose_part(collection: Collection, split: pd.DataFrame, part: str) -> Chosen:
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
    learned = set(split.loc[split["part"].isin(LEARNED_FROM), "group"])
    return Chosen(table[["path", "diagnosis", "group"]], part, _caveats_of_part(table, part, learned))


def _caveats_of_part(table: pd.DataFrame, part: str, learned: set[str]) -> tuple[str, ...]:
    if part in LEARNED_FROM:
        return (caveat("learned_from", part=part),)
    counts = {
        "leaking": int(table["group"].isin(learned).sum()),
        "quarantined": int((table["part"] == "quarantined").sum()),
    }
    return tuple(caveat(topic, count=count, of=len(table)) for topic, count in counts.items() if count)


def _choose_unsplit(collection: Collection, part: str) -> Chosen:
    from dermsentry.audit.duplicates import find_duplicates
    from dermsentry.collection.groups import connected_groups

    if part != "test":
        raise InputError(f"Received the part {part!r} without a split; give the split.csv that names it.")
    table = collection.table
    given = bool((table["split"] == "test").any())
    groups = connected_groups(table, find_duplicates(collection).groups)
    table = table.assign(group=groups)
    if given:
        table = table[table["split"] == "test"]
    return Chosen(table[["path", "diagnosis", "group"]], AS_GIVEN if given else "all", ())
