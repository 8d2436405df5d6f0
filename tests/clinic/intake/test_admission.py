from __future__ import annotations

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
from dermsentry.clinic.store.tables import Case, Event, Job
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
    again = take(clinic, photograph, patient="P2")
    assert (again.case_id, again.new) == (first.case_id, False)
    with reading(clinic.engine) as session:
        assert session.scalars(select(Case)).one().patient == "P1"
        assert len(session.scalars(select(Job)).all()) == 1
        assert [event.action for event in session.scalars(select(Event))] == ["received", "received again"]


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
    with pytest.raises(InputError, match="expected up to"):
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
