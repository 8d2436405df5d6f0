"""What label tables say: diagnoses in words and in columns of 0 and 1, and what was not understood."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.collection.columns import read_columns
from dermsentry.collection.table import UnknownDiagnosis, joined_unknown
from dermsentry.csv_tables import column_names, read_table
from dermsentry.diagnoses import (
    MELANOMA,
    codes_of,
    find_label,
    find_level,
    is_melanoma,
    name_of,
    says_unknown,
)
from dermsentry.errors import DataWarning, InputError
from dermsentry.files import csv_line, write_bytes, write_text
from dermsentry.stats.numbers import counted

ONE_HOT = {"mel", "nv", "bcc"}
"""Columns, in lower case, that every ground truth of one column per diagnosis has."""
FALLBACK = "fallback"
"""A column for what a set says of a diagnosis besides its name: a label such as `benign`, `melanoma`."""
LEVELS = tuple(f"diagnosis_{level}" for level in range(1, 6))
"""The ISIC Archive's columns of a diagnosis, the most general first."""

_TRUE, _FALSE = {"1", "true", "yes", "t", "y"}, {"0", "false", "no", "f", "n"}
_LISTED = 12  # diagnoses that a message lists
_NAMED = 5  # rows that a message names
WHAT_THEY_ARE = (
    "say what they are by --diagnoses FILE.csv (diagnoses= in Python); where there is no such file yet, the "
    "command writes it with these names to fill in"
)
"""What to do about names of diagnoses that are not understood."""


class UnknownDiagnosesError(InputError):
    """No diagnosis of a set was understood; `unknown` lists them."""

    def __init__(self, message: str, unknown: Sequence[UnknownDiagnosis]) -> None:
        super().__init__(message)
        self.unknown = tuple(unknown)


@dataclass(frozen=True)
class Vocabulary:
    """What names of diagnoses mean: a label, `""` where that is unknown, None where a name is not understood.

    `own` is the user's: a name in lower case to a label or `""`. It comes before the names that are built in.
    """

    own: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, text: str) -> str | None:
        """The label of a name."""
        mine = self.own.get(text.strip().casefold())
        if mine is not None:
            return mine
        return "" if says_unknown(text) else find_label(text)


def read_vocabulary(path: Path | None) -> Vocabulary:
    """Read a mapping of diagnoses: a CSV with the columns `given` and `diagnosis`, empty for unknown.

    Raises InputError where it is no such table, or a diagnosis in it is none of the nine.
    """
    if path is None:
        return Vocabulary()
    table = read_table(path)
    if not {"given", "diagnosis"} <= set(table.columns):
        raise InputError(
            f"{path} has the columns {', '.join(table.columns)}; expected given and diagnosis, "
            "as in the diagnoses.csv that audit writes."
        )
    own: dict[str, str] = {}
    for given, text in zip(table["given"], table["diagnosis"], strict=True):
        label = Vocabulary()(text)
        if label is None:
            raise InputError(
                f"{path} maps {given!r} to {text!r}, none of the nine; expected a code such as MEL, a name, "
                "benign, malignant, or nothing where it is to stay unknown."
            )
        if own.setdefault(given.casefold(), label) != label:
            raise InputError(f"{path} maps {given!r} twice; keep one row of it.")
    return Vocabulary(own)


def write_draft(path: Path, unknown: Iterable[UnknownDiagnosis]) -> None:
    """Write a mapping to fill in: `given,diagnosis,photographs`, a row per diagnosis that was not understood.

    An Excel workbook where the path ends in `.xlsx`, else a CSV.
    What is filled in already stays. Raises OutputError, and InputError where the file there is no such table.
    """
    filled = {}
    if path.is_file():
        table = read_table(path)
        if not {"given", "diagnosis"} <= set(table.columns):
            raise InputError(
                f"{path} is not a table of diagnoses that audit wrote; move it, or choose another --out."
            )
        filled = {
            given: meaning
            for given, meaning in zip(table["given"], table["diagnosis"], strict=True)
            if meaning
        }
    rows = [(one.given, filled.pop(one.given, ""), str(one.photographs)) for one in unknown]
    rows += [(given, meaning, "") for given, meaning in filled.items()]
    header = ("given", "diagnosis", "photographs")
    if path.suffix.lower() == ".xlsx":
        from dermsentry.excel_tables import workbook_of

        write_bytes(path, workbook_of([header, *rows]))
    else:
        write_text(path, "".join(map(csv_line, [header, *rows])))


def describe_unknown(unknown: UnknownDiagnosis) -> str:
    """One diagnosis that was not understood, in words."""
    read_as = f"read as {name_of(unknown.read_as)}" if unknown.read_as else "kept as unknown"
    return f"{unknown.given!r} ({unknown.photographs:,}, {read_as})"


