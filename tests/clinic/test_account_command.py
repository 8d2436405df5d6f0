"""`dermsentry account`: what an administrator of the machine does when nobody can sign in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyotp
import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from dermsentry.cli import app
from dermsentry.clinic.clinic import Clinic, open_clinic
from dermsentry.clinic.store.accounts import (
    add_account,
    add_openid_account,
    check_password,
    person_of_cookie,
    sign_in,
)
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import migrate, reading, writing
from dermsentry.clinic.store.folder import database_of
from dermsentry.clinic.store.second_factor import new_secret, set_up
from dermsentry.clinic.store.tables import Account, Event, now
from dermsentry.errors import InputError

PASSWORD, OTHER = "several words to keep", "others that nobody has"


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clinic:
    """A clinic with the administrator ada, who has a second factor, and the provider's peter."""
    monkeypatch.setenv("DERMSENTRY_HOME", str(tmp_path))
    made = open_clinic(database_of(tmp_path, None), tmp_path)
    migrate(made.engine)
    secret = new_secret()
    with writing(made.engine) as session:
        ada = add_account(session, "ada", "Ada", "administrator", PASSWORD)
        set_up(session, made.trail, ada, secret, pyotp.TOTP(secret).at(now()))
        add_openid_account(session, "https://id.example", "p1", "peter", "Peter", "dermatologist")
    return made


def run(*arguments: str, says: str = "") -> Any:
    return CliRunner().invoke(app, ["account", *arguments], input=says)


def told(clinic: Clinic) -> list[tuple[str, str, str]]:
    with reading(clinic.engine) as session:
        assert verify(session, clinic.trail).problems == ()
        events = session.scalars(select(Event).order_by(Event.id))
        return [(event.actor, event.action, event.subject) for event in events]


def test_an_account_is_added_with_a_password_to_be_changed(clinic: Clinic) -> None:
    made = run("add", "Dora", "--full-name", "Dr Dora", "--role", "dermatologist", says=f"{OTHER}\n{OTHER}\n")
    assert made.exit_code == 0, made.output
    assert OTHER not in made.output
    with writing(clinic.engine) as session:
        dora = check_password(session, "dora", OTHER)
        assert dora is not None
        person = person_of_cookie(session, sign_in(session, dora))
        assert person is not None
        assert (person.due, person.may) == ("password", frozenset())
    assert told(clinic) == [("terminal", "account added", "account dora")]


@pytest.mark.parametrize(
    ("arguments", "says", "why"),
    [
        (
            ("add", "dora", "--full-name", "D", "--role", "dermatologist"),
            "password1234",
            "very common password",
        ),
        (("add", "ada", "--full-name", "D", "--role", "uploader"), OTHER, "already"),
        (("add", "terminal", "--full-name", "D", "--role", "uploader"), OTHER, "audit trail"),
        (("password", "ada"), "short", "5 characters"),
        (("password", "nobody"), OTHER, "no account nobody"),
        (("password", "peter"), OTHER, "through a provider"),
        (("reset-second-factor", "peter"), "", "no second factor"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(
    clinic: Clinic, arguments: tuple[str, ...], says: str, why: str
) -> None:
    refused = run(*arguments, says=f"{says}\n{says}\n")
    assert isinstance(refused.exception, InputError)
    assert why in str(refused.exception)
    assert told(clinic) == []


def test_a_forgotten_password_is_replaced_and_sessions_end(clinic: Clinic) -> None:
    with writing(clinic.engine) as session:
        cookie = sign_in(session, session.scalars(select(Account).where(Account.name == "ada")).one())
    assert run("password", "ADA", says=f"{OTHER}\n{OTHER}\n").exit_code == 0
    with reading(clinic.engine) as session:
        assert check_password(session, "ada", PASSWORD) is None
        ada = check_password(session, "ada", OTHER)
        assert ada is not None
        assert ada.password_given
        assert person_of_cookie(session, cookie) is None
    assert told(clinic) == [("terminal", "password given", "account ada")]


def test_a_lost_phone_is_reset(clinic: Clinic) -> None:
    listed = run("list").stdout.splitlines()
    assert listed == [
        "ada: Ada, administrator, password, second factor",
        "peter: Peter, dermatologist, OpenID Connect",
    ]
    assert run("reset-second-factor", "ada").exit_code == 0
    assert run("list").stdout.splitlines()[0] == "ada: Ada, administrator, password"
    assert told(clinic) == [("terminal", "second factor reset", "account ada")]


def test_a_database_of_another_version_is_said_to_be_one(clinic: Clinic) -> None:
    with clinic.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0011'")
    refused = run("list")
    assert isinstance(refused.exception, InputError)
    assert "serve the clinic once" in str(refused.exception)
