"""Photographs sent over the network are kept before the sender is told so, and each fault has its status."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import uid
from pydicom.dataset import FileDataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification
from sqlalchemy import select

from clinic.dicom_files import dicom_dataset
from clinic.filled_store import Store
from dermsentry.clinic.intake import admission, dicom_receiver
from dermsentry.clinic.intake.dicom_receiver import Receiver, start_receiver
from dermsentry.clinic.settings import Dicom, Settings, read_settings
from dermsentry.clinic.store import pictures
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import DatabaseError, reading
from dermsentry.clinic.store.tables import Case, Conflict, Event, Job
from dermsentry.dicom.files import PHOTOGRAPHS
from dermsentry.errors import InputError, OutputError

SETTINGS = Dicom(callers=("CAMERA",))
# pynetdicom leaves the socket of a sender that broke off to be collected.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
UNKNOWN = "1.2.826.0.1.3680043.8.498.1"


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture
def receiver(store: Store) -> Iterator[Receiver]:
    started = start_receiver(replace(store, settings=Settings(dicom=SETTINGS)))
    yield started
    started.close()


@contextmanager
def sender(
    receiver: Receiver, *, title: str = "CAMERA", called: str = "DERMSENTRY", **syntaxes: Any
) -> Iterator[Association]:
    entity = AE(ae_title=title)
    entity.add_requested_context(Verification)
    for kind in (*PHOTOGRAPHS, uid.SecondaryCaptureImageStorage):
        entity.add_requested_context(kind, **syntaxes)
    association = entity.associate(receiver.host, receiver.port, ae_title=called)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def send(receiver: Receiver, dataset: FileDataset) -> Any:
    with sender(receiver) as association:
        return association.send_c_store(dataset)


def cases(store: Store) -> list[Case]:
    with reading(store.engine) as session:
        return list(session.scalars(select(Case).order_by(Case.id)))


def test_it_answers_an_echo(receiver: Receiver) -> None:
    with sender(receiver) as association:
        assert association.send_c_echo().Status == 0x0000


def test_what_is_stored_is_a_case_that_waits(store: Store, receiver: Receiver) -> None:
    assert send(receiver, dicom_dataset()).Status == 0x0000
    (case,) = cases(store)
    assert (case.source, case.format, case.patient, case.site) == ("dicom", "DICOM", "P-0042", "Back, left")
    assert case.dicom is not None
    assert case.dicom["sender"] == "CAMERA"
    assert store.pictures.original(case.sha256).is_file()
    with reading(store.engine) as session:
        assert session.scalars(select(Job.case_id)).all() == [case.id]
        assert session.scalars(select(Event.actor)).all() == ["dicom CAMERA"]
        assert not verify(session, store.trail).problems


def test_the_same_image_sent_twice_is_one_case(store: Store, receiver: Receiver) -> None:
    with sender(receiver) as association:
        assert [association.send_c_store(dicom_dataset()).Status for _ in range(3)] == [0, 0, 0]
    with sender(receiver, transfer_syntax=uid.ExplicitVRLittleEndian) as association:
        assert association.send_c_store(dicom_dataset()).Status == 0x0000
    assert len(cases(store)) == 1


def test_the_same_image_of_another_patient_is_held_with_a_warning(
    store: Store, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    assert send(receiver, dicom_dataset()).Status == 0x0000
    answer = send(receiver, dicom_dataset(PatientID="P-0666"))
    assert answer.Status == 0xB000
    assert answer.ErrorComment == "held: it is case 1 already (patient)"
    (case,) = cases(store)
    assert case.patient == "P-0042"
    with reading(store.engine) as session:
        assert session.scalars(select(Conflict.told)).one()["patient"] == "P-0666"
    assert "P-0666" not in caplog.text


def test_several_senders_lose_nothing(store: Store, receiver: Receiver) -> None:
    with sender(receiver) as first, sender(receiver) as second:
        for number in range(1, 6):
            for association in (first, second):
                assert association.send_c_store(dicom_dataset(number)).Status == 0x0000
    assert len(cases(store)) == 5


@pytest.mark.parametrize("names", [{"title": "STRANGER"}, {"called": "SOMEBODY"}])
def test_who_is_not_named_is_turned_away(receiver: Receiver, names: dict[str, str]) -> None:
    with sender(receiver, **names) as association:
        assert association.is_rejected


def test_other_kinds_and_encodings_are_not_negotiated(receiver: Receiver) -> None:
    with sender(receiver) as association:
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
    assert accepted == {Verification, *PHOTOGRAPHS}
    with sender(receiver, transfer_syntax=[uid.DeflatedExplicitVRLittleEndian, uid.MPEG2MPML]) as association:
        assert {context.abstract_syntax for context in association.accepted_contexts} == {Verification}


def lying(
    monkeypatch: pytest.MonkeyPatch, association: Association, dataset: FileDataset, **said: str
) -> Any:
    """Send a dataset under another kind or number than its own, as a broken sender does."""
    from pynetdicom import association as module

    whole = module.encode(dataset, True, True)
    announced = FileDataset("", dataset, preamble=b"", file_meta=dataset.file_meta)
    for name, value in said.items():
        setattr(announced, name, value)
    with monkeypatch.context() as patched:
        patched.setattr(module, "encode", lambda *_: whole)
        return association.send_c_store(announced)


def test_an_image_that_is_not_the_announced_one_is_refused(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sender(receiver, transfer_syntax=uid.ImplicitVRLittleEndian) as association:
        original = dicom_dataset(TransferSyntaxUID=uid.ImplicitVRLittleEndian)
        assert lying(monkeypatch, association, original, SOPInstanceUID=UNKNOWN).Status == 0xA900
        kind = uid.VLPhotographicImageStorage
        assert lying(monkeypatch, association, original, SOPClassUID=kind).Status == 0xA900
        capture = dicom_dataset(TransferSyntaxUID=uid.ImplicitVRLittleEndian, SOPClassUID=uid.CTImageStorage)
        answer = lying(monkeypatch, association, capture, SOPClassUID=kind)
        assert answer.Status == 0x0122
        assert "CT Image" in answer.ErrorComment
    assert cases(store) == []


def test_an_image_that_cannot_be_understood_is_refused(store: Store, receiver: Receiver) -> None:
    answer = send(receiver, dicom_dataset(PixelData=None))
    assert answer.Status == 0xC000
    assert answer.ErrorComment == "the DICOM file holds no picture"
    assert send(receiver, dicom_dataset(AccessionNumber="x", TrackingID="n" * 150)).Status == 0xC000
    assert cases(store) == []


FAULTS: dict[str, tuple[Exception, int]] = {
    "full disk": (OutputError("no space left"), 0xA700),
    "lost database": (DatabaseError("gone"), 0xA700),
    "no memory": (MemoryError(), 0xA700),
    "what nobody thought of": (RuntimeError("about P-0042"), 0x0110),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_kept_is_not_accepted(
    store: Store,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    error, status = FAULTS[name]

    def fail(*_: object, **__: object) -> None:
        raise error

    target = admission if name == "lost database" else pictures.Pictures
    with monkeypatch.context() as broken:
        broken.setattr(target, "writing" if name == "lost database" else "keep", fail)
        answer = send(receiver, dicom_dataset())
    assert answer.Status == status
    assert cases(store) == []
    assert "P-0042" not in caplog.text
    assert "P-0042" not in answer.get("ErrorComment", "")
    assert send(receiver, dicom_dataset()).Status == 0x0000
    assert len(cases(store)) == 1


def test_an_image_without_end_is_broken_off(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom_receiver, "MAX_BYTES", 100_000)
    monkeypatch.setattr(dicom_receiver, "_OVERHEAD", 20_000)
    with sender(receiver) as association:
        assert association.send_c_store(dicom_dataset(size=(160, 120))).Status == 0x0000
        assert association.send_c_store(dicom_dataset(2, size=(160, 120))).Status == 0x0000
        answer = association.send_c_store(dicom_dataset(3, size=(640, 480)))
        assert "Status" not in answer
        association.join(5)
        assert association.is_aborted
    assert len(cases(store)) == 2
    assert send(receiver, dicom_dataset(4)).Status == 0x0000


def test_nothing_of_a_patient_is_logged(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    send(receiver, dicom_dataset(PatientBirthDate="not a date, P-0042"))
    send(receiver, dicom_dataset(PixelData=None))
    told = [record.getMessage() for record in caplog.records]
    assert any("refused with 0xC000" in line for line in told)
    assert not any(word in line for line in told for word in ("P-0042", "ller", "19600101"))


def test_it_refuses_to_start_where_it_cannot(store: Store, receiver: Receiver) -> None:
    def start(settings: Dicom) -> None:
        start_receiver(replace(store, settings=Settings(dicom=settings)))

    with pytest.raises(InputError, match="from nobody"):
        start(Dicom())
    with pytest.raises(InputError, match="AE title"):
        start(SETTINGS.model_copy(update={"callers": ("A TITLE THAT IS TOO LONG",)}))
    with pytest.raises(InputError, match="AE title"):
        start(SETTINGS.model_copy(update={"ae_title": "a\\b"}))
    with pytest.raises(InputError, match="Cannot listen"):
        start(SETTINGS.model_copy(update={"port": receiver.port}))
    with pytest.raises(InputError, match="Cannot listen"):
        start(SETTINGS.model_copy(update={"host": f"{'a' * 70}.example"}))


def test_after_closing_nobody_listens(store: Store) -> None:
    started = start_receiver(replace(store, settings=Settings(dicom=SETTINGS)))
    started.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((started.host, started.port), timeout=5)


def test_it_is_set_in_the_settings(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == Settings()
    (tmp_path / "clinic.toml").write_text(
        '[dicom]\nport = 11112\nhost = "0.0.0.0"\ncallers = ["CAMERA", "PACS"]\n', encoding="utf-8"
    )
    assert read_settings(tmp_path).dicom == Dicom(port=11112, host="0.0.0.0", callers=("CAMERA", "PACS"))
