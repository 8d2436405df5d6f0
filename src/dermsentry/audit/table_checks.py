"""Whether what a table says of patients, lesions and photographs can be true."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

import pandas as pd

from dermsentry.collection.groups import is_counter, lesion_keys, patient_keys
from dermsentry.collection.people import age_of, sex_of
from dermsentry.diagnoses import says_unknown
from dermsentry.stats.numbers import counted

Kind = Literal["sex", "patient", "age", "ages", "date", "image id", "spelling"]

CHECKED = ("sex", "age", "acquisition_date", "patient_id", "lesion_id")
"""Columns that are checked besides image ids, where a table has them."""
EARLIEST = date(1950, 1, 1)
"""A photograph of skin that is said to be older is likely one with a wrong date."""
ONE_YEAR = 1.01
"""By which ages in whole years and dates may disagree."""
WITHOUT_DATES = 15
"""Years by which the ages of one patient may differ where the dates of the photographs are not known."""

_DATES = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y:%m:%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y",
    "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%Y-%m", "%m/%Y",
    "%m.%Y", "%Y",
)  # fmt: skip
_TIME = re.compile(r"[T ]\d{1,2}:\d{2}.*\Z")


@dataclass(frozen=True)
class TableProblem:
    """Something that a table says and that cannot be, or is hardly, true.

    Attributes
    ----------
    kind
        `sex` (one patient or lesion is male and female), `patient` (one lesion is of two patients), `age`
        (no age in years), `ages` (those of one patient do not fit the dates, or each other), `date` (none,
        or in the future), `image id` (of several files), `spelling` (ids of patients or lesions that differ
        in nothing else).
    told
        What it is, in words.
    photographs
        The paths that it is about, sorted.
    """

    kind: Kind
    told: str
    photographs: tuple[str, ...]


def check_table(table: pd.DataFrame, today: date | None = None) -> tuple[TableProblem, ...]:
    """What a collection's table says that cannot be true; see `TableProblem`.

    Ages may disagree with the dates of the photographs by one year, and by five more where all are multiples
    of five, as those of the ISIC Archive are rounded to. Without dates, 15 years are too much.
    """
    people = _groups(table, patient_keys(table), "patient"), _groups(table, lesion_keys(table), "lesion")
    ages = {text: age_of(text) for text in set(table["age"])}
    dates = {text: date_of(text) for text in set(table["acquisition_date"])}
    found = [
        *_both_sexes(table, [*people[0], *people[1]]),
        *_two_patients(table, people[1]),
        *_no_age(table, ages),
        *_jumping_ages(table, people[0] or people[1], ages, dates),
        *_no_date(table, dates, today or date.today()),
        *_ids_twice(table),
        *_spellings(table, "patient_id", "patients"),
        *_spellings(table, "lesion_id", "lesions"),
    ]
    paths = list(table["path"])
    return tuple(
        TableProblem(kind, told, tuple(sorted(paths[i] for i in rows))) for kind, told, rows in found
    )


def date_of(text: str) -> date | None:
    """A day as tables, cameras and DICOM write it, day before month where both could be; else None."""
    plain = _TIME.sub("", text.strip())
    for form in _DATES:
        try:
            return datetime.strptime(plain, form).date()
        except ValueError:
            continue
    return None


_Group = tuple[str, list[int]]


def _groups(table: pd.DataFrame, keys: Sequence[str], of: str) -> list[_Group]:
    """What a patient or a lesion is called, and its rows, where it has several."""
    rows: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        if key:
            rows.setdefault(key, []).append(place)
    return [(f"{of} {key.rpartition(chr(0))[2]}", places) for key, places in rows.items() if len(places) > 1]


_Found = tuple[Kind, str, list[int]]
"""A problem with the rows that it is about."""


def _both_sexes(table: pd.DataFrame, groups: Iterable[_Group]) -> Iterator[_Found]:
    sex = [sex_of(text) for text in table["sex"]]
    for name, rows in groups:
        if {sex[i] for i in rows} >= {"male", "female"}:
            yield ("sex", f"{name} is male and female", rows)


def _two_patients(table: pd.DataFrame, lesions: Iterable[_Group]) -> Iterator[_Found]:
    patients = list(table["patient_id"])
    for name, rows in lesions:
        of = sorted({patients[i] for i in rows} - {""})
        if len(of) > 1:
            yield ("patient", f"{name} is of the patients {', '.join(of)}", rows)


def _no_age(table: pd.DataFrame, ages: dict[str, float | None]) -> Iterator[_Found]:
    for text, rows in _by_value(table["age"]):
        if ages[text] is None and not says_unknown(text):
            photographs = counted(len(rows), "photograph")
            yield ("age", f"the age {text!r} of {photographs} is not an age in years", rows)


def _jumping_ages(
    table: pd.DataFrame,
    groups: Iterable[_Group],
    ages: dict[str, float | None],
    dates: dict[str, date | None],
) -> Iterator[_Found]:
    known = [age for age in ages.values() if age is not None]
    rounded = 5 if len(known) > 1 and all(age % 5 == 0 for age in known) else 0
    age, taken = [ages[text] for text in table["age"]], [dates[text] for text in table["acquisition_date"]]
    for name, rows in groups:
        years = {i: value for i in rows if (value := age[i]) is not None}
        if len(years) < 2:
            continue
        days = {i: day for i in years if (day := taken[i]) is not None}
        if len(days) == len(years):
            born = {i: days[i].toordinal() / 365.2425 - years[i] for i in years}
            most, order = ONE_YEAR + rounded, born
        else:
            most, order = WITHOUT_DATES, years
        first, last = min(order, key=order.__getitem__), max(order, key=order.__getitem__)
        if order[last] - order[first] <= most:
            continue
        pair = sorted((first, last), key=lambda i: (days.get(i, EARLIEST), years[i]))
        said = " and ".join(f"{years[i]:g}" + (f" on {days[i]}" if i in days else "") for i in pair)
        yield ("ages", f"{name} is {said}", pair)


def _no_date(table: pd.DataFrame, dates: dict[str, date | None], today: date) -> Iterator[_Found]:
    for text, rows in _by_value(table["acquisition_date"]):
        day = dates[text]
        if day is None and not says_unknown(text):
            wrong = "is not a day of the calendar"
        elif day is not None and day > today:
            wrong = "is in the future"
        elif day is not None and day < EARLIEST:
            wrong = f"is before {EARLIEST.year}"
        else:
            continue
        yield ("date", f"the date {text!r} of {counted(len(rows), 'photograph')} {wrong}", rows)


def _ids_twice(table: pd.DataFrame) -> Iterator[_Found]:
    for text, rows in _by_value(table["image_id"]):
        if len(rows) > 1 and not is_counter(text):
            yield ("image id", f"{text} is {len(rows):,} files", rows)


def _spellings(table: pd.DataFrame, column: str, of: str) -> Iterator[_Found]:
    written: dict[tuple[str, str], dict[str, list[int]]] = {}
    plain = {text: _plain(text) for text in set(table[column])}
    for row, (source, text) in enumerate(zip(table["source"], table[column], strict=True)):
        written.setdefault((source, plain[text]), {}).setdefault(text, []).append(row)
    for _, rows in sorted(written.items(), key=lambda item: item[0]):
        if len(rows) > 1:
            listed = " and ".join(map(repr, sorted(rows)))
            here = sorted(row for own in rows.values() for row in own)
            yield ("spelling", f"the {of} {listed} differ in nothing but spelling", here)


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).casefold()


def _by_value(column: pd.Series[str]) -> Iterator[tuple[str, list[int]]]:
    """Each text of a column and its rows, in the order in which the texts come."""
    rows: dict[str, list[int]] = {}
    for place, text in enumerate(column):
        if text:
            rows.setdefault(text, []).append(place)
    return iter(rows.items())
