"""C-STORE bent at random: what a camera sends, byte by byte, and whole images; the receiver goes on."""

from __future__ import annotations

import io
import logging
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset
from pydicom.filereader import _read_file_meta_info, read_preamble
from pynetdicom import AE, _config

from clinic.bending import MUTATIONS, SEED, Bend
from clinic.dicom_files import dicom_bytes, dicom_dataset
from clinic.filled_store import Store
from dermsentry.clinic.intake.dicom_receiver import Receiver, start_receiver
from dermsentry.clinic.settings import Dicom, Settings
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import reading
from dermsentry.clinic.store.tables import Case
from dermsentry.dicom.files import PHOTOGRAPHS

# pynetdicom leaves the socket of a sender that broke off to be collected, and a value it cannot read warns.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
ANSWER_S = 0.2
FEW = max(20, MUTATIONS // 10)
"""Conversations of bent bytes: each is waited for."""


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture
def receiver(store: Store) -> Iterator[Receiver]:
    started = start_receiver(replace(store, settings=Settings(dicom=Dicom(callers=("CAMERA",)))))
    yield started
    started.close()


def send(host: str, port: int, dataset: FileDataset | Path) -> int | None:
    """The status of an image's C-STORE; None where the association was broken off."""
    entity = AE(ae_title="CAMERA")
    for kind in PHOTOGRAPHS:
        entity.add_requested_context(kind)
    association = entity.associate(host, port, ae_title="DERMSENTRY")
    assert association.is_established
    try:
        answer = association.send_c_store(dataset)
        return answer.get("Status")  # type: ignore[no-any-return]
    finally:
        association.release()


def recorded(receiver: Receiver) -> list[bytes]:
    """What a camera sends to store an image, as pieces that each had an answer."""
    pieces: list[bytes] = [b""]
    listening = socket.create_server(("127.0.0.1", 0))

    def pass_on() -> None:
        camera, _ = listening.accept()
        with camera, socket.create_connection((receiver.host, receiver.port)) as server:
            ended = threading.Event()

            def back() -> None:
                while data := server.recv(65536):
                    pieces.append(b"")
                    camera.sendall(data)
                ended.set()

            threading.Thread(target=back, daemon=True).start()
            while data := camera.recv(65536):
                pieces[-1] += data
                server.sendall(data)
            ended.wait(5)

    passing = threading.Thread(target=pass_on, daemon=True)
    passing.start()
    assert send("127.0.0.1", listening.getsockname()[1], dicom_dataset(1)) == 0
    passing.join(10)
    listening.close()
    return [piece for piece in pieces if piece]


def test_bent_conversations_end_and_the_next_image_is_stored(
    store: Store, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    bend = Bend(random.Random(SEED))
    pieces = recorded(receiver)
    assert len(pieces) >= 2  # the request for an association, and what follows its acceptance
    counts: Counter[str] = Counter()
    with caplog.at_level(logging.ERROR):
        for _ in range(FEW):
            bent = bend.chance.randrange(len(pieces))
            with socket.create_connection((receiver.host, receiver.port)) as own:
                own.settimeout(ANSWER_S)
                became = "went on"
                for number, piece in enumerate(pieces):
                    try:
                        own.sendall(bend.data(piece) if number == bent else piece)
                        became = "answered" if own.recv(65536) else "closed"
                    except TimeoutError:
                        became = "waits"
                    except OSError:
                        became = "closed"
                    if became == "closed":
                        break
                counts[f"piece {bent} {became}"] += 1
    print("\n".join(f"{count:6} {became}" for became, count in sorted(counts.items())))
    assert send(receiver.host, receiver.port, dicom_dataset(7)) == 0
    kept_as_they_were_sent(store)


def test_bent_images_have_a_status(
    store: Store,
    receiver: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)  # as it is in the file
    bend = Bend(random.Random(SEED))
    counts: Counter[str] = Counter()
    file = tmp_path / "image.dcm"
    for _ in range(FEW):
        data = dicom_bytes(bend.chance.randrange(5))
        start = io.BytesIO(data)
        read_preamble(start, force=False)
        _read_file_meta_info(start)
        file.write_bytes(data[: start.tell()] + bend.data(data[start.tell() :]))
        told = send(receiver.host, receiver.port, file)
        counts["broken off" if told is None else f"status {told:04X}"] += 1
    print("\n".join(f"{count:6} {became}" for became, count in sorted(counts.items())))
    assert all(became.startswith("status") for became in counts)
    assert send(receiver.host, receiver.port, dicom_dataset(9)) in (0, 0xB007)
    assert "Traceback" not in caplog.text
    kept_as_they_were_sent(store)


def kept_as_they_were_sent(store: Store) -> None:
    """Every case has its file, whole, and the trail holds."""
    with reading(store.engine) as session:
        for case in session.query(Case):
            assert store.pictures.read_original(case.sha256)
        assert verify(session, store.trail).problems == ()
