"""Tables as others publish them, their columns under our names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from dermsentry.collection.table import COLUMNS, SPLITS
from dermsentry.csv_tables import column_names, read_table
from dermsentry.errors import InputError
from dermsentry.image_formats import SUFFIXES

_ALIASES = {
    "image": "image_id",
    "image_name": "image_id",
    "isic_id": "image_id",
    "filename": "image_id",
    "file_name": "image_id",
    "lesion": "lesion_id",
    "lesion_number": "lesion_id",
    "lesion_no": "lesion_id",
    "patient": "patient_id",
    "patient_number": "patient_id",
    "patient_no": "patient_id",
    "dx": "diagnosis",
    "label": "diagnosis",
    "age_approx": "age",
    "age_approximate": "age",
    "gender": "sex",
    "localization": "site",
    "anatom_site_general": "site",
    "anatom_site_general_challenge": "site",
    "fitzpatrick_skin_type": "skin_type",
    "dx_type": "diagnosis_confirm_type",
    "license": "copyright_license",
    "date": "acquisition_date",
    "date_taken": "acquisition_date",
    "exam_date": "acquisition_date",
    "study_date": "acquisition_date",
    "file": "path",
    "filepath": "path",
}
_EXAMPLES = {"diagnosis": "Befund (Histo)", "image_id": "Bild-Nr.", "path": "Datei"}
_LEVEL = re.compile(r"diagnosis_[1-5]")
IMAGE_SUFFIX = re.compile(
    "(?:" + "|".join(re.escape(suffix) for suffix in sorted(SUFFIXES)) + r")\Z", re.IGNORECASE
)


def own_names(
    columns: Sequence[str],
    special: Mapping[str, str] | None = None,
    headings: Mapping[str, str] | None = None,
) -> list[str]:
    """Columns under the names of `COLUMNS` where they mean one, each name once; the others as they are.

    Capitals, blanks and hyphens make no difference: `Lesion ID` and `LesionID` are `lesion_id`. `special` are
    names that only one layout has, or gives another meaning. `headings` are the user's, by our names, and
    come first: what else is called so keeps its heading, marked `(as given)`.
    """
    aliases = {**_ALIASES, **(special or {})}
    given = [folded(column) for column in columns]
    chosen = {_place(heading, columns): name for name, heading in (headings or {}).items()}
    chosen.pop(None, None)
    taken = set(chosen.values())
    exact = {name for name in given if aliases.get(name, name) == name and name in COLUMNS}
    names: list[str] = []
    for place, (column, lower) in enumerate(zip(columns, given, strict=True)):
        known = aliases.get(lower, lower)
        mine = known in COLUMNS and known not in (*names, *taken) and (lower == known or known not in exact)
        other = f"{column} (as given)" if column in taken else column
        names.append(chosen.get(place) or (known if mine else other))
    return names


def read_headings(texts: Iterable[str]) -> dict[str, str]:
    """What a user's `NAME=HEADING` say: our name of a column to the heading of it in the user's tables.

    Raises InputError where one is no such text, names no column of `COLUMNS`, or says something twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        given, equals, heading = (part.strip() for part in text.partition("="))
        name = own_names([given])[0]
        if not equals or not heading or name not in COLUMNS:
            raise InputError(
                f"Received the column {text!r}; expected NAME=HEADING, such as diagnosis='Befund (Histo)', "
                f"where NAME is one of {', '.join(COLUMNS)}."
            )
        if name in found or heading in found.values():
            raise InputError(f"Received the column {text!r} besides another for the same; give it once.")
        found[name] = heading
    return found


def require_headings(headings: Mapping[str, str], tables: Sequence[Path]) -> None:
    """Raise InputError, listing the headings that there are, where none of the tables has one of these."""
    of = {path: column_names(path) for path in tables}
    for name, heading in headings.items():
        if all(_place(heading, columns) is None for columns in of.values()):
            there = "; ".join(f"{path} has {', '.join(columns)}" for path, columns in of.items() if columns)
            raise InputError(
                f"Received the column {name}={heading}, but no table has that heading: "
                f"{there or 'there is no table'}."
            )


def _place(heading: str, columns: Sequence[str]) -> int | None:
    """Where a heading is among columns: to the letter, or else without capitals, blanks and hyphens."""
    for same in (str.strip, folded):
        named = [same(column) for column in columns]
        if same(heading) in named:
            return named.index(same(heading))
    return None


def folded(column: str) -> str:
    """A column's name in lower case, its words joined by underscores."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[\s.-]+", "_", column.strip())
    return re.sub(r"__+", "_", words).lower()


def own_splits(texts: pd.Series[str], where: Path) -> pd.Series[str]:
    """Splits under their names in a collection. Raises InputError for any other word."""
    unknown = sorted(set(texts.str.lower()) - set(SPLITS) - {""})
    if unknown:
        raise InputError(
            f"{where} has splits {', '.join(unknown)}; expected train, validation, test or nothing."
        )
    return texts.str.lower().map(SPLITS).fillna("")


def read_columns(
    path: Path,
    *needed: str,
    special: Mapping[str, str] | None = None,
    headings: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """A CSV table under our names, see `own_names`; image ids without a file's suffix.

    Raises InputError where it is no table, or a column of `needed` is missing.
    """
    table = read_table(path)
    given = ", ".join(table.columns)
    table.columns = own_names(list(table.columns), special, headings)
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise InputError(
            f"{path} has the columns {given}; expected {', '.join(needed)} among them. Say with --column "
            f"which heading means {missing[0]}, such as {missing[0]}='{_EXAMPLES.get(missing[0], '…')}'."
        )
    if "diagnosis" in (headings or {}) and "diagnosis" in table.columns:
        # The user's own column is the diagnosis, not the levels that the table has besides.
        table = table.drop(columns=[column for column in table.columns if _LEVEL.fullmatch(column)])
    if "image_id" in table.columns:  # some tables give the file's name
        table["image_id"] = table["image_id"].str.replace(IMAGE_SUFFIX, "", regex=True)
    if "age" in table.columns:  # `45,5` in most of Europe
        table["age"] = table["age"].str.replace(r"\A(\d+),(\d+)\Z", r"\1.\2", regex=True)
    return table
