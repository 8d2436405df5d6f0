"""The folds of a cross-validation: a source, hospital or patient left out, or a share of all groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dermsentry.collection import Collection
from dermsentry.collection.table import listed_values, values_of
from dermsentry.errors import InputError, require_type
from dermsentry.split.make import assign
from dermsentry.split.table import Split
from dermsentry.stats.numbers import counted

LEARNED_FROM = ("train", "validation", "calibration")


@dataclass(frozen=True)
class Fold:
    """One fold: the split whose test is left out, and what is in no part of it for that.

    Parameters
    ----------
    name
        What is left out: a value of the column, or `1 of 5`.
    split
        Its `test` is what is left out; `quarantined` has the reason of each.
    across, across_groups
        Photographs and groups that are partly of this value and partly of others: in no part.
    unknown
        Photographs of groups whose value is not all known: they could be of this one, and are in no part.
    aside
        Photographs of a Test that the collection itself names: kept for the final evaluation.
    number
        Its place among all folds, from 1, also where only one value is left out.

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> split = dermsentry.make_split(collection)
    >>> fold = dermsentry.make_folds(split, collection, folds=3)[0]
    >>> fold.name, fold.split.counts()["test"]
    ('1 of 3', 18)
    >>> fold.told
    "29 photographs to learn from, 18 left out to evaluate on, 23 of the collection's own Test set aside"
    """

    name: str
    split: Split
    across: int = 0
    across_groups: int = 0
    unknown: int = 0
    aside: int = 0
    number: int = 1

    @property
    def problem(self) -> str:
        """Why it can be neither trained nor evaluated, in words; `""` where it can."""
        counts = self.split.counts()
        if not counts.get("test"):
            return f"nothing is left to evaluate on ({self.told})"
        return "" if counts.get("train") else f"nothing is left to train on ({self.told})"

    @property
    def told(self) -> str:
        """The counts in words."""
        counts = self.split.counts()
        parts = [
            f"{sum(counts.get(part, 0) for part in LEARNED_FROM):,} photographs to learn from",
            f"{counts.get('test', 0):,} left out to evaluate on",
        ]
        if self.across:
            groups = f"{self.across_groups:,} group{'' if self.across_groups == 1 else 's'}"
            parts.append(f"{self.across:,} quarantined in {groups} that reach into others")
        if self.unknown:
            parts.append(f"{self.unknown:,} quarantined whose value is unknown")
        if self.aside:
            parts.append(f"{self.aside:,} of the collection's own Test set aside")
        return ", ".join(parts)


def make_folds(
    split: Split,
    collection: Collection,
    *,
    leave_out: str | None = None,
    folds: int | None = None,
    seed: int = 0,
) -> tuple[Fold, ...]:
    """Divide a split's photographs again, so that in each fold something else is left out as the test.

    What is not left out keeps its part; a test that was drawn, not named by the collection, is learned from.
    Quarantined photographs stay so, and a Test that the collection names is in no fold.

    Parameters
    ----------
    split
        From `make_split` or `read_split`: its groups, diagnoses and quarantine hold.
    collection
        The collection that it was made of.
    leave_out
        `COLUMN=VALUE` leaves out the photographs of one value of a column, such as `source=BCN`; `COLUMN`
        each value in turn. A group that is partly of this value is quarantined, whole.
    folds
        Instead: as many folds of whole groups, stratified by diagnosis; each group is left out once.
    seed
        Random seed of `folds`.

    Returns
    -------
    tuple of Fold
        In the order of the values. One that leaves nothing to train or to evaluate on has a `problem`.

    Raises
    ------
    InputError
        Not one of `leave_out` and `folds` is given, the column or the value does not exist (those that do
        are named), there are fewer groups than folds, the split has photographs that the collection has
        not, or a single value leaves nothing to train or to evaluate on.

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> split = dermsentry.make_split(collection)
    >>> [fold.name for fold in dermsentry.make_folds(split, collection, folds=3)]
    ['1 of 3', '2 of 3', '3 of 3']
    """
    require_type("split", split, Split, "make_split or read_split")
    require_type("collection", collection, Collection, "read_collection")
    if (leave_out is None) == (folds is None):
        given = "neither" if folds is None else "both"
        raise InputError(f"Received {given} of leave_out and folds; expected one of them.")
    pool, aside = _pool(split, collection)
    if leave_out is not None:
        return _leave_out(split, collection, leave_out, pool, aside)
    return tuple(_k_fold(split, folds or 0, seed, pool, aside))


def _pool(split: Split, collection: Collection) -> tuple[list[int], list[int]]:
    """The rows of a split that folds are made of, and those of the collection's own Test."""
    given = dict(zip(collection.table["path"], collection.table["split"], strict=True))
    outside = [path for path in split.table["path"] if path not in given]
    if outside:
        raise InputError(
            f"The split has {counted(len(outside), 'photograph')} not in {collection.root}, "
            f"such as {outside[0]}; split the collection again."
        )
    named = [given[path] == "test" for path in split.table["path"]]
    parts = list(split.table["part"])
    rows = [i for i, part in enumerate(parts) if part != "quarantined"]
    aside = [i for i in rows if named[i] or parts[i] == "test-leaking"]
    return sorted(set(rows) - set(aside)), aside


