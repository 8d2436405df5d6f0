"""What every test of the clinic can ask for: a database of each kind, an audit trail, people, cases."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from bundles import tiny_card
from clinic.cases import screened
from clinic.filled_store import Store, open_store
from clinic.postgresql import Cluster, running_cluster
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.accounts import MAY, Person
from dermsentry.clinic.store.audit_trail import Trail, open_trail
from dermsentry.clinic.store.database import migrate, open_database, writing
from dermsentry.clinic.store.folder import database_of
from dermsentry.clinic.store.pictures import Pictures
from dermsentry.clinic.store.tables import Account, Model, now
from dermsentry.files import plain

KINDS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """A PostgreSQL of this run's own; skips where none is installed. A test that stops one begins its own."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database with its tables, to be copied."""
    path = tmp_path_factory.mktemp("empty") / "clinic.sqlite"
    opened = open_database(f"sqlite:///{path}")
    migrate(opened)
    opened.dispose()
    return path


@pytest.fixture(params=KINDS)
def database_kind(request: pytest.FixtureRequest) -> str:
    """Each kind of database in turn; where the kind says nothing, a module has its own."""
    return str(request.param)


@pytest.fixture
def database_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database, of each kind in turn."""
    if database_kind == "sqlite":
        yield database_of(tmp_path, None)
        return
    cluster: Cluster = request.getfixturevalue("postgresql")
    url = cluster.database()
    yield url
    cluster.drop(url)


@contextmanager
def _migrated(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    if kind == "sqlite":
        shutil.copy(request.getfixturevalue("empty_database"), folder / "clinic.sqlite")
        yield database_of(folder, None)
        return
    cluster: Cluster = request.getfixturevalue("postgresql")
    url = cluster.migrated()
    yield url
    cluster.give_back(url)


@pytest.fixture
def engine(database_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A database with its tables, of each kind in turn."""
    with _migrated(database_kind, tmp_path, request) as url:
        opened = open_database(url)
        yield opened
        opened.dispose()


@pytest.fixture
def store(database_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A clinic without cases, on each kind of database in turn."""
    folder = tmp_path / "clinic"
    folder.mkdir()
    with _migrated(database_kind, folder, request) as url:
        opened = open_store(folder, url)
        yield opened
        opened.engine.dispose()


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    """The audit trail of a data folder of the test's own."""
    return open_trail(tmp_path)


@pytest.fixture
def clinic(engine: Engine, trail: Trail, tmp_path: Path) -> Clinic:
    """A clinic without cases, with the default settings."""
    return Clinic(engine, trail, Pictures(tmp_path), Settings())


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
                session.add(Model(digest=case.model_digest, name=card.name, card=plain(card)))
                session.flush()
            session.add(case)
            session.flush()
            return case.id

    return make
