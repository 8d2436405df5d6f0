"""An honest split: what belongs together stays on one side, and every photograph's part has its reason."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dermsentry.audit.conflicts import find_conflicts
from dermsentry.audit.duplicates import Duplicates, find_duplicates
from dermsentry.audit.groups import connected_groups
from dermsentry.collection import Collection
from dermsentry.diagnoses import find_label, narrow
from dermsentry.errors import InputError
from dermsentry.files import fingerprint, write_text

COLUMNS = ("path", "image_id", "diagnosis", "group", "part", "reason")
PARTS = ("train", "validation", "calibration", "test", "test-leaking", "quarantined")
APART = ("train", "validation", "calibration", "test")
"""The parts that may not share a group. `test-leaking` is what shares one with the rest, by definition."""


@dataclass(frozen=True)
class Split:
    """Which part each photograph is in; `table` has the columns `COLUMNS`, ordered by path."""

    table: pd.DataFrame

    def counts(self) -> dict[str, int]:
        """How many photographs each part has, in the order of `PARTS`, empty parts left out."""
        found = Counter(self.table["part"])
        return {part: found[part] for part in PARTS if found[part]}

    def fingerprint(self) -> str:
        """SHA-256 over paths, diagnoses and parts."""
        rows = zip(self.table["path"], self.table["diagnosis"], self.table["part"], strict=True)
        return fingerprint("\t".join(row) for row in rows)


def make_split(
    collection: Collection,
    *,
    labels: Mapping[str, str] | None = None,
    fractions: tuple[float, float, float, float] = (0.7, 0.15, 0.15, 0.15),
    seed: int = 0,
    duplicates: Duplicates | None = None,
    quiet: bool = True,
) -> Split:
    """Split a collection by groups of connected photographs, stratified by diagnosis.

    A group is everything that is identical, near-identical, or of one lesion or patient. A Test that the
    collection names stays the test, told apart by whether training sees a connected photograph; where it
    names none, a test is taken by groups.

    Parameters
    ----------
    labels
        Reference labels by image id. They settle conflicts and correct labels; `reason` says so.
    fractions
        Shares of train, validation, calibration and, only where no Test is named, test; scaled to sum to 1.
    seed
        The same seed and the same collection give the same file, byte for byte.
    duplicates
        From `find_duplicates`, where it has been run already.

    Raises
    ------
    InputError
        No readable photograph of a known diagnosis is left, or `fractions` are not shares.
    """
    if len(fractions) != 4 or min(fractions) < 0 or fractions[0] <= 0:
        raise InputError(f"Received fractions {fractions}; expected four shares, train's above 0.")
    found = duplicates or find_duplicates(collection, quiet=quiet)
    table = collection.table
    diagnosis, reason = _settled(table, labels or {})
    settled = table.assign(diagnosis=diagnosis)
    group = np.array(connected_groups(table, found.groups), dtype=object)
    part = np.full(len(table), "", dtype=object)

    position = {path: i for i, path in enumerate(table["path"])}
    for i, path in enumerate(table["path"]):
        if path in found.unreadable:
            part[i], reason[i] = "quarantined", f"unreadable: {found.unreadable[path]}"
        elif not diagnosis[i]:
            part[i], reason[i] = "quarantined", "no diagnosis"
    for conflict in find_conflicts(settled, found.groups):
        names = ", ".join(sorted({diagnosis[position[path]] for path in conflict}))
        for path in conflict:
            part[position[path]] = "quarantined"
            reason[position[path]] = f"conflict: the same photograph as {names}"

    given_test = (table["split"] == "test").to_numpy()
    readable = np.array([path not in found.unreadable for path in table["path"]])
    # A quarantined photograph counts as seen too: a training that ignores the quarantine has seen it.
    seen = {group[i]: i for i in np.flatnonzero(readable & ~given_test)[::-1]}
    for i in np.flatnonzero((part == "") & given_test):
        other = seen.get(group[i])
        part[i] = "test" if other is None else "test-leaking"
        if other is not None:
            reason[i] = f"connected with {table['path'].iloc[other]}, which is not in Test"

    given_validation = set(group[(table["split"] == "validation").to_numpy() & (part == "")])
    for i in np.flatnonzero(part == ""):
        if group[i] in given_validation:
            part[i] = "validation"
    names = APART[:3] if given_test.any() else APART
    shares = np.array(fractions[: len(names)], dtype=float)
    if given_validation:
        shares[1] = 0.0
    _assign(part, group, diagnosis, dict(zip(names, shares / shares.sum(), strict=True)), seed)
    if not (part == "train").any():
        raise InputError(
            f"{collection.root} leaves nothing to train on: {len(table)} photographs, none readable with a diagnosis."
        )
    return Split(_table(table, diagnosis, group, part, reason))


def random_split(collection: Collection, groups: Split, *, validation: float = 0.2, seed: int = 0) -> Split:
    """The usual random split of everything outside Test, as the assignment makes it: copies land on both sides.

    `groups` is the honest split of the same collection; its groups and its verdict on Test are kept, so that
    both protocols are judged on the same photographs.
    """
    table = groups.table.copy()
    by_path = dict(zip(collection.table["path"], collection.table["diagnosis"], strict=True))
    table["diagnosis"] = [by_path[path] for path in table["path"]]
    is_test = dict(zip(collection.table["path"], collection.table["split"] == "test", strict=True))
    readable = ~table["reason"].str.startswith("unreadable") & (table["diagnosis"] != "")
    if (collection.table["split"] == "test").any():
        pool = np.flatnonzero(readable & ~table["path"].map(is_test))
    else:
        pool = np.flatnonzero(readable & (table["part"] != "test"))
    order = np.random.default_rng(seed).permutation(pool)
    held = round(validation * len(order))
    part = table["part"].to_numpy(dtype=object).copy()
    part[order[held:]] = "train"
    part[order[:held]] = "validation"
    return Split(table.assign(part=part, reason="random"))


def check_split(split: Split) -> None:
    """Raise InputError, naming every group, if train, validation, calibration or test share one."""
    apart = split.table[split.table["part"].isin(APART)]
    parts = apart.groupby("group")["part"].agg(lambda values: sorted(set(values)))
    shared = parts[parts.map(len) > 1]
    if len(shared):
        listed = "; ".join(f"{name} in {' and '.join(where)}" for name, where in list(shared.items())[:5])
        more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
        raise InputError(
            f"The split's parts share {len(shared)} groups: {listed}{more}. Photographs of one group belong in one part; "
            "set their part to the same, or to quarantined."
        )


def write_split(split: Split, path: str | Path) -> None:
    """Write split.csv, whole or not at all. Raises OutputError."""
    buffer = io.StringIO()
    split.table.to_csv(buffer, index=False, lineterminator="\n")
    write_text(Path(path), buffer.getvalue())


def read_split(path: str | Path, collection: Collection | None = None) -> Split:
    """Read a split.csv, which a person may have edited.

    Raises InputError where a column is missing, a part or a diagnosis is unknown, a photograph is listed
    twice, or one is not in `collection`.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise InputError(f"Cannot read the split {path}: {str(error).splitlines()[0]}.") from error
    missing = [column for column in COLUMNS if column not in table.columns and column != "reason"]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}; expected {', '.join(COLUMNS)}.")
    if "reason" not in table.columns:
        table["reason"] = ""
    unknown = sorted(set(table["part"]) - set(PARTS))
    if unknown:
        raise InputError(
            f"{path} has the parts {', '.join(map(repr, unknown))}; expected {', '.join(PARTS)}."
        )
    labels = {text: find_label(text) if text else "" for text in set(table["diagnosis"])}
    if None in labels.values():
        wrong = sorted(text for text, label in labels.items() if label is None)
        raise InputError(f"{path} has the diagnoses {', '.join(map(repr, wrong))}, none of the nine.")
    table["diagnosis"] = table["diagnosis"].map(labels)
    nameless = (table["diagnosis"] == "") & (table["part"] != "quarantined")
    if nameless.any():
        raise InputError(
            f"{path} has {int(nameless.sum())} photographs without a diagnosis, such as {table.loc[nameless, 'path'].iloc[0]}; quarantine them."
        )
    twice = table.loc[table["path"].duplicated(), "path"]
    if len(twice):
        raise InputError(
            f"{path} lists {len(twice)} photographs twice, such as {twice.iloc[0]}; list each once."
        )
    if collection is not None:
        outside = sorted(set(table["path"]) - set(collection.table["path"]))
        if outside:
            raise InputError(
                f"{path} lists {len(outside)} photographs that are not in {collection.root}, such as {outside[0]}."
            )
    return Split(table[list(COLUMNS)].sort_values("path", kind="stable", ignore_index=True))


