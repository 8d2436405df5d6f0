from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import lru_cache
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from dermsentry.clinic.roles import ROLES
from dermsentry.clinic.store import accounts, passwords
from dermsentry.clinic.store.accounts import (
    IDLE,
    MAY,
    SCOPES,
    SESSION,
    add_account,
    add_token,
    check_password,
    forget_old_sessions,
    has_accounts,
    person_of_cookie,
    person_of_token,
    seen,
    sign_in,
    sign_out,
    sign_out_everywhere,
)
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import Account, SignIn, Token, now
from dermsentry.errors import InputError

PASSWORD = "calm clinical garden"


@pytest.fixture
def anna(engine: Engine) -> int:
    with writing(engine) as session:
        return add_account(session, " Anna ", "Anna Müller", "dermatologist", PASSWORD).id


def test_an_account_signs_in_with_its_password_alone(engine: Engine, anna: int) -> None:
    with writing(engine) as session:
        assert has_accounts(session)
        found = check_password(session, "ANNA", PASSWORD)
        assert found is not None
        assert found.id == anna
        for name, password in (
            ("anna", "calm clinical garde"),
            ("ben", PASSWORD),
            ("", PASSWORD),
            ("an\0na", PASSWORD),
            ("anna", ""),
            ("anna", "x" * 10**6),
            ("anna", "lone \udcff surrogate"),
            ("\udcff", PASSWORD),
        ):
            assert check_password(session, name, password) is None
        kept = session.get_one(Account, anna).password_hash
    assert kept.startswith("$argon2id$")
    assert PASSWORD not in kept


def test_a_password_is_the_same_whichever_keyboard_wrote_it(engine: Engine) -> None:
    with writing(engine) as session:
        add_account(session, "ben", "Ben", "uploader", "schöne lange Wörter")
        assert check_password(session, "ben", "scho\u0308ne lange Wo\u0308rter") is not None


def test_a_closed_account_gets_nowhere(engine: Engine, anna: int) -> None:
    with writing(engine) as session:
        account = session.get_one(Account, anna)
        cookie, (_, secret) = sign_in(session, account), add_token(session, account, "pacs", ["cases:read"])
        session.flush()
        assert person_of_cookie(session, cookie) is not None
        assert person_of_token(session, secret) is not None
        account.active = False
        session.flush()
        assert check_password(session, "anna", PASSWORD) is None
        assert person_of_cookie(session, cookie) is None
        assert person_of_token(session, secret) is None


def test_an_account_that_cannot_be_is_refused(engine: Engine, anna: int) -> None:
    for name, full_name, role, password in (
        ("anna", "Another", "uploader", PASSWORD),
        ("", "Nobody", "uploader", PASSWORD),
        ("a b", "Spaces", "uploader", PASSWORD),
        ("-x", "Dash", "uploader", PASSWORD),
        ("x" * 81, "Long", "uploader", PASSWORD),
        ("ben", "Ben", "nurse", PASSWORD),
        ("ben", " \t\0", "uploader", PASSWORD),
        ("ben", "Ben", "uploader", "short"),
        ("ben", "Ben", "uploader", "x" * 201),
        ("ben", "Ben", "uploader", "password1234"),
        ("terminal", "Terminal", "uploader", PASSWORD),
    ):
        with writing(engine) as session:
            with pytest.raises(InputError):
                add_account(session, name, full_name, role, password)
            assert len(session.scalars(select(Account)).all()) == 1  # and the transaction goes on


def test_of_two_who_take_one_name_at_once_one_gets_it(engine: Engine) -> None:
    start, made, refused = threading.Barrier(4), [], []

    def make() -> None:
        start.wait()
        try:
            with writing(engine) as session:
                made.append(add_account(session, "anna", "Anna", "uploader", PASSWORD).id)
        except InputError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 3)


