from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from clinic.cases import photograph as draw
from clinic.dicom_files import dicom_bytes
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.intake import admission
from dermsentry.clinic.intake.admission import LONGEST, MAX_BYTES, About, Received, receive, sniff
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import DatabaseError, open_database, reading
from dermsentry.clinic.store.pictures import Pictures
from dermsentry.clinic.store.tables import IDENTIFYING, Case, Conflict, Event, Job
from dermsentry.errors import InputError, OutputError
from dermsentry.image_formats import FORMATS


@pytest.fixture(scope="session")
def photograph() -> bytes:
    return draw(kind="PNG")


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    return Pictures(tmp_path)


def take(clinic: Clinic, data: bytes, **about: str) -> Received:
    return receive(clinic, data, About(**about), source="api", actor="uli")


def test_a_photograph_becomes_a_case_with_a_job_and_an_event(clinic: Clinic, photograph: bytes) -> None:
    received = take(clinic, photograph, patient=" P1\x00 ", site="back", file_name="a/b.png")
    assert received.new
    with reading(clinic.engine) as session:
        case = session.get_one(Case, received.case_id)
        assert (case.patient, case.site, case.format, case.state) == ("P1", "back", "PNG", "waiting")
        assert session.scalars(select(Job)).one().case_id == case.id
        assert [event.action for event in session.scalars(select(Event))] == ["received"]
        assert clinic.pictures.read_original(case.sha256) == photograph


def test_the_same_photograph_twice_is_one_case(clinic: Clinic, photograph: bytes) -> None:
    first = take(clinic, photograph, patient="P1")
    again = take(clinic, photograph, patient=" p1 ", note="itches")
    assert (again.case_id, again.new, again.held) == (first.case_id, False, None)
    assert take(clinic, photograph).held is None  # what was not told differs from nothing
    with reading(clinic.engine) as session:
        assert session.scalars(select(Case)).one().patient == "P1"
        assert len(session.scalars(select(Job)).all()) == 1
        assert [event.action for event in session.scalars(select(Event))] == [
            "received",
            "received again",
            "received again",
        ]
        assert session.scalars(select(Case.note)).one() == "itches"
        assert session.scalars(select(Conflict)).all() == []


@pytest.mark.parametrize("field", IDENTIFYING)
def test_the_same_photograph_for_another_patient_lesion_side_or_request_is_held(
    clinic: Clinic, photograph: bytes, field: str
) -> None:
    first = take(clinic, photograph, patient="P1", lesion="A", site="left arm", accession="A1")
    for _ in range(2):  # however often it is sent
        again = take(clinic, photograph, **{"patient": "P1", field: "other"}, note="grew")
        assert (again.case_id, again.new) == (first.case_id, False)
        assert again.held is not None
        assert again.held.differs == (field,)
        assert (again.held.kept[field] != "other", again.held.told[field]) == (True, "other")
        assert "other" in again.held.words(again.case_id)
    with reading(clinic.engine) as session:
        case = session.scalars(select(Case)).one()
        assert (case.patient, case.lesion, case.site, case.accession) == ("P1", "A", "left arm", "A1")
        assert case.note == ""
        conflict = session.scalars(select(Conflict)).one()
        assert (conflict.case_id, conflict.told[field], conflict.told["note"]) == (case.id, "other", "grew")
        received, held, _ = (json.loads(event.detail) for event in session.scalars(select(Event)))
        assert received["patient"] == "P1"
        assert (held[field], held["differs"], held["conflict"]) == ("other", [field], conflict.id)
        assert len(session.scalars(select(Job)).all()) == 1


def test_a_photograph_for_a_patient_where_the_case_names_none_is_held(
    clinic: Clinic, photograph: bytes
) -> None:
    take(clinic, photograph)
    held = take(clinic, photograph, patient="P1").held
    assert held is not None
    assert held.differs == ("patient",)


def test_the_same_dicom_image_of_another_patient_is_held_and_of_the_same_is_its_own_case(
    clinic: Clinic,
) -> None:
    first = take(clinic, dicom_bytes())
    other = take(clinic, dicom_bytes(PatientID="P-0043"))
    assert other.held is not None
    assert (other.case_id, other.held.differs) == (first.case_id, ("patient",))
    under_another_number = take(clinic, dicom_bytes(SOPInstanceUID="1.2.3.4", PatientID="P-0043"))
    assert under_another_number.held is not None
    assert take(clinic, dicom_bytes(SOPInstanceUID="1.2.3.4")).new
    assert take(clinic, dicom_bytes(2, PatientID="P-0043")).new
    with reading(clinic.engine) as session:
        # Each file that is held is kept: its header may be the right one.
        for conflict in session.scalars(select(Conflict)):
            assert clinic.pictures.read_original(conflict.sha256)
        assert {case.accession for case in session.scalars(select(Case))} == {"A-1"}


