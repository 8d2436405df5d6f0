"""Splits by groups: what belongs together stays in one part, and what is set apart has its reason."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import pandas as pd

from dermsentry.audit.conflicts import find_conflicts
from dermsentry.audit.duplicates import Duplicates, find_duplicates
from dermsentry.collection import Collection
from dermsentry.collection.groups import DuplicateGroup, connected_groups, original_id, same_photographs
from dermsentry.csv_tables import read_table
from dermsentry.diagnoses import find_label, narrow
from dermsentry.errors import InputError
from dermsentry.files import fingerprint, write_bytes

COLUMNS = ("path", "image_id", "diagnosis", "group", "part", "reason")
PARTS = ("train", "validation", "calibration", "test", "test-leaking", "quarantined")
DOUBTFUL = "doubtful"
"""How the reason begins of a photograph in a group of copies that is too large to be believed."""

APART = ("train", "validation", "calibration", "test")
"""The parts that may not share a group; `test-leaking` does share one with the rest, by definition."""


@dataclass(frozen=True, repr=False)
class Split:
    """Which part each photograph is in.

    Attributes
    ----------
    table
        The columns `COLUMNS`, one row per photograph, ordered by path; the file `split.csv`.
    """

    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        listed = ", ".join(f"{count:,} {part}" for part, count in self.counts().items())
        return f"<Split of {len(self):,} photographs: {listed}>"

    def _repr_html_(self) -> str:
        """Photographs of each diagnosis in each part, for a notebook."""
        diagnosis = self.table["diagnosis"].replace("", "unknown")
        counts = pd.crosstab(diagnosis, self.table["part"], margins=True)[[*self.counts(), "All"]]
        counts = counts.rename_axis(index=None, columns=None)
        return f"<p>{len(self):,} photographs</p>{counts.to_html()}"

    def to_frame(self) -> pd.DataFrame:
        """A copy of `table`."""
        return self.table.copy()

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
    strata: Sequence[str] | None = None,
    quiet: bool = True,
) -> Split:
    """Split a collection by groups of connected photographs, stratified by diagnosis.

    A group is everything that is identical, near-identical, or of one lesion or patient. A Test that the
    collection names stays the test: its photographs that are connected with any other become `test-leaking`.
    Where it names none, a test is taken by groups. A validation part that it names stays, and takes what is
    connected with it. A doubtful group of duplicates connects nothing and quarantines nothing; `reason` names
    its photographs.

    Parameters
    ----------
    collection
        From `read_collection` or `join_collections`.
    labels
        Reference labels by image id, as `read_labels` gives them. They settle conflicts and correct labels,
        also those of a copy under another id; `reason` says so.
    fractions
        Shares of train, validation, calibration and, only where no Test is named, test; scaled to sum to 1.
    seed
        Random seed: the same seed and the same collection give the same file, byte for byte.
    duplicates
        From `find_duplicates` or `Audit.found`, where they have been searched for already.
    strata
        What else each row of `collection.table` is to be stratified by, such as its source.
    quiet
        Show no progress on stderr.

    Returns
    -------
    Split
        Every photograph of the collection in one of `PARTS`, with the reason where that is not chance.

    Raises
    ------
    InputError
        No readable photograph of a known diagnosis is left, or `fractions`, `seed` or `labels` are unusable.
    """
    if len(fractions) != 4 or not all(0 <= share < math.inf for share in fractions) or not fractions[0]:
        raise InputError(f"Received fractions {fractions}; expected four shares, train's above 0.")
    if seed < 0:
        raise InputError(f"Received seed {seed}; expected a whole number of at least 0.")
    found = duplicates or find_duplicates(collection, quiet=quiet)
    table = collection.table
    paths, given = list(table["path"]), list(table["split"])
    rows = range(len(paths))
    group = connected_groups(table, found.groups)
    diagnosis, reasons = _settled(table, labels or {}, found.groups)
    part = [""] * len(paths)
    for i, reason in _quarantine(table.assign(diagnosis=diagnosis), found).items():
        part[i], reasons[i] = "quarantined", [reason]
    agreeing = {path: len(group.photographs) for group in found.doubtful for path in group.photographs}
    for i in rows:
        if paths[i] in agreeing:
            reasons[i].append(f"{DOUBTFUL}: agrees with {agreeing[paths[i]] - 1} others as a copy would")

    # A quarantined photograph counts as seen too: a training that ignores the quarantine has seen it.
    seen = _first_of_groups(
        (group[i], paths[i]) for i in rows if given[i] != "test" and paths[i] not in found.unreadable
    )
    for i in rows:
        if not part[i] and given[i] == "test":
            part[i] = "test-leaking" if group[i] in seen else "test"
            if group[i] in seen:
                reasons[i].append(f"connected with {seen[group[i]]}, which is not in Test")

    validated = _first_of_groups(
        (group[i], paths[i]) for i in rows if given[i] == "validation" and not part[i]
    )
    for i in rows:
        if not part[i] and group[i] in validated:
            part[i] = "validation"
            if given[i] != "validation":
                reasons[i].append(f"connected with {validated[group[i]]}, which is in the given validation")

    wanted = APART[:3] if "test" in given else APART
    shares = dict(zip(wanted, fractions, strict=False))
    if validated:
        shares["validation"] = 0.0
    members: dict[str, list[str]] = defaultdict(list)
    for i in rows:
        if not part[i]:
            members[group[i]].append(diagnosis[i] if strata is None else f"{diagnosis[i]}\t{strata[i]}")
    assigned = _assign(members, shares, seed)
    part = [part[i] or assigned[group[i]] for i in rows]
    if "train" not in part:
        raise InputError(
            f"{collection.root} leaves nothing to train on: of {len(paths)} photographs none is readable, "
            "of a known diagnosis and outside Test and validation."
        )
    columns = {
        "path": paths,
        "image_id": list(table["image_id"]),
        "diagnosis": diagnosis,
        "group": group,
        "part": part,
        "reason": ["; ".join(reason) for reason in reasons],
    }
    return Split(pd.DataFrame(columns).sort_values("path", kind="stable", ignore_index=True))


def random_split(collection: Collection, groups: Split, *, validation: float = 0.2, seed: int = 0) -> Split:
    """The usual random split of everything outside Test, which separates copies and lesions.

    Parameters
    ----------
    collection
        The collection; its own labels are used.
    groups
        Its split by groups. The groups and the test are taken from there, so that both ways of splitting are
        evaluated on the same images.
    validation
        Share that is held out of training.
    seed
        Random seed.
    """
    own = dict(zip(collection.table["path"], collection.table["diagnosis"], strict=True))
    given = dict(zip(collection.table["path"], collection.table["split"], strict=True))
    names_test = "test" in given.values()
    table = groups.table
    diagnosis = [own[path] for path in table["path"]]
    part, reason = list(table["part"]), list(table["reason"])
    pool = [
        i
        for i, path in enumerate(table["path"])
        if diagnosis[i]
        and not reason[i].startswith("unreadable")
        and (given[path] != "test" if names_test else part[i] != "test")
    ]
    order = np.random.default_rng(seed).permutation(np.array(pool, dtype=np.int64)).tolist()
    held_out = set(order[: round(validation * len(order))])
    for i in pool:
        part[i], reason[i] = "validation" if i in held_out else "train", "random"
    return Split(table.assign(diagnosis=diagnosis, part=part, reason=reason))


def check_split(split: Split) -> None:
    """Raise InputError, naming the groups, if train, validation, calibration or test share one."""
    parts: dict[str, set[str]] = defaultdict(set)
    for name, part in zip(split.table["group"], split.table["part"], strict=True):
        if part in APART:
            parts[name].add(part)
    shared = [f"{name} in {' and '.join(sorted(where))}" for name, where in parts.items() if len(where) > 1]
    if shared:
        more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
        raise InputError(
            f"The split's parts share {len(shared)} groups: {'; '.join(shared[:5])}{more}. "
            "Photographs of one group belong in one part; set their part to the same, or to quarantined."
        )


def write_split(split: Split, path: str | Path) -> None:
    """Write split.csv, whole or not at all.

    Parameters
    ----------
    split
        From `make_split` or `read_split`.
    path
        The file to write; its folder is made if it is missing.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    text = split.table.to_csv(index=False, lineterminator="\n")
    # A file name's bytes that are no UTF-8 go in and come out as they are.
    write_bytes(Path(path), text.encode("utf-8", "surrogateescape"))


