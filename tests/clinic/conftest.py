"""What every test of the clinic can ask for: a database of each kind, an audit trail, people, cases."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from bundles import tiny_card
from clinic_cases import screened
from dermsentry.clinic.accounts import MAY, Person
from dermsentry.clinic.audit_trail import Trail, open_trail
from dermsentry.clinic.database import migrate, open_database, writing
from dermsentry.clinic.tables import Account, Model, now

KINDS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The address of a PostgreSQL cluster of this run's own, less the database's name."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb")
    if not homes and found is None:
        pytest.skip("PostgreSQL is not installed")
    programs = (homes[-1] if homes else Path(str(found))).parent
    as_user: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if os.geteuid() == 0:  # it refuses to run as root
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL runs as nobody's root, and there is no user postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"

    def call(program: str, *arguments: str) -> None:
        subprocess.run(
            [str(programs / program), *arguments],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            **as_user,
        )

    call("initdb", "-D", str(data), "-U", "clinic", "-A", "trust", "-E", "UTF8", "--no-sync")
    call("pg_ctl", "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        yield f"postgresql+psycopg://clinic@127.0.0.1:{port}"
    finally:
        call("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/clinic.sqlite"
        return
    server = request.getfixturevalue("postgresql_server")
    name = f"c{uuid.uuid4().hex}"
    control = open_database(f"{server}/postgres").execution_options(isolation_level="AUTOCOMMIT")
    with control.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield f"{server}/{name}"
    with control.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    control.dispose()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A database with its tables, of each kind in turn."""
    opened = open_database(database_url)
    migrate(opened)
    yield opened
    opened.dispose()


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    """The audit trail of a data folder of the test's own."""
    return open_trail(tmp_path)


@pytest.fixture
def person(engine: Engine) -> Callable[..., Person]:
    """Makes an account, and gives who asks by it: `person("anna")`, `person("uli", "uploader")`."""

    def make(name: str = "anna", role: str = "dermatologist", *, ago: timedelta = timedelta(0)) -> Person:
        with writing(engine) as session:
            account = Account(name=name, full_name=name.title(), role=role, password_hash="-")
            session.add(account)
            session.flush()
            return Person(account.id, name, account.full_name, role, MAY[role], "csrf", now() - ago)

    return make


@pytest.fixture
def add_case(engine: Engine) -> Callable[..., int]:
    """Makes a screened case: `add_case("alert", 0.7, patient="P1")`; its number."""

    def make(tier: str = "alert", melanoma: float | None = 0.7, **fields: Any) -> int:
        with writing(engine) as session:
            case = screened(tier, melanoma, **fields)
            if case.model_digest is not None and session.get(Model, case.model_digest) is None:
                card = tiny_card()
                session.add(Model(digest=case.model_digest, name=card.name, card=card.as_dict()))
                session.flush()
            session.add(case)
            session.flush()
            return case.id

    return make
