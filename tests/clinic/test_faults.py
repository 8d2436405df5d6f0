"""Processes are killed in the middle of uploads: no case is lost, none is doubled, the chain stays whole."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from PIL import Image
from sqlalchemy import Engine, select

from bundles import lesion, tiny_bundle
from clinic.a_server import Server, server
from clinic.running_fixtures import DATABASES, cluster, wait_until
from dermsentry.clinic.audit_trail import open_trail, verify
from dermsentry.clinic.database import open_database, reading
from dermsentry.clinic.folder import database_of
from dermsentry.clinic.pictures import Pictures
from dermsentry.clinic.tables import Alert, Case, Event, Job

__all__ = ["cluster"]


def photograph(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(lesion(80 + number * 7 % 120, seed=number)).save(buffer, "PNG")
    return buffer.getvalue()


class Uploader:
    """Sends photographs one after the other, each again until the server says that it is kept."""

    def __init__(self, address: str, photographs: list[bytes]) -> None:
        self.address, self.photographs = address, photographs
        self.accepted: list[int] = []
        self.tries = 0
        self.thread = threading.Thread(target=self._send_all, daemon=True)

    def _send_all(self) -> None:
        with httpx.Client(timeout=60) as client:
            for data in self.photographs:
                while True:
                    self.tries += 1
                    try:
                        answer = client.post(f"{self.address}/api/cases", content=data)
                    except httpx.HTTPError:
                        time.sleep(0.1)
                        continue
                    if answer.status_code == 200:
                        self.accepted.append(answer.json()["case"])
                        break


def kill_one(running: Server, engine: Engine, which: str) -> None:
    """kill -9, at a moment when a photograph is being screened where there is one."""
    wait_until(lambda: running.workers(), 240, "a worker")
    end = time.monotonic() + 5
    while time.monotonic() < end:
        with reading(engine) as session:
            if session.scalar(select(Job.id).where(Job.state == "leased").limit(1)):
                break
    if which == "worker":
        for pid in running.workers():
            os.kill(pid, signal.SIGKILL)
        return
    running.end(signal.SIGKILL)
    running.start()


def kill_in_the_middle(tmp_path: Path, url: str, uploads: int, kills: int) -> None:
    folder = tmp_path / "clinic"
    tiny_bundle(tmp_path / "bundle")
    photographs = [photograph(number) for number in range(uploads)]
    url = database_of(folder, url or None)
    with server(folder, "--db", url, "--model", str(tmp_path / "bundle")) as running:
        running.start()
        engine = open_database(url)
        uploader = Uploader(running.address, photographs)
        uploader.thread.start()
        for number in range(kills):
            due = (number + 1) * uploads // (kills + 1)
            wait_until(lambda due=due: len(uploader.accepted) >= due, 300, "uploading")  # type: ignore[misc]
            kill_one(running, engine, ("worker", "server")[number % 2])
        uploader.thread.join(400)
        assert not uploader.thread.is_alive()

        def waiting() -> int:
            with reading(engine) as session:
                return len(session.scalars(select(Case.id).where(Case.state == "waiting")).all())

        wait_until(lambda: waiting() == 0, 400, "screening")
        words = running.words()
        assert running.end() == 0, words
        assert "Traceback" not in words, words
        everything_is_there_once(engine, folder, photographs, uploader.accepted)
        engine.dispose()


def everything_is_there_once(engine: Engine, folder: Path, sent: list[bytes], accepted: list[int]) -> None:
    pictures = Pictures(folder)
    with reading(engine) as session:
        cases = session.scalars(select(Case).order_by(Case.id)).all()
        assert Counter(case.sha256 for case in cases) == Counter(hashlib.sha256(d).hexdigest() for d in sent)
        by_id = {case.id: case for case in cases}
        for number, data in zip(accepted, sent, strict=True):
            assert by_id[number].sha256 == hashlib.sha256(data).hexdigest()
        assert Counter((case.state, case.tier == "unreadable") for case in cases) == {
            ("screened", False): len(sent)
        }
        assert set(session.scalars(select(Job.state))) <= {"done"}
        assert all(pictures.read_original(case.sha256) for case in cases)
        assert all(pictures.drawn(case.sha256, "view").is_file() for case in cases)
        events = Counter((event.action, event.subject) for event in session.scalars(select(Event)))
        for case in cases:
            assert events["received", f"case {case.id}"] == 1
            assert events["screened", f"case {case.id}"] == 1
        alerts = Counter(session.scalars(select(Alert.case_id)))
        assert alerts == {case.id: 1 for case in cases if case.tier == "alert"}
        assert alerts, "some of the photographs are to be alerts"
        assert verify(session, open_trail(folder)).problems == ()


@pytest.mark.parametrize("kind", DATABASES)
def test_a_few_kills_lose_and_double_nothing(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = "" if kind == "sqlite" else request.getfixturevalue("cluster").database()
    kill_in_the_middle(tmp_path, url, uploads=30, kills=4)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("DERMSENTRY_FAULTS"), reason="many minutes: set DERMSENTRY_FAULTS=1")
@pytest.mark.parametrize("kind", DATABASES)
def test_twenty_kills_in_three_hundred_uploads_lose_and_double_nothing(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = "" if kind == "sqlite" else request.getfixturevalue("cluster").database()
    kill_in_the_middle(tmp_path, url, uploads=300, kills=20)
