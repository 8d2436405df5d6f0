"""A collection: its folder, and a table with a row for each photograph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dermsentry.errors import InputError
from dermsentry.files import fingerprint
from dermsentry.image_files import NotRead, by_reason
from dermsentry.stats.numbers import counted

# PyArrow, which pandas would keep text in where it is installed, holds no file name that is not UTF-8.
pd.options.mode.string_storage = "python"

COLUMNS = (
    "path",
    "image_id",
    "diagnosis",
    "split",
    "lesion_id",
    "patient_id",
    "source",
    "age",
    "sex",
    "site",
    "skin_type",
    "acquisition_date",
    "diagnosis_confirm_type",
    "image_type",
    "copyright_license",
    "attribution",
)
"""One row per photograph. All text, `""` where unknown; `diagnosis` is a label of `diagnoses.py`,
`split` is `train`, `validation`, `test` or `""`, `path` is relative to the collection's root, `age` in
years, `acquisition_date` the day on which the photograph was taken. The last four are the ISIC Archive's
fields of these names."""

SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
"""What folders and tables call a split, in lower case, and its name in `Collection.table`."""

PUBLISHED_LESION = "published_lesion"
"""A column of `Collection.table` where published tables know lesions by ISIC id: one name in every source."""

_OF_ONE = ("path", "image_id", "diagnosis", "split")


@dataclass(frozen=True)
class UnknownDiagnosis:
    """A diagnosis as a set writes it, `given`, that is none of the nine; how many photographs have it.

    `read_as` is their label where the set says something else of them, such as that they are benign.
    """

    given: str
    photographs: int
    read_as: str = ""


def joined_unknown(each: Iterable[Sequence[UnknownDiagnosis]]) -> tuple[UnknownDiagnosis, ...]:
    """The diagnoses that several collections did not understand, counted together, most frequent first."""
    counts: Counter[tuple[str, str]] = Counter()
    for one in (one for unknown in each for one in unknown):
        counts[one.given, one.read_as] += one.photographs
    return tuple(
        UnknownDiagnosis(given, count, read_as)
        for (given, read_as), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


@dataclass(frozen=True, repr=False)
class Collection:
    """Photographs and what is known of them.

    Attributes
    ----------
    root
        The folder that the paths are relative to.
    table
        The columns `COLUMNS`, one row per photograph, ordered by path; then any others that its own table or
        its metadata has, such as `hospital`.
    left_alone
        What was found beside the photographs and not used, a line each.
    not_read
        Photographs that have no row since they cannot be opened or are missing, and why; their paths are
        relative to the root. What has a row and cannot be read is found by whoever opens it.
    unknown_diagnoses
        Diagnoses that were not understood, the most frequent first.

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> collection
    <Collection photographs: 77 photographs, 9 diagnoses, 54 in train, 23 in test>
    >>> sum(collection.table["diagnosis"] == "MEL")
    8
    >>> collection.notes[0]
    'metadata.csv: 76 of 76 rows have a photograph here (up to 2 each), 77 of 77 photographs a row'
    """

    root: Path
    table: pd.DataFrame
    left_alone: tuple[str, ...] = ()
    not_read: tuple[NotRead, ...] = ()
    unknown_diagnoses: tuple[UnknownDiagnosis, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        diagnoses = len(set(self.table["diagnosis"]) - {""})
        splits = self.table["split"].value_counts().drop("", errors="ignore")
        listed = "".join(f", {count:,} in {split}" for split, count in splits.items())
        return f"<Collection {self.root}: {len(self):,} photographs, {diagnoses} diagnoses{listed}>"

    def _repr_html_(self) -> str:
        """Photographs of each diagnosis in each split, for a notebook."""
        split = self.table["split"].replace("", "unsplit")
        counts = pd.crosstab(self.table["diagnosis"].replace("", "unknown"), split, margins=True)
        counts = counts.rename_axis(index=None, columns=None)
        return f"<p>{len(self):,} photographs</p>{counts.to_html()}"

    def to_frame(self) -> pd.DataFrame:
        """A copy of `table`."""
        return self.table.copy()

    @property
    def paths(self) -> list[Path]:
        """The photographs' files, in the table's order."""
        return [self.root / path for path in self.table["path"]]

    @property
    def notes(self) -> list[str]:
        """What to know of how it was read: `left_alone`, and what is in `not_read`, counted by reason."""
        return [*self.left_alone, *(f"not read: {line}" for line in by_reason(self.not_read))]

    def fingerprint(self) -> str:
        """SHA-256 over paths, labels, splits and file sizes: another collection gives another one."""
        parts = []
        rows = zip(self.table["path"], self.table["diagnosis"], self.table["split"], self.paths, strict=True)
        for path, label, split, file in rows:
            size = file.stat().st_size if file.is_file() else -1
            parts.append(f"{path}\t{label}\t{split}\t{size}")
        return fingerprint(parts)


def values_of(collection: Collection, column: str) -> list[str]:
    """What a column says of each photograph, `""` where it is unknown.

    Raises InputError, naming the columns that there are, where it is none to divide a collection by.
    """
    table = collection.table
    if column in table.columns and column not in _OF_ONE and (table[column] != "").any():
        return [str(value) for value in table[column]]
    counts = {name: len(set(table[name]) - {""}) for name in table.columns if name not in _OF_ONE}
    offered = ", ".join(f"{name} ({counted(n, 'value')})" for name, n in counts.items() if n)
    there = f"its columns with values are {offered}" if offered else "it has none; give a table as metadata"
    problem = f"has no values in the column {column!r}" if column in counts else f"has no column {column!r}"
    if column in _OF_ONE:
        problem = f"is not divided by {column!r}"
    raise InputError(f"The collection {collection.root} {problem}; {there}.")


def listed_values(values: Iterable[str], most: int = 12) -> str:
    """Values with how many photographs have each, the most frequent first: `BCN (12,381), HAM (10,015)`."""
    counts = Counter(value for value in values if value)
    shown = ", ".join(f"{value} ({count:,})" for value, count in counts.most_common(most))
    return shown + (f" and {len(counts) - most:,} more" if len(counts) > most else "")


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """A table as `Collection` has it: `COLUMNS` first, `""` where there is nothing, sorted by path."""
    for column in COLUMNS:
        if column not in table.columns:
            table[column] = ""
    others = [column for column in table.columns if column not in COLUMNS]
    table = table[[*COLUMNS, *others]].fillna("").astype(str)
    return table.sort_values("path", kind="stable", ignore_index=True)
