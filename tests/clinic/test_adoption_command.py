"""`dermsentry adoption`: proposed, accepted with a password, withdrawn."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from bundles import tiny_bundle
from clinic.cases import with_outcomes
from dermsentry.cli import app
from dermsentry.clinic.clinic import open_clinic
from dermsentry.clinic.store.accounts import add_account
from dermsentry.clinic.store.database import migrate, writing
from dermsentry.clinic.store.folder import database_of
from dermsentry.clinic.store.second_factor import new_secret, set_up
from dermsentry.clinic.store.tables import Account, Event, now
from dermsentry.clinic.worker.worker import register
from dermsentry.errors import InputError

PASSWORD = "several words to keep"
SHARES = ("--sensitivity", "0.8", "--confidence", "0.8")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with 80 outcomes, the administrator ada and the dermatologist rita."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("DERMSENTRY_HOME", str(folder))
    bundle = tiny_bundle(tmp_path / "tiny")
    clinic = open_clinic(database_of(folder, None), folder)
    migrate(clinic.engine)
    with writing(clinic.engine) as session:
        register(session, bundle.card)
        add_account(session, "ada", "Ada", "administrator", PASSWORD)
        add_account(session, "rita", "Rita", "dermatologist", PASSWORD)
    with_outcomes(clinic.engine, bundle.card.digest)
    clinic.close()
    return tmp_path


def run(home: Path, *arguments: str, says: str = "") -> Any:
    command = ["adoption", *arguments, "--model", str(home / "tiny")]
    return CliRunner().invoke(app, command, input=says)


def test_it_is_proposed_accepted_and_withdrawn(home: Path) -> None:
    proposed = run(home, "propose", *SHARES)
    assert proposed.exit_code == 0, proposed.output
    assert proposed.stdout.startswith("With 80 % confidence")
    assert "melanoma sensitivity" in proposed.stdout
    made = run(home, "accept", "--account", "ada", "--rarer", *SHARES, says=f"{PASSWORD}\n")
    assert made.exit_code == 0, made.output
    assert "In use from now on: tiny (site)" in made.stderr
    assert len(list((home / "home" / "models").iterdir())) == 1
    back = run(home, "withdraw", "--account", "ada", says=f"{PASSWORD}\n")
    assert "In use from now on: tiny " in back.stderr


def test_too_few_melanomas_have_their_exit_code(home: Path) -> None:
    for arguments, says in ((("propose",), ""), (("accept", "--account", "ada"), f"{PASSWORD}\n")):
        refused = run(home, *arguments, says=says)
        assert refused.exit_code == 8
        assert "39 more needed" in refused.stderr


def test_only_an_administrator_with_the_password_may(home: Path) -> None:
    for name, password, told in (
        ("ada", "wrong", "wrong password"),
        ("rita", PASSWORD, "Only administrators"),
    ):
        refused = run(home, "accept", "--account", name, "--rarer", *SHARES, says=f"{password}\n")
        assert isinstance(refused.exception, InputError)
        assert told in str(refused.exception)


def test_who_has_a_second_factor_is_asked_for_it_and_a_first_password_is_not_enough(home: Path) -> None:
    folder = home / "home"
    clinic = open_clinic(database_of(folder, None), folder)
    secret = new_secret()
    with writing(clinic.engine) as session:
        ada = session.scalars(select(Account).where(Account.name == "ada")).one()
        set_up(session, clinic.trail, ada, secret, pyotp.TOTP(secret).at(now() - timedelta(seconds=30)))
    accept = ("accept", "--account", "ada", "--rarer", *SHARES)
    refused = run(home, *accept, says=f"{PASSWORD}\n000000\n")
    assert "wrong code" in str(refused.exception)
    code = pyotp.TOTP(secret).at(now())
    assert run(home, *accept, says=f"{PASSWORD}\n{code}\n").exit_code == 0
    assert "wrong code" in str(
        run(home, "withdraw", "--account", "ada", says=f"{PASSWORD}\n{code}\n").exception
    )
    with writing(clinic.engine) as session:
        ada = session.scalars(select(Account).where(Account.name == "ada")).one()
        ada.password_given = True
        assert session.scalars(select(Event.action)).all().count("second factor refused") == 2
    clinic.close()
    refused = run(home, "withdraw", "--account", "ada", says=f"{PASSWORD}\n{code}\n")
    assert "must choose a password" in str(refused.exception)