def read_labels(
    path: str | Path,
    *,
    diagnoses: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Read a reference label table.

    Parameters
    ----------
    path
        A CSV with ISIC's ground truth, one column per diagnosis (`image,MEL,NV,…`), the ISIC Archive's
        `metadata.csv` (`isic_id`, `diagnosis_1` to `diagnosis_5`), or with `image_id` (or `image`, `isic_id`)
        and `diagnosis` (or `dx`, `label`).
    diagnoses
        A mapping for names that are not understood: a CSV with the columns `given` and `diagnosis`.
    columns
        Headings of this table by our names, such as `{"diagnosis": "Befund (Histo)"}`, where they are others.

    Returns
    -------
    dict
        Image id, without a file's suffix, to label: a code of `diagnoses.CODES`, or several joined by `|`
        where the table does not distinguish them. Rows of any other diagnosis are left out, and rows that
        contradict each other.

    Warns
    -----
    DataWarning
        Rows have no diagnosis, or one that is not understood.

    Raises
    ------
    InputError
        The file cannot be read, is neither kind of table, or no diagnosis in it is understood.

    Examples
    --------
    >>> import dermsentry, pandas
    >>> table = pandas.DataFrame({"image_id": ["ISIC_1", "ISIC_2"], "diagnosis": ["melanoma", "naevus"]})
    >>> table.to_csv("labels.csv", index=False)
    >>> dermsentry.read_labels("labels.csv")
    {'ISIC_1': 'MEL', 'ISIC_2': 'NV'}
    """
    vocabulary = read_vocabulary(None if diagnoses is None else Path(diagnoses))
    labels, unknown, notes = read_label_table(Path(path), vocabulary, columns)
    if unknown:
        listed = "; ".join(map(describe_unknown, unknown[:_LISTED]))
        more = f"; and {len(unknown) - _LISTED} more" if len(unknown) > _LISTED else ""
        notes.append(f"{Path(path).name}: not understood: {listed}{more}")
    for note in notes:
        warnings.warn(note, DataWarning, stacklevel=2)
    return labels


def read_label_table(
    path: Path, vocabulary: Vocabulary, columns: Mapping[str, str] | None
) -> tuple[dict[str, str], tuple[UnknownDiagnosis, ...], list[str]]:
    """The labels of a reference table, the diagnoses in it that were not understood, and what to say of it.

    Errors as `read_labels`.
    """
    table = read_columns(path, headings=columns)
    notes: list[str] = []
    if "diagnosis" not in table.columns and is_one_hot(table.columns):
        table, notes = decode_one_hot(table, str(path))
    if "image_id" not in table.columns or not {"diagnosis", LEVELS[0]} & set(table.columns):
        raise InputError(
            f"{path} has the columns {', '.join(column_names(path))}; "
            "expected image_id and diagnosis (or the ISIC Archive's diagnosis_1 to diagnosis_5), or ISIC's "
            "one-hot ground truth. Say with --column which heading means one of these."
        )
    table, unknown = label_rows(table, vocabulary, str(path))
    said: dict[str, set[str]] = {}
    for image, label in zip(table["image_id"], table["diagnosis"], strict=True):
        if label:
            said.setdefault(image, set()).add(label)
    disputed = [f"{image} ({', '.join(sorted(each))})" for image, each in said.items() if len(each) > 1]
    if disputed:
        more = f" and {len(disputed) - _NAMED:,} more" if len(disputed) > _NAMED else ""
        told = f"rows of {counted(len(disputed), 'image')} contradict each other, which settles nothing"
        notes.append(f"{path.name}: {told}: {', '.join(disputed[:_NAMED])}{more}")
    return {image: each.pop() for image, each in said.items() if len(each) == 1}, unknown, notes


def label_rows(
    table: pd.DataFrame, vocabulary: Vocabulary, where: str
) -> tuple[pd.DataFrame, tuple[UnknownDiagnosis, ...]]:
    """`table` with a label as its `diagnosis`, and what was not understood, the most frequent first.

    A diagnosis is read from `diagnosis`, or from `LEVELS`, and from `FALLBACK`. Raises UnknownDiagnosesError,
    listing all, where no diagnosis in the table `where` is understood.
    """
    columns = [c for c in LEVELS if c in table.columns] or [c for c in ("diagnosis",) if c in table.columns]
    said = table[[*columns, *([FALLBACK] if FALLBACK in table.columns else [])]]
    rows = [tuple(row) for row in said.itertuples(index=False)]
    read = {row: _read(row[: len(columns)], row[len(columns) :], vocabulary) for row in set(rows)}
    labels = [read[row][0] for row in rows]
    unknown = joined_unknown(
        [UnknownDiagnosis(read[row][1], 1, read[row][0])] for row in rows if read[row][1]
    )
    if unknown and not any(labels):
        listed = "; ".join(
            f"{one.given!r} ({one.photographs})" for one in sorted(unknown, key=lambda u: u.given)
        )
        raise UnknownDiagnosesError(
            f"{where} has diagnoses that are none of the nine: {listed}. Rename them, or {WHAT_THEY_ARE}.",
            unknown,
        )
    read_up = [column for column in (*LEVELS, FALLBACK) if column in table.columns]
    return table.drop(columns=read_up).assign(diagnosis=labels), unknown


def _read(levels: Sequence[str], fallback: Sequence[str], vocabulary: Vocabulary) -> tuple[str, str]:
    """The label of one diagnosis, `""` if unknown, and the text of it that was not understood."""
    split = [part for level in levels for part in _levels_in(level)]
    label, lost = find_level(split, vocabulary)
    other = next((vocabulary(text) or "" for text in fallback), "")
    if not label:
        # What is malignant and none of the nine is none of the malignant of the nine.
        return ("" if lost and MELANOMA in codes_of(other) else other), lost
    if other and {is_melanoma(label), is_melanoma(other)} == {True, False}:
        return "", f"{[level for level in split if level.strip()][-1]}, but {fallback[0]}"
    return label, lost


def _levels_in(text: str) -> list[str]:
    """A diagnosis that is written as several levels (`Benign:Cysts:…`), level by level."""
    return [text] if re.match(r"\s*(?:SNOMED|SCT)", text, re.IGNORECASE) else re.split("::?", text)


def is_one_hot(columns: Iterable[str]) -> bool:
    """Whether columns are those of a ground truth with one column per diagnosis."""
    return {column.lower() for column in columns} >= ONE_HOT


def decode_one_hot(
    table: pd.DataFrame, where: str, others: Sequence[str] = ("UNK",)
) -> tuple[pd.DataFrame, list[str]]:
    """`table` with the name of the column that holds the 1 as `diagnosis`, and what is to be said of rows.

    A row without a 1, or with several, has no diagnosis. `others` are columns of classes that are none of
    the nine. Raises InputError, naming rows, where a value is neither 0 nor 1.
    """
    classes = [c for c in table.columns if c in others or find_label(c) is not None]
    hot = truths(table, classes, where)
    count = hot.sum(axis=1)
    names = np.array(classes, dtype=object)
    chosen = np.where(count == 1, names[hot.argmax(axis=1)], "")
    notes = []
    for problem, here in (("two diagnoses or more", count > 1), ("no diagnosis", count == 0)):
        if here.any():
            examples = [
                f"{name} ({', '.join(names[row])})" if row.any() else name
                for name, row in zip(row_names(table, here), hot[here], strict=False)
            ]
            notes.append(
                f"{counted(int(here.sum()), 'row')} with {problem}, kept as unknown: {_some(examples, here)}"
            )
    told = [f"{Path(where).name}: {note}" for note in notes]
    return table.drop(columns=classes).assign(diagnosis=chosen), told


def truths(table: pd.DataFrame, columns: Sequence[str], where: str) -> NDArray[np.bool_]:
    """Columns of 0 and 1, True and False or the like, in any spelling (n, k); nothing is False.

    Raises InputError, naming rows, where a value is neither.
    """
    texts = table[list(columns)].to_numpy(dtype=object)
    known = {text: truth(text) for text in {*texts.ravel().tolist()}}
    wrong = np.array([[known[text] is None for text in row] for row in texts], dtype=bool).reshape(
        texts.shape
    )
    if wrong.any():
        here = np.asarray(wrong.any(axis=1))
        examples = [
            f"{name} ({next(f'{c}: {t}' for c, t, w in zip(columns, row, bad, strict=True) if w)})"
            for name, row, bad in zip(row_names(table, here), texts[here], wrong[here], strict=False)
        ]
        raise InputError(
            f"{where} has {counted(int(here.sum()), 'row')} with a value that is neither 0 nor 1: "
            f"{_some(examples, here)}. Expected 1 for the diagnosis and 0 for the others; "
            "probabilities are not labels."
        )
    return np.asarray(np.vectorize(known.get, otypes=[bool])(texts))


def truth(text: str) -> bool | None:
    """What one field of 0 and 1 says, in any spelling (`1.0`, `1,0`, `TRUE`); nothing is False, else None."""
    plain = text.strip().casefold()
    if plain in _TRUE or plain in _FALSE:
        return plain in _TRUE
    try:
        number = float(plain.replace(",", ".") or 0)
    except ValueError:
        return None
    return bool(number) if number in (0.0, 1.0) else None


def row_names(table: pd.DataFrame, here: NDArray[np.bool_]) -> list[str]:
    """What the first of some rows are called: by image or lesion id, or by number (the first is 1)."""
    rows = np.flatnonzero(here)[:_NAMED].tolist()
    column = next((c for c in ("image_id", "lesion_id", "path") if c in table.columns), None)
    return [f"row {row + 1}" if column is None else str(table[column].iloc[row]) for row in rows]


def _some(examples: Sequence[str], here: NDArray[np.bool_]) -> str:
    more = int(here.sum()) - len(examples)
    return ", ".join(examples) + (f" and {more} more" if more > 0 else "")