def _settled(table: pd.DataFrame, labels: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Each row's diagnosis once the reference table has spoken, and what it changed in words."""
    diagnosis, reason = [], []
    for image_id, own in zip(table["image_id"], table["diagnosis"], strict=True):
        reference = labels.get(image_id, "")
        try:
            result = narrow(own, reference)
            changed = f"label table: {result}" if result != own else ""
        except ValueError:
            result, changed = reference, f"label table: {reference}, not {own}"
        diagnosis.append(result)
        reason.append(changed)
    return diagnosis, reason


def _assign(
    part: np.ndarray, group: np.ndarray, diagnosis: Sequence[str], shares: Mapping[str, float], seed: int
) -> None:
    """Give every open row's group to the part that lacks most of its diagnosis, larger groups first."""
    members: dict[str, list[int]] = defaultdict(list)
    for i in np.flatnonzero(part == ""):
        members[group[i]].append(int(i))
    by_label: dict[str, list[str]] = defaultdict(list)
    for name in sorted(members):
        counts = Counter(diagnosis[i] for i in members[name])
        by_label[max(sorted(counts), key=lambda label: counts[label])].append(name)
    rng = np.random.default_rng(seed)
    for label in sorted(by_label):
        names = [by_label[label][i] for i in rng.permutation(len(by_label[label]))]
        names.sort(key=lambda name: -len(members[name]))
        total = sum(len(members[name]) for name in names)
        lacking = {where: share * total for where, share in shares.items()}
        for name in names:
            where = max(lacking, key=lambda candidate: lacking[candidate])
            lacking[where] -= len(members[name])
            part[members[name]] = where


def _table(
    table: pd.DataFrame, diagnosis: list[str], group: np.ndarray, part: np.ndarray, reason: list[str]
) -> pd.DataFrame:
    columns = {
        "path": table["path"],
        "image_id": table["image_id"],
        "diagnosis": diagnosis,
        "group": group,
        "part": part,
        "reason": reason,
    }
    return pd.DataFrame(columns).sort_values("path", kind="stable", ignore_index=True)
