"""A PostgreSQL of the tests' own, a clinic on either database, and cases in it without a model."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from dermsentry.clinic.audit_trail import Trail, open_trail
from dermsentry.clinic.database import migrate, open_database, writing
from dermsentry.clinic.folder import database_of
from dermsentry.clinic.intake import About, receive
from dermsentry.clinic.pictures import Pictures
from dermsentry.clinic.tables import Alert, Case, Delivery

DATABASES = ("sqlite", "postgresql")


def free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return int(own.getsockname()[1])


def wait_until(holds: Callable[[], object], seconds: float = 30.0, what: str = "it") -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.05)


@lru_cache(maxsize=1)
def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    return found[-1].parent if found else None


@dataclass(frozen=True)
class Cluster:
    """A running PostgreSQL on a loopback port, with a password."""

    folder: Path
    port: int
    password: str

    def database(self) -> str:
        """The address of a new, empty database."""
        name = f"clinic_{secrets.token_hex(6)}"
        with psycopg.connect(self._plain("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql+psycopg://clinic:{self.password}@127.0.0.1:{self.port}/{name}"

    def call(self, *arguments: str) -> None:
        """`pg_ctl` on this cluster."""
        programs = _programs()
        assert programs is not None
        _as_postgres(str(programs / "pg_ctl"), "-D", str(self.folder / "data"), "-w", *arguments)

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self.call("-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self.call("-m", "immediate", "stop")

    def _plain(self, name: str) -> str:
        return f"postgresql://clinic:{self.password}@127.0.0.1:{self.port}/{name}"


def _as_postgres(*command: str) -> None:
    # PostgreSQL refuses to run as root. Its output goes nowhere: a daemon would keep a pipe open.
    prefix = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    subprocess.run(
        [*prefix, *command], check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="dermsentry-postgres-"))
    cluster = Cluster(folder, free_port(), secrets.token_urlsafe(12))
    try:
        password = folder / "password"
        password.write_text(cluster.password)
        if os.getuid() == 0:
            who = pwd.getpwnam("postgres")
            for path in (folder, password):
                os.chown(path, who.pw_uid, who.pw_gid)
        plain = ("-U", "clinic", "-E", "UTF8", "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync")
        _as_postgres(str(programs / "initdb"), "-D", str(folder / "data"), *plain)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL of the module's own; skips where none is installed."""
    with running_cluster() as own:
        yield own


@dataclass(frozen=True)
class Place:
    """A clinic's folder and database, migrated."""

    folder: Path
    url: str
    engine: Engine
    trail: Trail
    pictures: Pictures

    def case(self, data: bytes, **about: str) -> int:
        """A case of these bytes, which need not be a photograph, behind a PNG's signature."""
        got = receive(
            self.engine,
            self.trail,
            self.pictures,
            b"\x89PNG\r\n\x1a\n" + data,
            About(**about),
            source="api",
            actor="someone",
        )
        return got.case_id

    def alert(self, case_id: int, *messages: tuple[str, str]) -> tuple[int, ...]:
        """An alert of a case and its messages, as (channel, address); their numbers."""
        with writing(self.engine) as session:
            case = session.get_one(Case, case_id)
            alert = Alert(case_id=case.id, rule=f"rule {secrets.token_hex(4)}")
            session.add(alert)
            session.flush()
            made = [Delivery(alert_id=alert.id, channel=channel, address=to) for channel, to in messages]
            session.add_all(made)
            session.flush()
            return tuple(one.id for one in made)


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A clinic without cases on SQLite, and on PostgreSQL."""
    folder = tmp_path / "clinic"
    folder.mkdir()
    sqlite = request.param == "sqlite"
    url = database_of(folder, None if sqlite else request.getfixturevalue("cluster").database())
    engine = open_database(url)
    migrate(engine)
    yield Place(folder, url, engine, open_trail(folder), Pictures(folder))
    engine.dispose()
