"""Photographs sent over the network are kept before the sender is told so, and each fault has its status."""

from __future__ import annotations

import errno
import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from pydicom import uid
from pydicom.dataset import FileDataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification
from sqlalchemy import select

from clinic.dicom_files import dicom_dataset
from clinic.filled_store import Store
from dermsentry.clinic.intake import admission, dicom_connections, dicom_receiver
from dermsentry.clinic.intake.dicom_receiver import Receiver, start_receiver
from dermsentry.clinic.server import ways_in
from dermsentry.clinic.server.ways_in import run_receiver
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
COMMON = NameOID.COMMON_NAME
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


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ({"title": "STRANGER"}, "AE title STRANGER, calling DERMSENTRY: callers does not list its AE title"),
        ({"called": "SOMEBODY"}, "AE title CAMERA, calling SOMEBODY: another AE title was called"),
    ],
)
def test_who_is_not_named_is_turned_away(
    receiver: Receiver, names: dict[str, str], line: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        with sender(receiver, **names) as association:
            assert association.is_rejected
    told = said(caplog)
    assert told == [f"DICOM from 127.0.0.1 refused: {line}"]  # once in a minute


def test_what_a_sender_may_not_send_is_logged(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    entity = AE(ae_title="CAMERA")
    entity.add_requested_context(uid.CTImageStorage)
    entity.add_requested_context(uid.VLPhotographicImageStorage, uid.MPEG2MPML)
    entity.add_requested_context(Verification)
    association = entity.associate(receiver.host, receiver.port, ae_title="DERMSENTRY")
    assert association.is_established
    association.release()
    (line,) = said(caplog)
    assert "proposed what is not taken, as CAMERA: CT Image Storage; VL Photographic" in line
    assert "encoded as MPEG2" in line


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the receiver logged; senders are in this process too."""
    return [own.getMessage() for own in caplog.records if own.name.startswith("dermsentry")]


def silent(receiver: Receiver, number: int) -> list[socket.socket]:
    return [socket.create_connection((receiver.host, receiver.port), timeout=5) for _ in range(number)]


def test_silent_connections_keep_nobody_out(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dicom_connections, "MOST_SILENT_OF_PEER", 5)
    opened = silent(receiver, 30)
    begun = [own.sendall(b"\x01\x00\x00\x00\xff\xff") for own in opened[-3:]]  # half a request
    assert len(begun) == 3
    before = time.monotonic()
    assert send(receiver, dicom_dataset()).Status == 0x0000
    assert time.monotonic() - before < dicom_connections.SILENT_S / 2
    assert len(cases(store)) == 1
    assert "too many connections that ask for nothing" in caplog.text
    ended = 0
    for own in opened[:20]:  # the oldest were closed
        own.settimeout(5)
        ended += own.recv(1) == b""
    assert ended == 20
    for own in opened:
        own.close()


@pytest.mark.parametrize("want", ["descriptors", "threads"])
def test_without_means_the_listener_pauses_says_so_and_is_not_heard_of(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, want: str
) -> None:
    monkeypatch.setattr(dicom_connections, "PAUSE_S", 0.4)
    tried = []
    if want == "descriptors":
        listening = receiver._server.socket
        assert listening is not None

        class Full:
            def accept(self) -> None:
                tried.append(time.monotonic())
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

            def __getattr__(self, name: str) -> Any:
                return getattr(listening, name)

        monkeypatch.setattr(receiver._server, "socket", Full())
    else:

        class NoThread(threading.Thread):
            def start(self) -> None:
                tried.append(time.monotonic())
                raise RuntimeError("can't start new thread")

        monkeypatch.setattr(dicom_connections, "Thread", NoThread)
    heard = receiver.heard_at()
    opened = silent(receiver, 5)  # as many as wait in the system's queue
    time.sleep(1.3)
    assert 2 <= len(tried) <= 8  # and not thousands
    assert receiver.heard_at() - heard < 0.8
    lines = [line for line in said(caplog) if "No DICOM connection can be taken" in line]
    assert len(lines) == 1
    assert ("Too many open files" if want == "descriptors" else "new thread") in lines[0]
    monkeypatch.undo()
    for own in opened:
        own.close()
    with sender(receiver) as association:
        assert association.send_c_echo().Status == 0x0000
    time.sleep(1)
    assert time.monotonic() - receiver.heard_at() < 1


def test_a_receiver_whose_listener_is_deaf_ends_to_begin_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways_in, "DEAF_S", 2.0)
    settings = Settings(dicom=SETTINGS)
    asked = 0

    def stopped() -> bool:
        nonlocal asked
        asked += 1
        return asked > 60

    run_receiver(store.url, store.folder, settings, stopped)  # well: it ends when it is told to
    assert asked == 61
    monkeypatch.setattr(dicom_connections.BoundedServer, "service_actions", lambda _: time.sleep(0.1))
    asked = 0
    with pytest.raises(OutputError, match="could take no connection"):
        run_receiver(store.url, store.folder, settings, stopped)


def test_a_connection_that_stays_silent_is_closed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_connections, "SILENT_S", 0.5)
    started = start_receiver(replace(store, settings=Settings(dicom=SETTINGS)))
    try:
        (own,) = silent(started, 1)
        own.settimeout(10)
        assert own.recv(1) == b""
        own.close()
    finally:
        started.close()


def test_a_peer_has_so_many_associations_and_is_told(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dicom_connections, "MOST_OF_PEER", 2)
    with sender(receiver) as first, sender(receiver) as second:
        assert first.is_established
        assert second.is_established
        with sender(receiver) as third:
            assert third.is_rejected
            assert third.acceptor.primitive is not None
            assert third.acceptor.primitive.result_str == "Rejected Transient"
    assert "too many connections at once" in caplog.text
    for _ in range(50):  # its thread takes a moment to end
        with sender(receiver) as later:
            if later.is_established:
                return
        time.sleep(0.1)
    pytest.fail("a place that was freed is not given again")


@dataclass(frozen=True)
class Authority:
    """A certificate authority of a test's own, and what it signs."""

    folder: Path
    name: str

    def certificate(self, name: str) -> tuple[Path, Path]:
        """A certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        own, signer = self.folder / f"{self.name}.key", x509.Name([x509.NameAttribute(COMMON, self.name)])
        first = not own.exists()
        signing = key if first else load_pem_private_key(own.read_bytes(), None)
        subject = signer if first else x509.Name([x509.NameAttribute(COMMON, name)])
        moment = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(signer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment - timedelta(days=1))
            .not_valid_after(moment + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=first, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(cast(ec.EllipticCurvePrivateKey, signing), hashes.SHA256())
        )
        pem, secret = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        pem.write_bytes(made.public_bytes(Encoding.PEM))
        secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return pem, secret


def authority(folder: Path, name: str) -> Authority:
    made = Authority(folder, name)
    made.certificate(name)  # the first is its own
    return made


def tls_of(ca: Path, own: tuple[Path, Path] | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    if own is not None:
        context.load_cert_chain(*own)
    return context


@pytest.fixture
def encrypted(store: Store, tmp_path: Path) -> Iterator[tuple[Receiver, Path]]:
    clinic = authority(tmp_path, "clinic")
    certificate, key = clinic.certificate("server")
    clinic.certificate("camera")
    authority(tmp_path, "stranger").certificate("other")
    settings = Dicom(
        callers=("CAMERA",),
        tls_certificate=str(certificate),
        tls_key=str(key),
        tls_clients=str(tmp_path / "clinic.pem"),
    )
    started = start_receiver(replace(store, settings=Settings(dicom=settings)))
    yield started, tmp_path
    started.close()


def associate(receiver: Receiver, context: ssl.SSLContext | None) -> Association:
    entity = AE(ae_title="CAMERA")
    entity.acse_timeout = entity.connection_timeout = 10
    for kind in PHOTOGRAPHS:
        entity.add_requested_context(kind)
    tls = None if context is None else (context, "localhost")
    return entity.associate(receiver.host, receiver.port, ae_title="DERMSENTRY", tls_args=tls)


def test_tls_is_for_who_has_a_certificate_of_the_clinics(
    store: Store, encrypted: tuple[Receiver, Path], caplog: pytest.LogCaptureFixture
) -> None:
    receiver, folder = encrypted
    blocking = silent(receiver, 3)  # none of which encrypts itself
    right = tls_of(folder / "clinic.pem", (folder / "camera.pem", folder / "camera.key"))
    association = associate(receiver, right)
    assert association.is_established
    assert association.send_c_store(dicom_dataset(2, size=(800, 600))).Status == 0x0000
    association.release()
    for wrong in (
        tls_of(folder / "clinic.pem", (folder / "other.pem", folder / "other.key")),  # another's signature
        tls_of(folder / "clinic.pem", None),
        tls_of(folder / "stranger.pem", (folder / "camera.pem", folder / "camera.key")),  # the server is not
        None,
    ):
        assert not associate(receiver, wrong).is_established
    assert len(cases(store)) == 1
    assert "DICOM from 127.0.0.1 not encrypted as it must be: " in caplog.text
    for own in blocking:
        own.close()


def test_tls_that_cannot_be_used_is_said_at_the_start(store: Store, tmp_path: Path) -> None:
    own = authority(tmp_path, "own")
    certificate, key = map(str, own.certificate("server"))
    (tmp_path / "text.pem").write_text("no certificate", encoding="utf-8")

    def start(**given: str) -> None:
        start_receiver(replace(store, settings=Settings(dicom=Dicom(callers=("CAMERA",), **given))))

    with pytest.raises(InputError, match=r"cannot be used for DICOM: No such file"):
        start(tls_certificate=str(tmp_path / "none.pem"), tls_key=key)
    with pytest.raises(InputError, match=r"tls_clients .*text\.pem cannot be used"):
        start(tls_certificate=certificate, tls_key=key, tls_clients=str(tmp_path / "text.pem"))
    with pytest.raises(InputError, match="cannot be used"):  # not this certificate's key
        start(tls_certificate=certificate, tls_key=str(tmp_path / "own.key"))
    (tmp_path / "clinic.toml").write_text('[dicom]\ntls_certificate = "a.pem"\n', encoding="utf-8")
    with pytest.raises(InputError, match="tls_certificate and tls_key together"):
        read_settings(tmp_path)


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


def test_an_image_that_is_too_large_is_answered_with_a_status(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dicom_receiver, "MAX_BYTES", 2**20)
    monkeypatch.setattr(dicom_receiver, "_OVERHEAD", 20_000)
    with sender(receiver) as association:
        assert association.send_c_store(dicom_dataset()).Status == 0x0000
        answer = association.send_c_store(dicom_dataset(2, size=(1200, 900)))
        assert answer.Status == 0xA700
        assert answer.ErrorComment == "the image has more than 1 MiB"
        assert association.send_c_store(dicom_dataset(3)).Status == 0x0000  # it goes on
    assert len(cases(store)) == 2
    assert "CAMERA refused with 0xA700" in caplog.text


def test_an_image_without_end_is_broken_off(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom_receiver, "MAX_BYTES", 100_000)
    monkeypatch.setattr(dicom_receiver, "_OVERHEAD", 20_000)
    monkeypatch.setattr(dicom_receiver, "MOST_PASSED_OVER", 400_000)
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
