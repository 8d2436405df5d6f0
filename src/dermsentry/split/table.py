"""A split: which part each photograph is in, its file, and the rule that no group may be in two parts."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dermsentry.collection import Collection
from dermsentry.collection.groups import lesion_keys, patient_keys
from dermsentry.csv_tables import read_table
from dermsentry.diagnoses import find_label
from dermsentry.errors import InputError, OutputError, require_type
from dermsentry.files import fingerprint, write_bytes
from dermsentry.stats.numbers import counted

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

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> split = dermsentry.make_split(collection)
    >>> split.counts()["test"], split.counts()["test-leaking"]
    (18, 5)
    >>> split.table.loc[split.table["part"] == "quarantined", "reason"].iloc[0]
    'unreadable: the file is empty'
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


def check_split(split: Split) -> None:
    """Raise InputError, naming the groups, if train, validation, calibration or test share one."""
    require_type("split", split, Split, "make_split or read_split")
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


def count_related(split: Split, collection: Collection) -> int:
    """How many photographs show a lesion or patient that is in two of the parts that are to be apart.

    The collection may know more of lesions and patients than the split's groups, which hold what was known
    when it was made.
    """
    table = collection.table
    part = table["path"].map(dict(zip(split.table["path"], split.table["part"], strict=True)))
    found = np.zeros(len(part), dtype=np.bool_)
    for keys in (lesion_keys(table), patient_keys(table)):
        parts: dict[str, set[str]] = defaultdict(set)
        for key, own in zip(keys, part, strict=True):
            if key and own in APART:
                parts[key].add(own)
        pairs = zip(keys, part, strict=True)
        found |= [own in APART and len(parts.get(key, ())) > 1 for key, own in pairs]
    return int(found.sum())


def refuse_other_split(split: Split, path: Path) -> None:
    """Raise OutputError where writing the split would replace another one, or one that was edited."""
    try:
        there = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise OutputError(f"Cannot read {path}: {error.strerror or error}; choose another --out.") from error
    if there == _written(split):
        return
    try:
        before = read_split(path).table.set_index("path")
    except InputError:
        problem = f"{path} is no split"
    else:
        now = split.table.set_index("path")
        both = now.index.intersection(before.index)
        columns = ["part", "group", "diagnosis"]
        moved = int((now.loc[both, columns] != before.loc[both, columns]).any(axis=1).sum())
        others = len(now.index.symmetric_difference(before.index))
        told = [counted(moved, "photograph") + " in another part, group or diagnosis"] if moved else []
        told += [counted(others, "photograph") + " in one of the two only"] if others else []
        problem = f"{path} is another split, or was edited: {' and '.join(told) or 'its text differs'}"
    raise OutputError(f"{problem}. Nothing was replaced: choose another --out, or replace it by --force.")


def _written(split: Split) -> bytes:
    """The content of split.csv; a file name's bytes that are no UTF-8 come out as they went in."""
    text = split.table.to_csv(index=False, lineterminator="\n")
    return text.encode("utf-8", "surrogateescape")


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
    write_bytes(Path(path), _written(split))


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

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> dermsentry.make_split(collection).to_frame().to_csv("split.csv", index=False)
    >>> dermsentry.read_split("split.csv", collection)
    <Split of 77 photographs: 30 train, 8 validation, 9 calibration, 18 test, 5 test-leaking, 7 quarantined>
    """
    table = _read_table(Path(path))
    for column in ("path", "group"):
        empty = int((table[column] == "").sum())
        if empty:
            raise InputError(
                f"{path} has {counted(empty, 'row')} without a {column}; give each photograph its {column}."
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
            f"{path} has {counted(len(nameless), 'photograph')} without a diagnosis, such as {nameless[0]}; "
            "quarantine them."
        )
    twice = [file for file, count in Counter(table["path"]).items() if count > 1]
    if twice:
        raise InputError(
            f"{path} lists {counted(len(twice), 'photograph')} twice, such as {twice[0]}; list each once."
        )
    if collection is not None:
        outside = sorted(set(table["path"]) - set(collection.table["path"]))
        if outside:
            raise InputError(
                f"{path} lists {counted(len(outside), 'photograph')} not in {collection.root}, "
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