def test_a_session_ends_by_signing_out_idling_and_in_time(
    engine: Engine, anna: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(engine) as session:
        account = session.get_one(Account, anna)
        cookie, other = sign_in(session, account), sign_in(session, account)
        session.flush()
        person = person_of_cookie(session, cookie)
        assert person is not None
        assert (person.account_id, person.role) == (anna, "dermatologist")
        assert person.may == MAY["dermatologist"]
        assert len(person.csrf) > 30
        assert person.signed_in_at is not None
        assert session.get(SignIn, cookie) is None  # the cookie itself is kept nowhere
        sign_out(session, cookie)
        assert person_of_cookie(session, cookie) is None
        assert person_of_cookie(session, other) is not None
        begun = now()
        for passed, here in ((IDLE - timedelta(minutes=1), True), (IDLE, False)):
            monkeypatch.setattr(accounts, "now", lambda passed=passed: begun + passed)
            assert (person_of_cookie(session, other) is not None) is here
        monkeypatch.setattr(accounts, "now", lambda: begun + SESSION - timedelta(minutes=1))
        seen(session, other)
        session.flush()
        assert person_of_cookie(session, other) is not None
        monkeypatch.setattr(accounts, "now", lambda: begun + SESSION + timedelta(minutes=1))
        assert person_of_cookie(session, other) is None
        forget_old_sessions(session)
        assert session.scalars(select(SignIn)).all() == []


def test_signing_out_everywhere_ends_every_session(engine: Engine, anna: int) -> None:
    with writing(engine) as session:
        cookies = [sign_in(session, session.get_one(Account, anna)) for _ in range(3)]
        session.flush()
        sign_out_everywhere(session, anna)
        assert [person_of_cookie(session, cookie) for cookie in cookies] == [None] * 3


def test_a_token_never_reaches_further_than_its_owner(engine: Engine) -> None:
    with writing(engine) as session:
        for role in ROLES:
            account = add_account(session, role, role, role, PASSWORD)
            for scope in SCOPES:
                if scope in MAY[role]:
                    token, secret = add_token(session, account, "x", [scope, scope])
                    person = person_of_token(session, secret)
                    assert person is not None
                    assert person.may == {scope}
                    assert secret not in (token.secret_hash, token.label)
                else:
                    with pytest.raises(InputError, match="does not reach"):
                        add_token(session, account, "x", [scope])
        _, secret = add_token(session, account, "all", SCOPES)
        account.role = "uploader"
        session.flush()
        person = person_of_token(session, secret)
        assert person is not None
        assert person.may == {"cases:write"}


def test_a_token_ends_when_revoked_or_run_out(engine: Engine, anna: int) -> None:
    with writing(engine) as session:
        account = session.get_one(Account, anna)
        _, old = add_token(session, account, "old", ["cases:read"], now() - timedelta(seconds=1))
        token, secret = add_token(session, account, "new", ["cases:read"], now() + timedelta(hours=1))
        assert person_of_token(session, old) is None
        assert person_of_token(session, secret) is not None
        token.revoked_at = now()
        session.flush()
        assert person_of_token(session, secret) is None
        for wrong in ("", "ds_", secret[:-1], "\udcff", "\0"):
            assert person_of_token(session, wrong) is None
        for label, scopes in (("", ["cases:read"]), ("x", []), ("x", ["cases:delete"])):
            with pytest.raises(InputError):
                add_token(session, account, label, scopes)
        assert len(session.scalars(select(Token)).all()) == 2


@examples(max_examples=30)
@given(name=st.text(max_size=90))
def test_no_name_reaches_the_database_that_it_would_refuse(name: str) -> None:
    folded = name.strip().casefold()
    if accounts._NAME.fullmatch(folded):
        assert folded.isascii()
        assert len(folded) <= 80


def test_nobody_is_there_before_the_first_account(engine: Engine) -> None:
    with reading(engine) as session:
        assert not has_accounts(session)


def test_few_hashes_are_made_at_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def slow(*_: object) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1

    monkeypatch.setattr(passwords, "_hasher", SimpleNamespace(verify=slow, hash=slow))
    monkeypatch.setattr(passwords, "_nobody", lru_cache(passwords._nobody.__wrapped__))  # as in a new process

    def check(number: int) -> None:
        with reading(engine) as session:
            check_password(session, f"made up {number}", "password")

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(check, range(12)))
    assert 1 < most <= 4