def read_split(path: str | Path, collection: Collection | None = None) -> Split:
    """Read a split.csv, which a person may have edited, or a spreadsheet saved.

    Parameters
    ----------
    path
        A CSV with the columns `COLUMNS`; `reason` may be missing. A diagnosis may be written in any way that
        `diagnoses.find_label` knows.
    collection
        Where given, the collection that every photograph must be in.

    Returns
    -------
    Split
        Ordered by path.

    Raises
    ------
    InputError
        A column or a field is missing, a part or a diagnosis is unknown, a photograph is listed twice or is
        not in `collection`.
    """
    table = _read_table(Path(path))
    for column in ("path", "group"):
        empty = int((table[column] == "").sum())
        if empty:
            raise InputError(
                f"{path} has {empty} rows without a {column}; give each photograph its {column}."
            )
    unknown = sorted(set(table["part"]) - set(PARTS))
    if unknown:
        raise InputError(
            f"{path} has the parts {', '.join(map(repr, unknown))}; expected {', '.join(PARTS)}."
        )
    labels = {text: find_label(text) if text else "" for text in set(table["diagnosis"])}
    wrong = sorted(text for text, label in labels.items() if label is None)
    if wrong:
        raise InputError(f"{path} has the diagnoses {', '.join(map(repr, wrong))}, none of the nine.")
    table["diagnosis"] = [labels[text] for text in table["diagnosis"]]
    nameless = [
        file
        for file, label, part in zip(table["path"], table["diagnosis"], table["part"], strict=True)
        if not label and part != "quarantined"
    ]
    if nameless:
        raise InputError(
            f"{path} has {len(nameless)} photographs without a diagnosis, such as {nameless[0]}; "
            "quarantine them."
        )
    twice = [file for file, count in Counter(table["path"]).items() if count > 1]
    if twice:
        raise InputError(f"{path} lists {len(twice)} photographs twice, such as {twice[0]}; list each once.")
    if collection is not None:
        outside = sorted(set(table["path"]) - set(collection.table["path"]))
        if outside:
            raise InputError(
                f"{path} lists {len(outside)} photographs that are not in {collection.root}, "
                f"such as {outside[0]}."
            )
    return Split(table[list(COLUMNS)].sort_values("path", kind="stable", ignore_index=True))


