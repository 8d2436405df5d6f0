"""The whole audit of a collection: everything found, as `audit.json` has it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import compress
from typing import Any

import pandas as pd

from dermsentry.audit.balance import Balance, count_classes
from dermsentry.audit.conflicts import find_conflicts
from dermsentry.audit.duplicates import Duplicates, duplicates_of
from dermsentry.audit.labels import Comparison, compare_labels
from dermsentry.audit.leaks import Placed, SharedLesion, find_leaks, find_shared_lesions, place
from dermsentry.audit.shortcuts import Shortcut, find_shortcuts
from dermsentry.audit.survey import survey_collection
from dermsentry.collection import Collection
from dermsentry.collection.groups import connected_groups
from dermsentry.files import versions
from dermsentry.phantoms import is_synthetic

Group = tuple[Placed, ...]


@dataclass(frozen=True)
class Audit:
    """What is wrong with a collection.

    Attributes
    ----------
    balance
        Counts of photographs by diagnosis and split.
    found
        Groups of copies and unreadable files; `make_split(duplicates=…)` takes it.
    conflicts
        The same photograph under diagnoses that cannot all be true.
    leaks
        The same photograph on more than one side of train, validation and test.
    shared_lesions
        Different photographs of one lesion or patient on more than one side.
    comparison
        Labels against the reference table, None where none was given.
    shortcuts
        How well the diagnosis can be told from what is not the lesion.
    twins
        Photographs outside Test that have a copy, or another photograph of their lesion or patient, outside
        Test too; `twins_held_out` of them would be met in training by a random fifth held out.
    images, synthetic, left_alone, fingerprint, configuration
        What was looked at, and how.
    """

    images: int
    balance: Balance
    found: Duplicates
    conflicts: tuple[Group, ...]
    leaks: tuple[Group, ...]
    shared_lesions: tuple[SharedLesion, ...]
    comparison: Comparison | None
    shortcuts: tuple[Shortcut, ...]
    twins: int
    twins_held_out: float
    synthetic: bool
    left_alone: tuple[str, ...]
    fingerprint: str
    configuration: dict[str, Any]

    @property
    def corrupting(self) -> bool:
        """Whether a result on this collection as it stands would be wrong.

        Conflicts, leaks, lesions on both sides and contradicted labels corrupt; unreadable files, copies on
        one side, few photographs of a class and shortcuts are told but do not.
        """
        disagreements = self.comparison.disagreements if self.comparison else ()
        return bool(self.conflicts or self.leaks or self.shared_lesions or disagreements)

    def summary(self) -> dict[str, int]:
        """The counts of everything found."""
        kinds = Counter(group.kind for group in self.found.groups)
        copies = {path for group in self.found.groups for path in group.photographs}
        shared = [shared.photographs for shared in self.shared_lesions]
        return {
            "images": self.images,
            "unreadable": len(self.found.unreadable),
            "identical_groups": kinds["identical"],
            "byte_identical_groups": sum(group.same_bytes for group in self.found.groups),
            "near_groups": kinds["near"],
            "images_with_copies": len(copies),
            "conflicting_groups": len(self.conflicts),
            "conflicting_images": sum(len(group) for group in self.conflicts),
            "leaking_groups": len(self.leaks),
            "leaking_test_images": _in_test(self.leaks),
            "shared_lesions": len(self.shared_lesions),
            "shared_lesion_test_images": _in_test(shared),
            "labels_compared": self.comparison.compared if self.comparison else 0,
            "label_disagreements": len(self.comparison.disagreements) if self.comparison else 0,
            "shortcuts": sum(shortcut.tells for shortcut in self.shortcuts),
        }

    def as_dict(self) -> dict[str, Any]:
        """The audit as `audit.json` has it."""
        reference = self.comparison.disagreements if self.comparison else ()
        return {
            "images": self.images,
            "splits": self.balance.splits,
            "classes": {label or "unknown": counts for label, counts in self.balance.classes.items()},
            "counted_in": self.balance.counted_in,
            "least": self.balance.least,
            "dominant": list(self.balance.dominant),
            "unreadable": [{"path": path, "reason": why} for path, why in self.found.unreadable.items()],
            "duplicates": [asdict(group) for group in self.found.groups],
            "conflicts": [_listed(group) for group in self.conflicts],
            "leaks": [_listed(group) for group in self.leaks],
            "shared_lesions": [
                {"of": shared.of, "name": shared.name, **_listed(shared.photographs)}
                for shared in self.shared_lesions
            ],
            "label_disagreements": [asdict(one) for one in reference],
            "shortcuts": [asdict(shortcut) for shortcut in self.shortcuts],
            "twins": {"images": self.twins, "held_out": self.twins_held_out},
            "summary": self.summary(),
            "synthetic": self.synthetic,
            "left_alone": list(self.left_alone),
            "fingerprint": self.fingerprint,
            "configuration": self.configuration,
            "versions": versions(),
        }


def _in_test(groups: list[Group] | tuple[Group, ...]) -> int:
    return len({photograph.path for group in groups for photograph in group if photograph.split == "test"})


def _listed(group: Group) -> dict[str, Any]:
    return {"photographs": [asdict(photograph) for photograph in group]}


def audit_collection(
    collection: Collection,
    *,
    labels: Mapping[str, str] | None = None,
    seed: int = 0,
    workers: int | None = None,
    quiet: bool = True,
) -> Audit:
    """Say what is wrong with a collection before time is spent on it.

    Every photograph is read once, and a few again. 10,000 photographs of 200×150 pixels take about half a
    minute on two cores; memory grows by about 1.5 KB a photograph, whatever its size.

    Parameters
    ----------
    labels
        Reference labels by image id (`read_labels`): labels that they contradict are findings.
    seed
        Of the folds and shuffles behind `shortcuts`; nothing else is random.
    workers
        Threads that read; default one per core.
    """
    table = collection.table
    survey = survey_collection(collection, workers=workers, quiet=quiet)
    found = duplicates_of(survey, collection.root, workers=workers)
    groups = connected_groups(table, found.groups)
    placed = place(table)
    conflicts = find_conflicts(table, found.groups)
    sure = ~table["path"].isin({path for paths in conflicts for path in paths}).to_numpy()
    twins, held_out = _twins(table, groups, found.unreadable)
    return Audit(
        images=len(table),
        balance=count_classes(table),
        found=found,
        conflicts=tuple(tuple(placed[path] for path in paths) for paths in conflicts),
        leaks=tuple(find_leaks(table, found.groups)),
        shared_lesions=tuple(find_shared_lesions(table, found.groups)),
        comparison=compare_labels(table, labels) if labels is not None else None,
        shortcuts=find_shortcuts(table[sure], survey, list(compress(groups, sure)), seed=seed),
        twins=twins,
        twins_held_out=held_out,
        synthetic=is_synthetic(collection.root),
        left_alone=collection.left_alone,
        fingerprint=collection.fingerprint(),
        configuration={"seed": seed, "reference_labels": 0 if labels is None else len(labels)},
    )


def _twins(table: pd.DataFrame, groups: list[str], unreadable: Mapping[str, str]) -> tuple[int, float]:
    """Photographs outside Test with company in their group; the share of a random fifth with it in the rest.

    A photograph that is held out has a twin left in training unless the whole of its group is held out too.
    """
    rows = zip(table["path"], table["split"], groups, strict=True)
    pool = [group for path, split, group in rows if split != "test" and path not in unreadable]
    sizes = Counter(pool)
    twins = sum(size for size in sizes.values() if size > 1)
    met = math.fsum(size * (1 - 0.2 ** (size - 1)) for size in sizes.values())
    return twins, met / len(pool) if pool else 0.0
