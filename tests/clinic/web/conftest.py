"""A clinic with its app, and people who are signed in or hold a token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select

from bundles import tiny_bundle
from clinic.cases import photograph
from clinic.web_app import FIRST_TOKEN, client
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.accounts import MAY, SCOPES, add_token, sign_in
from dermsentry.clinic.store.audit_trail import Trail
from dermsentry.clinic.store.database import writing
from dermsentry.clinic.store.pictures import Pictures
from dermsentry.clinic.store.tables import Account, SignIn
from dermsentry.clinic.web.app import bind, create_app
from dermsentry.clinic.web.security import COOKIE
from dermsentry.files import write_bytes


@pytest.fixture
def database_kind() -> str:
    """SQLite: what differs between databases is tested with the store."""
    return "sqlite"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model's folder."""
    folder = tmp_path_factory.mktemp("web") / "tiny"
    tiny_bundle(folder)
    return folder


@pytest.fixture
def settings() -> Settings:
    """The defaults; a test module may have its own."""
    return Settings()


@pytest.fixture
def clinic(engine: Engine, trail: Trail, tmp_path: Path, bundle: Path, settings: Settings) -> ServedClinic:
    """A clinic without accounts."""
    from dermsentry.model import read_network

    card, _ = read_network(bundle)
    return ServedClinic(engine, trail, Pictures(tmp_path), settings, bundle, card, FIRST_TOKEN)


@pytest.fixture(scope="session")
def built() -> FastAPI:
    """An app without its clinic: to build its routes takes longer than most tests of them."""
    return create_app(cast(ServedClinic, None))


@pytest.fixture
def app(built: FastAPI, clinic: ServedClinic) -> FastAPI:
    """The clinic's app, as nobody has used it yet."""
    bind(built, clinic)
    return built


@pytest.fixture
def nobody(app: FastAPI) -> TestClient:
    """A browser that is not signed in; it shows what a server's fault looks like."""
    return client(app)


@pytest.fixture
def browser(app: FastAPI, engine: Engine) -> Callable[..., TestClient]:
    """A signed-in browser that sends its CSRF number: `browser("uploader")`, `browser("uploader", "uli")`."""

    def make(role: str = "dermatologist", name: str = "") -> TestClient:
        with writing(engine) as session:
            account = _account(session, role, name)
            secret = sign_in(session, account)
            session.flush()
            csrf = session.scalars(
                select(SignIn.csrf).where(SignIn.account_id == account.id).order_by(SignIn.created_at.desc())
            ).first()
        made = client(app, **{"x-csrf-token": str(csrf)})
        made.cookies.set(COOKIE, secret)
        return made

    return make


@pytest.fixture
def program(app: FastAPI, engine: Engine) -> Callable[..., TestClient]:
    """A program with a token: `program("dermatologist")` with all scopes of the role, or some."""

    def make(role: str = "administrator", *scopes: str, name: str = "") -> TestClient:
        with writing(engine) as session:
            account = _account(session, role, name)
            wanted = scopes or [scope for scope in SCOPES if scope in MAY[role]]
            _, secret = add_token(session, account, "for a test", wanted)
        return TestClient(
            app,
            headers={"authorization": f"Bearer {secret}", "accept": "application/json"},
            raise_server_exceptions=False,
        )

    return make


def _account(session: Any, role: str, name: str) -> Account:
    name = name or role
    found = session.scalar(select(Account).where(Account.name == name))
    if found is None:
        found = Account(name=name, full_name=name.title(), role=role, password_hash="-")
        session.add(found)
        session.flush()
    assert isinstance(found, Account)
    return found


@pytest.fixture
def draw(clinic: ServedClinic) -> Callable[[str], None]:
    """Puts drawn pictures of a photograph where the worker would: `draw(sha256)`."""

    def put(sha256: str) -> None:
        for kind in ("view", "thumbnail"):
            write_bytes(clinic.pictures.drawn(sha256, kind), photograph())  # type: ignore[arg-type]
        write_bytes(clinic.pictures.drawn(sha256, "saliency"), photograph(kind="PNG", size=(64, 64)))

    return put