def _read_table(path: Path) -> pd.DataFrame:
    """The file's columns as text, `reason` added where it is missing. Raises InputError."""
    table = read_table(path, exact=True)
    if "reason" not in table.columns:
        table["reason"] = ""
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}; expected {', '.join(COLUMNS)}.")
    for column in ("diagnosis", "group", "part", "reason"):
        table[column] = table[column].str.strip()
    return table


def _quarantine(table: pd.DataFrame, found: Duplicates) -> dict[int, str]:
    """The rows that can be in no part, each with the reason: conflicting labels, unreadable, no diagnosis."""
    paths, diagnosis = list(table["path"]), list(table["diagnosis"])
    row = {path: i for i, path in enumerate(paths)}
    reasons: dict[int, str] = {}
    for conflict in find_conflicts(table, found.groups):
        members = [row[path] for path in conflict]
        names = ", ".join(sorted({diagnosis[i] for i in members if diagnosis[i]}))
        reasons |= dict.fromkeys(members, f"conflict: the same photograph as {names}")
    for i, path in enumerate(paths):
        if path in found.unreadable:
            reasons[i] = f"unreadable: {found.unreadable[path]}"
        elif not diagnosis[i]:
            reasons.setdefault(i, "no diagnosis")
    return reasons


def _first_of_groups(members: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The first path of each group among (group, path) pairs."""
    first: dict[str, str] = {}
    for name, path in members:
        first.setdefault(name, path)
    return first


def _settled(
    table: pd.DataFrame, labels: Mapping[str, str], duplicates: Sequence[DuplicateGroup]
) -> tuple[list[str], list[list[str]]]:
    """Each row's diagnosis after the reference labels, and what they changed, in words."""
    known = {image_id: find_label(text) for image_id, text in labels.items()}
    wrong = sorted({labels[image_id] for image_id, label in known.items() if label is None})
    if wrong:
        raise InputError(f"The label table has the diagnoses {', '.join(wrong)}, none of the nine.")
    reference = {
        path: known.get(image_id) or known.get(original_id(image_id)) or ""
        for path, image_id in zip(table["path"], table["image_id"], strict=True)
    }
    for copies in same_photographs(table, duplicates):
        try:
            said = reduce(narrow, (reference[path] for path in copies))
        except ValueError:  # the table contradicts itself: each keeps its own, which makes a conflict
            continue
        reference.update(dict.fromkeys(copies, said))
    diagnosis, reasons = [], []
    for path, own in zip(table["path"], table["diagnosis"], strict=True):
        try:
            result, instead = narrow(own, reference[path]), ""
        except ValueError:
            result, instead = reference[path], f", not {own}"
        diagnosis.append(result)
        reasons.append([f"label table: {result}{instead}"] if result != own else [])
    return diagnosis, reasons


def _assign(members: Mapping[str, Sequence[str]], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """A part for each group, given its photographs' labels: stratified though a group may hold several.

    Each group goes to the part that lacks most of its rarest label, the rarest label's groups first and the
    largest of them first (after Sechidis et al., ECML PKDD 2011).
    """
    total = Counter(label for labels in members.values() for label in labels)
    rarest = sorted(total, key=lambda label: (total[label], label))
    whole = sum(shares.values())
    lacking = {
        label: {part: total[label] * share / whole for part, share in shares.items()} for label in rarest
    }
    led: dict[str, list[str]] = {label: [] for label in rarest}
    for name in sorted(members):
        led[min(members[name], key=rarest.index)].append(name)
    rng = np.random.default_rng(seed)
    chosen: dict[str, str] = {}
    for label in rarest:
        shuffled = [led[label][i] for i in rng.permutation(len(led[label]))]
        for name in sorted(shuffled, key=lambda name: -members[name].count(label)):
            chosen[name] = max(shares, key=lambda part: lacking[label][part])
            for other in members[name]:
                lacking[other][chosen[name]] -= 1
    return chosen
