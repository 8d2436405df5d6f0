"""The whole audit of a collection: everything found, with the fields of `audit.json`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from dermsentry.audit.balance import UNKNOWN, count_classes, count_confirmed
from dermsentry.audit.conflicts import find_conflicts
from dermsentry.audit.content import Content
from dermsentry.audit.disagreements import Disagreement, compare_labels
from dermsentry.audit.duplicates import DoubtfulGroup, Duplicates, duplicates_of
from dermsentry.audit.leaks import (
    PhotographGroup,
    SharedLesion,
    count_in_test,
    find_leaks,
    find_shared_lesions,
    place,
)
from dermsentry.audit.shortcuts import Shortcut, find_shortcuts
from dermsentry.audit.since import INDEX, Since, read_earlier, write_audited
from dermsentry.audit.summary import AuditFinding, describe
from dermsentry.audit.survey import survey_collection
from dermsentry.audit.table_checks import CHECKED, TableProblem, check_table
from dermsentry.audit.workplace import EngineName, workplace
from dermsentry.collection import Collection
from dermsentry.collection.groups import DuplicateGroup, connected_groups
from dermsentry.collection.lesions import KnownLesions, known_lesions
from dermsentry.collection.table import UnknownDiagnosis
from dermsentry.errors import InputError, require_type
from dermsentry.files import versions
from dermsentry.image_files import NotRead
from dermsentry.phantoms import is_synthetic


@dataclass(frozen=True)
class Twins:
    """Images outside Test that have a relative there: a duplicate, or one of their lesion or patient.

    `images` counts them; `held_out` is the share of a random fifth, held out for validation, that would have
    a relative in the rest.
    """

    images: int
    held_out: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Audit:
    """What is wrong with a collection; the fields are those of `audit.json`.

    Attributes
    ----------
    schema
        Number of the schema of `audit.json`.
    images
        How many photographs were audited.
    splits, classes, counted_in, least, dominant
        Photographs in each split, and of each diagnosis in each split; see `Balance`.
    unreadable
        Photographs that cannot be read.
    not_read
        Photographs that are no part of the collection since they are missing, hidden or behind a link.
    colours_in_doubt
        Photographs that were read, but whose colours are uncertain.
    unknown_diagnoses
        Diagnoses that were not understood, and what the photographs' label is instead.
    table_problems
        What the table says of patients, ages, dates and ids that cannot be true.
    tables_say
        Of which columns it says anything, and which were checked.
    confirmed
        How the diagnoses were made (`diagnosis_confirm_type`), with counts, where the collection says so.
    duplicates
        Groups of identical and of near-identical photographs; near-identical ones may be one lesion
        photographed again.
    doubtful
        Groups that a tenth or more of the photographs are in, as if they were one; not believed, and in none
        of the other findings.
    conflicts
        The same photograph with labels that cannot all be true.
    leaks
        The same photograph in more than one of train, validation and test.
    shared_lesions
        Different photographs of one lesion or patient in more than one split.
    lesions
        Of how many photographs the lesion and the patient are known, and of how many by published tables.
    label_disagreements, labels_compared
        Labels that the reference table contradicts, of how many that it covers; None compared where no table
        was given.
    shortcuts
        How well the diagnosis can be predicted from what is not the lesion.
    twins
        Images outside Test that have a relative there.
    content
        What a model sees on the photographs, as `audit_content` adds it; None where it was not asked.
    since
        What is new since an earlier audit; None where none was given.
    synthetic, left_alone, fingerprint, configuration, versions
        What was audited, how, and with what.

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> audit = dermsentry.audit_collection(collection)
    >>> audit.corrupting, audit.summary["unreadable"]
    (True, 3)
    >>> audit.findings[0].found.partition(",")[0]
    '2 photographs carry two or more labels'
    >>> audit.leaks[0].photographs[0].path
    'Test/actinic keratosis/PHANTOM_0000069.jpg'
    """

    derived: ClassVar[tuple[str, ...]] = ("summary",)

    schema: int = field(default=1, init=False)
    images: int
    splits: dict[str, int]
    classes: dict[str, dict[str, int]]
    counted_in: str
    least: str
    dominant: tuple[str, ...]
    unreadable: tuple[NotRead, ...]
    not_read: tuple[NotRead, ...]
    unknown_diagnoses: tuple[UnknownDiagnosis, ...]
    colours_in_doubt: tuple[NotRead, ...]
    table_problems: tuple[TableProblem, ...] = ()
    tables_say: tuple[str, ...] = field(default=(), metadata={"json": None})
    confirmed: dict[str, int]
    duplicates: tuple[DuplicateGroup, ...]
    doubtful: tuple[DoubtfulGroup, ...] = ()
    conflicts: tuple[PhotographGroup, ...]
    leaks: tuple[PhotographGroup, ...]
    shared_lesions: tuple[SharedLesion, ...]
    lesions: KnownLesions
    label_disagreements: tuple[Disagreement, ...]
    labels_compared: int | None = field(metadata={"json": None})
    shortcuts: tuple[Shortcut, ...]
    twins: Twins
    content: Content | None = None
    since: Since | None = None
    synthetic: bool
    left_alone: tuple[str, ...]
    fingerprint: str
    configuration: dict[str, Any]
    versions: dict[str, str] = field(default_factory=versions)

    def __repr__(self) -> str:
        counts = self.summary
        told = ("conflicting_groups", "leaking_test_images", "shared_lesions", "label_disagreements")
        listed = ", ".join(f"{counts[name]:,} {name.replace('_', ' ')}" for name in told)
        return f"<Audit of {self.images:,} photographs: {listed}>"

    def _repr_html_(self) -> str:
        """What was found on each topic, for a notebook."""
        with pd.option_context("display.max_colwidth", None):
            return str(self.to_frame()[["topic", "severity", "found"]].to_html(index=False))

    def to_frame(self) -> pd.DataFrame:
        """The findings, a row each: `topic`, `severity`, and in words `found`, `training` and `figures`."""
        return pd.DataFrame([vars(finding) for finding in self.findings])

    @property
    def findings(self) -> tuple[AuditFinding, ...]:
        """What was found on each topic, in words, in the order of the report."""
        return tuple(describe(self).values())

    @property
    def found(self) -> Duplicates:
        """Groups of duplicates and unreadable files, as `make_split(duplicates=…)` takes them."""
        unreadable = {file.path: file.reason for file in self.unreadable}
        return Duplicates(self.duplicates, unreadable, self.doubtful)

    @property
    def corrupting(self) -> bool:
        """Whether a result on this collection as it is would be wrong.

        Conflicts, leaks, lesions in more than one split and contradicted labels corrupt a result. Unreadable
        or missing files, duplicates within a split, few images of a class and shortcuts are reported but do
        not.
        """
        return bool(self.conflicts or self.leaks or self.shared_lesions or self.label_disagreements)

    @property
    def summary(self) -> dict[str, int]:
        """The counts of everything found."""
        kinds = Counter(group.kind for group in self.duplicates)
        return {
            "images": self.images,
            "unreadable": len(self.unreadable),
            "not_read": len(self.not_read),
            "unknown_diagnosis": sum(self.classes.get(UNKNOWN, {}).values()),
            "identical_groups": kinds["identical"],
            "byte_identical_groups": sum(group.same_bytes for group in self.duplicates),
            "near_groups": kinds["near"],
            "doubtful_images": sum(len(group.photographs) for group in self.doubtful),
            "images_with_copies": len({path for group in self.duplicates for path in group.photographs}),
            "conflicting_groups": len(self.conflicts),
            "conflicting_images": sum(len(group.photographs) for group in self.conflicts),
            "leaking_groups": len(self.leaks),
            "leaking_test_images": count_in_test(self.leaks),
            "near_leaking_test_images": len(self._near_leaks()),
            "shared_lesions": len(self.shared_lesions),
            "shared_lesion_test_images": count_in_test(self.shared_lesions),
            "labels_compared": self.labels_compared or 0,
            "label_disagreements": len(self.label_disagreements),
            "table_problems": len(self.table_problems),
            "content_findings": 0 if self.content is None else len(self.content.findings),
            "shortcuts": sum(shortcut.tells for shortcut in self.shortcuts),
        }

    def _near_leaks(self) -> set[str]:
        """Test photographs whose near-identical ones leak them, but no identical one."""
        alike: dict[str, set[str]] = {"identical": set(), "near": set()}
        leaking = {p.path: p.split for group in self.leaks for p in group.photographs}
        for group in self.duplicates:
            splits = {leaking.get(path, "") for path in group.photographs}
            if len(splits - {"", "test"}) and "test" in splits:
                alike[group.kind] |= {path for path in group.photographs if leaking[path] == "test"}
        return alike["near"] - alike["identical"]


def audit_collection(
    collection: Collection,
    *,
    labels: Mapping[str, str] | None = None,
    index: Path | None = None,
    since: Path | None = None,
    seed: int = 0,
    workers: int | None = None,
    engine: EngineName = "local",
    address: str | None = None,
    quiet: bool = True,
) -> Audit:
    """Say what is wrong with a collection before time is spent on it.

    Every photograph is read once, and 10 KB of each are kept on disk; `docs/why-audit.md` says what of it is
    in memory.

    Parameters
    ----------
    collection
        From `read_collection` or `join_collections`.
    labels
        Reference labels by image id, as `read_labels` gives them: labels that they contradict are findings.
    index
        A folder that keeps what was read and compared, as `find_duplicates` takes it: an audit that was
        ended is resumed, and one of a collection that has grown reads only what is new.
    since
        The folder of an earlier audit, with its `audit.json` and `index/`. What it read and compared is
        taken from there; what is new is read and compared with all, by the earlier search, and told in
        `Audit.since`. `index` has to be another folder.
    seed
        Random seed of the folds and shuffles behind `shortcuts`; nothing else is random.
    workers
        Threads that read and compare, or actors of a cluster; one per core by default.
    engine, address
        `ray`: on a Ray cluster at this address, or begun here, whose machines all see the photographs and
        `index`. The result is the same.
    quiet
        Show no progress on stderr.

    Returns
    -------
    Audit
        Everything found. A file that cannot be read is a finding, not an error.

    Raises
    ------
    InputError
        `collection` is something else, such as a path; `index` is damaged; `since` is no audit; or there is
        no such cluster.
    OutputError
        `index` cannot be written or is in use, or the cluster failed.

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> audit = dermsentry.audit_collection(collection)
    >>> audit.corrupting, len(audit.conflicts), len(audit.leaks)
    (True, 2, 3)
    """
    require_type("collection", collection, Collection, "read_collection")
    table = collection.table
    earlier = None if since is None else read_earlier(since)
    if earlier is not None and index is not None:
        if index.absolute() == (earlier.folder / INDEX).absolute():
            raise InputError(
                f"Received {since} as the earlier audit and the one to be made; give another folder, so that "
                "the earlier one stays as it is."
            )
        earlier.lend(index)
    with workplace(
        index, engine=engine, address=address, threads=workers, extend=earlier is not None, quiet=quiet
    ) as work:
        if earlier is not None and index is None:
            earlier.lend(work.folder)
        survey = survey_collection(collection, work)
        found = duplicates_of(survey, work)
        if index is not None:
            write_audited(index, survey.keys)
    groups = connected_groups(table, found.groups)
    placed = place(table)
    conflicts = find_conflicts(table, found.groups)
    sure = ~table["path"].isin({path for paths in conflicts for path in paths}).to_numpy()
    compared, disagreements = (None, ()) if labels is None else compare_labels(table, labels)
    leaks, shared = find_leaks(table, found.groups), find_shared_lesions(table, found.groups)
    now: dict[str, list[tuple[str, ...]]] = {
        "conflicts": conflicts,
        "leaks": [tuple(p.path for p in group.photographs) for group in leaks],
        "shared_lesions": [tuple(p.path for p in group.photographs) for group in shared],
        "duplicates": [group.photographs for group in found.groups],
        "doubtful": [group.photographs for group in found.doubtful],
    }
    return Audit(
        images=len(table),
        **vars(count_classes(table)),
        unreadable=tuple(NotRead(path, reason) for path, reason in found.unreadable.items()),
        not_read=collection.not_read,
        unknown_diagnoses=collection.unknown_diagnoses,
        colours_in_doubt=tuple(NotRead(path, doubt) for path, doubt in survey.doubts.items()),
        table_problems=check_table(table),
        tables_say=tuple(name for name in CHECKED if (table[name] != "").any()),
        confirmed=count_confirmed(table),
        duplicates=found.groups,
        doubtful=found.doubtful,
        conflicts=tuple(PhotographGroup(tuple(placed[path] for path in paths)) for paths in conflicts),
        leaks=tuple(leaks),
        shared_lesions=tuple(shared),
        lesions=known_lesions(table),
        label_disagreements=disagreements,
        labels_compared=compared,
        since=None if earlier is None else earlier.news(survey.keys, now),
        shortcuts=find_shortcuts(table[sure], survey, list(compress(groups, sure)), seed=seed),
        twins=_twins(table, groups, found.unreadable),
        synthetic=is_synthetic(collection.root),
        left_alone=collection.left_alone,
        fingerprint=collection.fingerprint(),
        configuration={"seed": seed, "reference_labels": 0 if labels is None else len(labels)},
    )


def _twins(table: pd.DataFrame, groups: list[str], unreadable: Mapping[str, str]) -> Twins:
    """An image that is held out has a relative left in training unless its whole group is held out too."""
    rows = zip(table["path"], table["split"], groups, strict=True)
    pool = [group for path, split, group in rows if split != "test" and path not in unreadable]
    sizes = Counter(pool)
    met = math.fsum(size * (1 - 0.2 ** (size - 1)) for size in sizes.values())
    return Twins(sum(size for size in sizes.values() if size > 1), met / len(pool) if pool else 0.0)
