"""Splits by groups: what belongs together stays in one part, and what is set apart has its reason."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path

import numpy as np
import pandas as pd

from dermsentry.audit.conflicts import find_conflicts
from dermsentry.audit.decisions import Decision
from dermsentry.audit.duplicates import Duplicates, find_duplicates
from dermsentry.collection import Collection
from dermsentry.collection.groups import DuplicateGroup, connected_groups, original_id, same_photographs
from dermsentry.diagnoses import find_label, narrow
from dermsentry.errors import InputError, require_type
from dermsentry.split.table import APART, DOUBTFUL, Split
from dermsentry.stats.numbers import counted


def make_split(
    collection: Collection,
    *,
    labels: Mapping[str, str] | None = None,
    decisions: Mapping[str, Decision] | None = None,
    fractions: tuple[float, float, float, float] = (0.7, 0.15, 0.15, 0.15),
    seed: int = 0,
    duplicates: Duplicates | None = None,
    strata: Sequence[str] | None = None,
    index: Path | None = None,
    quiet: bool = True,
) -> Split:
    """Split a collection by groups of connected photographs, stratified by diagnosis.

    A group is everything that is identical, near-identical, or of one lesion or patient. A Test that the
    collection names stays the test: its photographs that are connected with any other become `test-leaking`.
    Where it names none, or only photographs without a diagnosis, a test is taken by groups. A validation part
    that it names stays, and takes what is connected with it. A doubtful group of duplicates connects nothing
    and quarantines nothing; `reason` names its photographs.

    Parameters
    ----------
    collection
        From `read_collection` or `join_collections`.
    labels
        Reference labels by image id, as `read_labels` gives them. They settle conflicts and correct labels,
        also those of a copy under another id; `reason` says so.
    decisions
        What a person decided, by path, as `read_decisions` gives it; it comes before `labels`. A new label
        holds for other files of the photograph too, unless they have a decision of their own; what is left
        out is quarantined.
    fractions
        Shares of train, validation, calibration and, only where no Test is named, test; scaled to sum to 1.
    seed
        Random seed: the same seed and the same collection give the same file, byte for byte.
    duplicates
        From `find_duplicates` or `Audit.found`, where they have been searched for already.
    strata
        What else each row of `collection.table` is to be stratified by, such as its source.
    index
        A folder that keeps what was read and compared, such as `index/` of an audit; see `find_duplicates`.
    quiet
        Show no progress on stderr.

    Returns
    -------
    Split
        Every photograph of the collection in one of `PARTS`, with the reason where that is not chance.

    Raises
    ------
    InputError
        `collection` is none, no readable photograph of a known diagnosis is left, or `fractions`, `seed` or
        `labels` are unusable.
    OutputError
        `index` cannot be written, or another process works there.
    """
    require_type("collection", collection, Collection, "read_collection")
    if len(fractions) != 4 or not all(0 <= share < math.inf for share in fractions) or not fractions[0]:
        raise InputError(f"Received fractions {fractions}; expected four shares, train's above 0.")
    if seed < 0:
        raise InputError(f"Received seed {seed}; expected a whole number of at least 0.")
    found = duplicates or find_duplicates(collection, index=index, quiet=quiet)
    table = collection.table
    paths, given = list(table["path"]), list(table["split"])
    rows = range(len(paths))
    group = connected_groups(table, found.groups)
    diagnosis, reasons = settle(table, labels or {}, found.groups)
    out = _decide(table, decisions or {}, found.groups, diagnosis, reasons)
    part = [""] * len(paths)
    # What is left out contradicts nothing.
    labelled = table.assign(diagnosis=["" if i in out else label for i, label in enumerate(diagnosis)])
    for i, reason in (_quarantine(labelled, found) | dict.fromkeys(out, "decision: left out")).items():
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

    # A published test without labels is no test: one is taken where no photograph of it can be evaluated.
    named = any(given[i] == "test" and part[i] in ("test", "test-leaking") for i in rows)
    wanted = APART[:3] if named else APART
    shares = dict(zip(wanted, fractions, strict=False))
    if validated:
        shares["validation"] = 0.0
    members: dict[str, list[str]] = defaultdict(list)
    for i in rows:
        if not part[i]:
            members[group[i]].append(diagnosis[i] if strata is None else f"{diagnosis[i]}\t{strata[i]}")
    assigned = assign(members, shares, seed)
    part = [part[i] or assigned[group[i]] for i in rows]
    if "train" not in part:
        apart = {paths[i]: reasons[i][0] for i in rows if part[i] == "quarantined"}
        raise InputError(f"{collection.root} leaves nothing to train on: {_nothing_left(part, apart)}")
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


def _nothing_left(part: Sequence[str], apart: Mapping[str, str]) -> str:
    """Where all photographs went, and why some are set apart: `apart` is path to reason."""
    parts = ", ".join(f"{count:,} {name}" for name, count in Counter(part).most_common())
    kinds = Counter(reason.partition(":")[0] for reason in apart.values())
    listed = "; ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    first = next((f"{path}: {reason}" for path, reason in apart.items()), "")
    quarantined = f" ({listed}; the first: {first})" if apart else ""
    return (
        f"of {counted(len(part), 'photograph')} {parts}{quarantined}; "
        "expected some that are readable, of a known diagnosis, in no conflict and in neither Test nor "
        "validation."
    )


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


def _decide(
    table: pd.DataFrame,
    decisions: Mapping[str, Decision],
    duplicates: Sequence[DuplicateGroup],
    diagnosis: list[str],
    reasons: list[list[str]],
) -> set[int]:
    """Relabel as was decided, with the reason, and give the rows that are left out."""
    row = {path: i for i, path in enumerate(table["path"])}
    given = {row[path]: decision for path, decision in decisions.items() if path in row}
    for copies in same_photographs(table, duplicates) if given else ():
        rows = [row[path] for path in copies]
        said = {given[i].diagnosis for i in rows if i in given and given[i].choice == "relabel"}
        for i in rows:
            label = given[i].diagnosis if i in given else next(iter(said)) if len(said) == 1 else ""
            if label and label != diagnosis[i]:
                reasons[i].append(f"decision: {label}, not {diagnosis[i] or 'unknown'}")
                diagnosis[i] = label
    return {i for i, decision in given.items() if decision.choice == "leave out"}


def _first_of_groups(members: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The first path of each group among (group, path) pairs."""
    first: dict[str, str] = {}
    for name, path in members:
        first.setdefault(name, path)
    return first


