"""Cases leave as CSV that reads back, runs nothing, and tells no more than was asked."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinic.dicom_files import dicom_bytes
from clinic.filled_store import Store, decide, screen, take, undo
from dermsentry.clinic.export import case_table as module
from dermsentry.clinic.export.case_table import COLUMNS, PERSONAL, case_table
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import Case, Outcome, now
from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError
from dermsentry.files import csv_line


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def table(store: Store, **asked: Any) -> list[dict[str, str]]:
    with reading(store.engine) as session:
        lines = list(case_table(session, **asked))
    return list(csv.DictReader(io.StringIO("".join(lines))))


def test_a_case_has_a_line_with_what_was_found_decided_and_turned_out(store: Store) -> None:
    number = take(store, dicom_bytes())
    (waiting,) = table(store)
    assert (waiting["tier"], waiting["p_MEL"], waiting["acceptable"], waiting["stage"]) == (
        "",
        "",
        "",
        "unread",
    )
    screen(store, number)
    decide(store, number, decided=False)
    (undecided,) = table(store)
    assert (undecided["diagnosis"], undecided["decided_by"]) == ("", "")
    decide(store, number, diagnosis="MEL", action="biopsy", position=2)
    assert table(store)[0]["decision"] == "final"
    with writing(store.engine) as session:
        session.add(Outcome(case_id=number, diagnosis="NV", method="follow-up"))
        session.flush()
        session.add(Outcome(case_id=number, diagnosis="MEL", method="histology"))
    (row,) = table(store)
    assert list(row) == list(COLUMNS)
    assert (row["case"], row["tier"], row["p_MEL"]) == ("1", "alert", "0.610000")
    assert (row["no_lesion"], row["out_of_distribution"]) == ("0.020000", "0.070000")
    assert sum(float(row[f"p_{code}"]) for code in CODES) == pytest.approx(1, abs=1e-5)
    assert (row["diagnosis"], row["action"], row["agrees"], row["decision"]) == (
        "MEL",
        "biopsy",
        "yes",
        "amended",  # as FHIR says it, since it is known what it was
    )
    assert (row["decided_by"], row["acceptable"]) == ("reader", "yes")
    assert (row["outcome"], row["outcome_method"]) == ("MEL", "histology")
    assert row["decided_at"].endswith("+00:00")


def test_a_decision_that_was_undone_is_not_told(store: Store) -> None:
    number = take(store, dicom_bytes())
    screen(store, number)
    first = decide(store, number, diagnosis="NV", action="discharge")
    undo(store, first)
    assert table(store)[0]["diagnosis"] == ""
    decide(store, number, diagnosis="MEL")
    assert (table(store)[0]["diagnosis"], table(store)[0]["decision"]) == ("MEL", "amended")


def test_who_it_is_of_is_told_only_where_it_is_asked(store: Store) -> None:
    take(store, dicom_bytes(TrackingID="left arm"), note="private", file_name="Mueller.dcm")
    text = str(table(store))
    assert not any(word in text for word in ("P-0042", "left arm", "private", "Mueller"))
    (row,) = table(store, columns=("case", *PERSONAL))
    assert row == {
        "case": "1",
        "patient": "P-0042",
        "lesion": "left arm",
        "accession": "A-1",
        "file_name": "Mueller.dcm",
        "note": "private",
    }


@pytest.mark.parametrize("columns", [("case", "password_hash"), ("case", "case"), ()])
def test_other_columns_are_refused_before_the_first_line(store: Store, columns: tuple[str, ...]) -> None:
    with reading(store.engine) as session, pytest.raises(InputError, match="column"):
        case_table(session, columns=columns)


def test_a_span_of_time_is_kept_to(store: Store) -> None:
    numbers = [take(store, dicom_bytes(number, (16, 12))) for number in (1, 2, 3)]
    moment = now()
    with writing(store.engine) as session:
        for days, number in enumerate(numbers):
            session.get_one(Case, number).received_at = moment + timedelta(days=days)
    asked = table(store, since=moment + timedelta(days=1), until=moment + timedelta(days=2))
    assert [row["case"] for row in asked] == ["2"]
    assert [row["case"] for row in table(store)] == ["1", "2", "3"]


def test_it_comes_in_batches_and_none_is_missed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 3)
    for number in range(1, 8):
        take(store, dicom_bytes(number, (16, 12)))
    decide(store, 5)
    with reading(store.engine) as session:
        lines = case_table(session)
        assert next(lines).startswith("case,site,")
        next(lines)
        assert len([one for one in session.identity_map.values() if isinstance(one, Case)]) == 3
        assert len(list(lines)) == 6
    rows = table(store)
    assert [row["case"] for row in rows] == [str(number) for number in range(1, 8)]
    assert [row["case"] for row in rows if row["diagnosis"]] == ["5"]


@given(st.text())
def test_no_text_is_run_as_a_formula_and_none_breaks_the_table(text: str) -> None:
    text = text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
    line = csv_line([module._safe(text), "next"])
    (fields,) = csv.reader(io.StringIO(line, newline=""))
    assert len(fields) == 2
    assert fields[0] in (text, f"'{text}")
    assert not fields[0].lstrip().startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize("text", ["=1+1", "-2", "+49 1", "@SUM(A1)", " =1", "\t=1"])
def test_a_formula_is_kept_as_text(text: str) -> None:
    assert module._safe(text) == f"'{text}"
