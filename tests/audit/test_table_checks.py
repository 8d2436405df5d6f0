"""What a table says that cannot be true."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pytest

from columns import table
from dermsentry.audit.table_checks import TableProblem, check_table, date_of

TODAY = date(2026, 6, 1)


def problems(**columns: Sequence[str]) -> list[TableProblem]:
    count = len(next(iter(columns.values())))
    return list(check_table(table(path=[f"{i}.jpg" for i in range(count)], **columns), TODAY))


def kinds(**columns: Sequence[str]) -> list[str]:
    return [problem.kind for problem in problems(**columns)]


@pytest.mark.parametrize("words", [("f", "male"), ("Weiblich", "m"), ("w", "M"), ("female", "Mann")])
def test_a_patient_of_both_sexes_is_told_in_any_words(words: tuple[str, str]) -> None:
    (found,) = problems(patient_id=["P1", "P1", "P2"], sex=[*words, "f"])
    assert (found.kind, found.told) == ("sex", "patient P1 is male and female")
    assert found.photographs == ("0.jpg", "1.jpg")
    assert kinds(patient_id=["P1", "P1"], sex=["f", "w"]) == []
    assert kinds(patient_id=["P1", "P1"], sex=["f", "unknown"]) == []
    assert kinds(patient_id=["P1", "P1"], sex=["f", "m"], source=["one", "other"]) == []


def test_a_lesion_is_of_one_patient() -> None:
    (found,) = problems(lesion_id=["L", "L"], patient_id=["P1", "P2"])
    assert found.told == "lesion L is of the patients P1, P2"
    assert kinds(lesion_id=["L", "L"], patient_id=["P1", ""]) == []


@pytest.mark.parametrize(
    ("ages", "dates", "wrong"),
    [
        (("40", "43"), ("2010-01-05", "2013-02-01"), False),
        (("40", "42"), ("2010-01-05", "2011-01-04"), False),  # a birthday on either side
        (("41", "48"), ("2010-01-05", "2011-01-04"), True),
        (("43", "41"), ("2010-01-05", "2013-02-01"), True),  # younger later
        (("40", "45"), ("2010-01-05", "2010-06-01"), False),  # all in fives: rounded
        (("40", "55"), ("2010-01-05", "2010-06-01"), True),
        (("40", "55"), ("", ""), False),
        (("40", "71"), ("", "2010-06-01"), True),
        (("40", ""), ("2010-01-05", "2030-01-01"), False),
    ],
)
def test_ages_fit_the_time_between_photographs(
    ages: tuple[str, str], dates: tuple[str, str], wrong: bool
) -> None:
    found = kinds(patient_id=["P", "P"], age=ages, acquisition_date=dates)
    assert ("ages" in found) is wrong


def test_ages_and_dates_that_cannot_be() -> None:
    ages = {problem.told for problem in problems(age=["140", "-3", "40-49", "unknown", "45,5", "", "140"])}
    assert ages == {
        "the age '140' of 2 photographs is not an age in years",
        "the age '-3' of 1 photograph is not an age in years",
        "the age '40-49' of 1 photograph is not an age in years",
    }
    days = ["31.02.2020", "2031-01-01", "1900-01-01", "2020-05-06", "n/a", ""]
    assert [problem.told for problem in problems(acquisition_date=days)] == [
        "the date '31.02.2020' of 1 photograph is not a day of the calendar",
        "the date '2031-01-01' of 1 photograph is in the future",
        "the date '1900-01-01' of 1 photograph is before 1950",
    ]


def test_image_ids_of_several_files_are_told_unless_they_only_count() -> None:
    (found,) = problems(image_id=["ISIC_0000001", "ISIC_0000001", "IMG_0001", "IMG_0001"])
    assert (found.kind, found.told) == ("image id", "ISIC_0000001 is 2 files")


def test_ids_that_differ_in_spelling_are_told() -> None:
    (found,) = problems(patient_id=["P 12", "p12", "P13"])
    assert found.told == "the patients 'P 12' and 'p12' differ in nothing but spelling"
    assert kinds(patient_id=["P 12", "p12"], source=["one", "other"]) == []


@pytest.mark.parametrize(
    "text",
    [
        "2019-03-12",
        "12.03.2019",
        "20190312",
        "2019:03:12 10:11:12",
        "12/03/2019",
        "2019-03-12T08:00:00Z",
        "12.3.19",
    ],
)
def test_dates_are_read_as_tables_cameras_and_dicom_write_them(text: str) -> None:
    assert date_of(text) == date(2019, 3, 12)


def test_month_first_is_read_where_only_that_is_a_day() -> None:
    assert date_of("03/31/2019") == date(2019, 3, 31)