def relabelled(split: Split, labels: Mapping[str, str]) -> Split:
    """A split by reference labels by image id, as `read_labels` gives them; `reason` says what they changed.

    Every photograph stays in its part: to settle conflicts, give the labels to `make_split`. Raises
    InputError where a label is none of the nine.
    """
    diagnosis, reasons = settle(split.table, labels, ())
    said = zip(split.table["reason"], reasons, strict=True)
    told = ["; ".join(filter(None, [before, *own])) for before, own in said]
    return Split(split.table.assign(diagnosis=diagnosis, reason=told))


def settle(
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


def assign(members: Mapping[str, Sequence[str]], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """A part for each group, given its photographs' labels: stratified though a group may hold several.

    Each group goes to the part that lacks most of its rarest label, the rarest label's groups first and the
    largest of them first (after Sechidis et al., ECML PKDD 2011).
    """
    total = Counter(label for labels in members.values() for label in labels)
    rarest = sorted(total, key=lambda label: (total[label], label))
    rarity = {label: place for place, label in enumerate(rarest)}
    whole = sum(shares.values())
    lacking = {
        label: {part: total[label] * share / whole for part, share in shares.items()} for label in rarest
    }
    led: dict[str, list[str]] = {label: [] for label in rarest}
    for name in sorted(members):
        led[min(members[name], key=rarity.__getitem__)].append(name)
    rng = np.random.default_rng(seed)
    chosen: dict[str, str] = {}
    for label in rarest:
        shuffled = [led[label][i] for i in rng.permutation(len(led[label]))]
        for name in sorted(shuffled, key=lambda name: -members[name].count(label)):
            chosen[name] = max(shares, key=lambda part: lacking[label][part])
            for other in members[name]:
                lacking[other][chosen[name]] -= 1
    return chosen