def test_two_who_send_it_for_two_patients_at_once_give_one_case_and_one_conflict(
    clinic: Clinic, photograph: bytes
) -> None:
    start, received = threading.Barrier(6), []

    def send(patient: str) -> None:
        start.wait()
        received.append(take(clinic, photograph, patient=patient))

    threads = [threading.Thread(target=send, args=(f"P{number % 2}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(own.new for own in received), sum(own.held is not None for own in received)) == (1, 3)
    with reading(clinic.engine) as session:
        assert len(session.scalars(select(Conflict)).all()) == 1
        assert verify(session, clinic.trail).problems == ()


def test_the_same_photograph_sent_by_many_at_once_is_one_case(clinic: Clinic, photograph: bytes) -> None:
    start, received = threading.Barrier(8), []

    def send() -> None:
        start.wait()
        received.append(take(clinic, photograph))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(received) == 8
    assert len({own.case_id for own in received}) == 1
    assert sum(own.new for own in received) == 1
    with reading(clinic.engine) as session:
        assert len(session.scalars(select(Event)).all()) == 8
        assert verify(session, clinic.trail).problems == ()


def test_a_photograph_that_cannot_be_kept_makes_no_case(
    clinic: Clinic, tmp_path: Path, photograph: bytes
) -> None:
    (tmp_path / "photographs").write_text("a file where a folder should be")
    with pytest.raises(OutputError):
        take(clinic, photograph)
    with reading(clinic.engine) as session:
        assert session.scalars(select(Case)).all() == []


def test_a_photograph_is_kept_where_the_database_is_away_and_taken_later(
    clinic: Clinic, photograph: bytes
) -> None:
    away = open_database("postgresql+psycopg://clinic@127.0.0.1:1/clinic")
    with pytest.raises(DatabaseError):
        take(replace(clinic, engine=away), photograph)
    assert take(clinic, photograph).new


def test_what_is_no_photograph_is_refused(clinic: Clinic) -> None:
    for data in (b"", b"GIF89a", b"%PDF-1.7", b"<svg/>", b"RIFF1234WAVE", b"\x00" * 200):
        with pytest.raises(InputError):
            take(clinic, data)
    assert not (clinic.pictures.folder / "photographs").exists()


def test_a_file_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch, photograph: bytes) -> None:
    assert MAX_BYTES == 100 * 2**20
    monkeypatch.setattr(admission, "MAX_BYTES", len(photograph) - 1)
    with pytest.raises(InputError, match="larger than 100 MiB"):
        sniff(photograph)


@pytest.mark.parametrize("kind", [*FORMATS, "DICOM"])
def test_a_photograph_is_known_by_its_content(kind: str) -> None:
    pillow_heif.register_heif_opener()  # to write one
    if kind == "DICOM":
        assert sniff(dicom_bytes(size=(8, 8))) == kind
    else:
        assert sniff(draw(kind=kind)) == kind


@pytest.mark.parametrize("name", LONGEST)
def test_a_field_that_is_too_long_is_refused(name: str) -> None:
    About(**{name: "x" * LONGEST[name]}).checked()
    with pytest.raises(InputError, match=name):
        About(**{name: "x" * (LONGEST[name] + 1)}).checked()


@given(text=st.text(max_size=100))
def test_what_is_told_is_cleaned_to_what_every_database_keeps(text: str) -> None:
    told = About(patient=text, note=text, file_name=text).checked()
    assert told.patient == told.patient.strip()
    for own in (told.patient, told.note.replace("\n", ""), told.file_name):
        assert own.isprintable()
        assert own.encode("utf-8").decode("utf-8") == own
    assert told.checked() == told


def test_a_damaged_photograph_is_found_and_healed_by_coming_again(
    pictures: Pictures, photograph: bytes
) -> None:
    sha256 = pictures.keep(photograph)
    for damage in (photograph[:50], b"", photograph[:-1] + b"\x00"):
        pictures.original(sha256).write_bytes(damage)
        with pytest.raises(InputError, match="changed"):
            pictures.read_original(sha256)
        assert pictures.keep(photograph) == sha256
        assert pictures.read_original(sha256) == photograph
    pictures.original(sha256).unlink()
    with pytest.raises(InputError, match="cannot be read"):
        pictures.read_original(sha256)


def test_pictures_lie_in_folders_that_stay_small(pictures: Pictures) -> None:
    sha256 = "ab12" + "0" * 60
    assert pictures.original(sha256) == pictures.folder / "photographs" / "ab" / "12" / sha256
    assert pictures.drawn(sha256, "saliency").name == f"{sha256}.saliency.png"
    assert pictures.drawn(sha256, "view").name == f"{sha256}.view.jpg"
