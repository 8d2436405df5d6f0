"""`dermsentry serve` as a process: begun, sent photographs, ended in whatever way, begun again."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from PIL import Image
from sqlalchemy import Engine

from bundles import lesion
from clinic.waiting import free_port, wait_until
from dermsentry.clinic.store.accounts import add_account, add_token
from dermsentry.clinic.store.database import writing

PASSWORD = "several words to keep"


@dataclass
class Server:
    """How to begin it; `process` while it runs. What it says goes to `told`."""

    arguments: list[str]
    environment: dict[str, str]
    port: int
    told: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True) -> None:
        before = self.words().count("Serving ")
        with self.told.open("ab") as told:
            command = [sys.executable, "-m", "dermsentry.cli", "serve", *self.arguments]
            self.process = subprocess.Popen(
                command, env=self.environment, stdout=told, stderr=told, start_new_session=True
            )
        if wait:
            wait_until(
                lambda: self.words().count("Serving ") > before or self.code() is not None, 240, "a start"
            )
            assert self.code() is None, self.words()

    def words(self) -> str:
        return self.told.read_text() if self.told.exists() else ""

    def code(self) -> int | None:
        assert self.process is not None
        return self.process.poll()

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = 120) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def processes(self) -> list[int]:
        """The processes that the server began."""
        assert self.process is not None
        return children(self.process.pid)

    def workers(self) -> list[int]:
        """Those of them that have a process to decode in."""
        return [
            pid
            for pid in self.processes()
            if any(b"clinic.worker.screener" in line_of(c) for c in children(pid))
        ]

    def first_token(self) -> str:
        """What the first account is made with, empty where nothing was said of it."""
        found = re.search(r"Make the first at \S+ with: (\S+)", self.words())
        return found[1] if found else ""


def add_sender(engine: Engine) -> str:
    """The token of a new account, which may send photographs."""
    with writing(engine) as session:
        account = add_account(session, "camera", "The Camera", "uploader", PASSWORD)
        return add_token(session, account, "for a test", ["cases:write"])[1]


def send(address: str, token: str, photograph: bytes, **about: str) -> httpx.Response:
    """The answer to a photograph and what is said of it: 201 where it is new, 200 where it came before."""
    return httpx.post(
        f"{address}/api/cases",
        files={"photographs": ("photograph.png", photograph, "image/png")},
        data=about,
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    )


def case_of(answer: httpx.Response) -> int:
    """The number of the case that the photograph became, or had become."""
    (one,) = answer.json()["photographs"]
    assert one["new"] is (answer.status_code == 201)
    return int(one["case"])


def photograph(number: int) -> bytes:
    """A file of its own for each number; some of them are alerts."""
    buffer = io.BytesIO()
    Image.fromarray(lesion(80 + number * 7 % 120, seed=number)).save(buffer, "PNG")
    return buffer.getvalue()


def children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def line_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@contextmanager
def server(
    folder: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """A server of a data folder, not begun yet; killed with all it began where it still runs at the end."""
    port = free_port()
    with tempfile.TemporaryDirectory() as place:
        own = {name: value for name, value in os.environ.items() if not name.startswith("DERMSENTRY_")}
        own |= {"DERMSENTRY_HOME": str(folder), **(environment or {})}
        made = Server(["--port", str(port), *arguments], own, port, Path(place) / "told")
        try:
            yield made
        finally:
            if made.process is not None and made.process.poll() is None:
                began = made.processes()
                made.process.kill()
                made.process.wait()
                wait_until(lambda: not any(line_of(pid) for pid in began), 120, "the end of its processes")