def _leave_out(
    split: Split, collection: Collection, wanted: str, pool: Sequence[int], aside: Sequence[int]
) -> tuple[Fold, ...]:
    column, single, value = wanted.partition("=")
    by_path = dict(zip(collection.table["path"], values_of(collection, column), strict=True))
    values = [by_path[path] for path in split.table["path"]]
    present = sorted(set(values) - {""})
    if single and value not in present:
        raise InputError(
            f"No photograph of the split has {column} {value!r}; it has {listed_values(values) or 'none'}."
        )
    if len(present) < 2:
        raise InputError(
            f"All photographs of the split have {column} {present[0] if present else '(unknown)'}: without "
            "them nothing is left to train on. Give another column, or several collections, or folds."
        )
    groups = list(split.table["group"])
    reach: dict[str, set[str]] = defaultdict(set)
    for group, own in zip(groups, values, strict=True):
        reach[group].add(own)
    across_of: dict[str, list[int]] = defaultdict(list)
    test_of: dict[str, list[int]] = defaultdict(list)
    for i in pool:
        own = reach[groups[i]]
        for each in own:
            (test_of if len(own) == 1 else across_of)[each].append(i)
    partly_unknown = [i for i in pool if "" in reach[groups[i]]]
    made = []
    for left_out in [value] if single else present:
        across, test = across_of[left_out], test_of[left_out]
        unknown = [i for i in partly_unknown if left_out not in reach[groups[i]]]
        apart = {
            i: f"its group is of {column} {', '.join(sorted(o or '(unknown)' for o in reach[groups[i]]))}"
            for i in across
        } | dict.fromkeys(unknown, f"its {column}, or that of its group, is unknown")
        made.append(
            Fold(
                left_out,
                _with_test(split, test, f"{column} {left_out} is left out", apart, aside),
                across=len(across),
                across_groups=len({groups[i] for i in across}),
                unknown=len(unknown),
                aside=len(aside),
                number=present.index(left_out) + 1,
            )
        )
    if single and made[0].problem:
        raise InputError(f"Without {column} {value}, {made[0].problem}.")
    return tuple(made)


def _k_fold(split: Split, folds: int, seed: int, pool: Sequence[int], aside: Sequence[int]) -> Iterator[Fold]:
    groups, labels = list(split.table["group"]), list(split.table["diagnosis"])
    members: dict[str, list[str]] = defaultdict(list)
    for i in pool:
        members[groups[i]].append(labels[i])
    if not 2 <= folds <= len(members) or seed < 0:
        raise InputError(
            f"Received {folds} folds and seed {seed}; expected at least 2 folds, at most one for each of the "
            f"{len(members):,} groups, and a seed of at least 0."
        )
    names = [f"{number} of {folds}" for number in range(1, folds + 1)]
    fold_of = assign(members, dict.fromkeys(names, 1.0), seed)
    for number, name in enumerate(names, 1):
        test = [i for i in pool if fold_of[groups[i]] == name]
        made = _with_test(split, test, f"fold {name}", {}, aside)
        yield Fold(name, made, aside=len(aside), number=number)


def _with_test(
    split: Split, test: Sequence[int], why: str, apart: dict[int, str], aside: Sequence[int]
) -> Split:
    """The split with another test; what was in its own test and is not in this one is learned from."""
    part = np.array(split.table["part"], dtype=object)
    reason = np.array(split.table["reason"], dtype=object)
    part[part == "test"] = "train"
    part[list(test)], reason[list(test)] = "test", why
    for rows in (apart, dict.fromkeys(aside, "of the collection's own Test, kept for the final evaluation")):
        for i, text in rows.items():
            part[i], reason[i] = "quarantined", text
    return Split(split.table.assign(part=part, reason=reason))
