"""The first visit, signing in and out, passwords."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select, update

from clinic.web_app import FIRST_TOKEN, PASSWORD, client, shown
from dermsentry.clinic.store.accounts import add_account
from dermsentry.clinic.store.audit_trail import Trail, verify
from dermsentry.clinic.store.database import DatabaseError, reading, writing
from dermsentry.clinic.store.tables import Account, Event, SignIn
from dermsentry.clinic.web.attempts import ATTEMPTS, ATTEMPTS_OF_ADDRESS
from dermsentry.clinic.web.security import COOKIE

Maker = Callable[..., TestClient]
FIRST = {
    "token": FIRST_TOKEN,
    "name": "Anna",
    "full_name": "Dr Anna Berg",
    "password": PASSWORD,
    "again": PASSWORD,
}


def number_of(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def visit(app: FastAPI, path: str = "/first-visit") -> TestClient:
    who = client(app)
    who.headers["x-csrf-token"] = number_of(who.get(path).text)
    return who


@pytest.fixture
def anna(engine: Engine) -> int:
    with writing(engine) as session:
        return add_account(session, "anna", "Dr Anna Berg", "dermatologist", PASSWORD).id


def test_the_first_visit_makes_an_administrator_and_signs_in(
    app: FastAPI, engine: Engine, trail: Trail
) -> None:
    who = client(app)
    assert who.get("/").headers["location"] == "/sign-in"
    assert who.get("/sign-in").headers["location"] == "/first-visit"
    page = who.get(f"/first-visit?token={FIRST_TOKEN}")
    assert len(shown(page).select(f"#token[value='{FIRST_TOKEN}']")) == 1
    answer = who.post("/first-visit", data={**FIRST, "csrf": number_of(page.text)})
    assert answer.status_code == 303
    assert who.get("/accounts").status_code == 200
    with reading(engine) as session:
        account = session.scalars(select(Account)).one()
        assert (account.name, account.role) == ("anna", "administrator")
        assert account.password_hash.startswith("$argon2id$")
        assert verify(session, trail).problems == ()


def test_the_first_visit_happens_once(app: FastAPI, engine: Engine, anna: int) -> None:
    who = client(app)
    assert who.get("/first-visit").headers["location"] == "/sign-in"
    who.headers["x-csrf-token"] = number_of(who.get("/sign-in").text)
    answer = who.post("/first-visit", data=FIRST | {"name": "eve"})
    assert answer.status_code == 422
    assert len(shown(answer).select(".problem")) == 1
    with reading(engine) as session:
        assert session.scalars(select(Account.name)).all() == ["anna"]


@pytest.mark.parametrize(
    ("wrong", "status", "words"),
    [
        ({"token": "guess"}, 403, "token"),
        ({"token": ""}, 403, "token"),
        ({"again": "another password"}, 422, "passwords"),
        ({"password": "short", "again": "short"}, 422, "12"),
        ({"name": "no spaces please"}, 422, "account name"),
        ({"full_name": " "}, 422, "full name"),
    ],
)
def test_a_first_visit_that_cannot_be_used_keeps_what_was_typed(
    app: FastAPI, engine: Engine, wrong: dict[str, str], status: int, words: str
) -> None:
    answer = visit(app).post("/first-visit", data=FIRST | wrong)
    assert answer.status_code == status
    page = shown(answer)
    assert words in page.select_one(".problem").get_text()
    assert page.select_one("#name")["value"] == (FIRST | wrong)["name"]
    assert PASSWORD not in answer.text
    with reading(engine) as session:
        assert session.scalars(select(Account)).all() == []


def test_the_first_token_cannot_be_guessed_for_long(app: FastAPI) -> None:
    who = visit(app)
    for _ in range(ATTEMPTS_OF_ADDRESS):
        assert who.post("/first-visit", data=FIRST | {"token": "guess"}).status_code == 403
    assert who.post("/first-visit", data=FIRST).status_code == 429


def test_signing_in_leads_where_one_wanted_to_go(app: FastAPI, anna: int, engine: Engine) -> None:
    who = visit(app, "/sign-in?next=/alerts")
    answer = who.post("/sign-in", data={"name": " ANNA ", "password": PASSWORD, "next": "/alerts"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/alerts")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie
    assert who.get("/alerts").status_code == 200
    assert who.get("/sign-in?next=//elsewhere.example").headers["location"] == "/"
    with reading(engine) as session:
        assert [event.action for event in session.scalars(select(Event))] == ["signed in"]


def test_over_https_the_cookie_is_for_https(app: FastAPI, anna: int) -> None:
    who = visit(app, "/sign-in")
    who.base_url = "https://testserver"
    who.headers["x-csrf-token"] = number_of(who.get("/sign-in").text)
    answer = who.post("/sign-in", data={"name": "anna", "password": PASSWORD})
    assert "secure" in answer.headers["set-cookie"].lower()


def test_a_wrong_password_and_a_wrong_name_sound_the_same(app: FastAPI, anna: int, engine: Engine) -> None:
    who = visit(app, "/sign-in")
    texts = []
    for name in ("anna", "nobody"):
        answer = who.post("/sign-in", data={"name": name, "password": "not this one!"})
        assert answer.status_code == 401
        assert "not this one" not in answer.text
        texts.append(re.sub(r'value="[^"]*"', "", answer.text))
    assert texts[0] == texts[1]
    with reading(engine) as session:
        events = session.scalars(select(Event)).all()
        assert [(event.action, event.subject) for event in events] == [("sign-in refused", "account anna")]
        assert session.scalars(select(SignIn)).all() == []


def test_too_many_attempts_are_stopped_even_with_the_right_password(app: FastAPI, anna: int) -> None:
    who = visit(app, "/sign-in")
    for _ in range(ATTEMPTS):
        assert who.post("/sign-in", data={"name": "anna", "password": "wrong"}).status_code == 401
    answer = who.post("/sign-in", data={"name": "anna", "password": PASSWORD})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 300
    assert who.post("/sign-in", data={"name": "bea", "password": PASSWORD}).status_code == 401


def test_many_names_from_one_address_are_stopped_too(
    app: FastAPI, anna: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dermsentry.clinic.web.pages.sign_in.check_password", lambda *_: None)
    who = visit(app, "/sign-in")
    for i in range(ATTEMPTS_OF_ADDRESS):
        assert who.post("/sign-in", data={"name": f"n{i}", "password": "x"}).status_code == 401
    assert who.post("/sign-in", data={"name": "anna", "password": PASSWORD}).status_code == 429


def test_a_closed_account_cannot_sign_in(app: FastAPI, anna: int, engine: Engine) -> None:
    with writing(engine) as session:
        session.execute(update(Account).values(active=False))
    answer = visit(app, "/sign-in").post("/sign-in", data={"name": "anna", "password": PASSWORD})
    assert answer.status_code == 401


def test_a_weak_hash_is_renewed_at_the_next_sign_in(app: FastAPI, anna: int, engine: Engine) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with writing(engine) as session:
        session.execute(update(Account).values(password_hash=weak))
    assert (
        visit(app, "/sign-in").post("/sign-in", data={"name": "anna", "password": PASSWORD}).status_code
        == 303
    )
    with reading(engine) as session:
        renewed = session.scalars(select(Account.password_hash)).one()
    assert renewed != weak
    assert PasswordHasher().verify(renewed, PASSWORD)


def test_signing_out_ends_the_session_for_good(browser: Maker, engine: Engine) -> None:
    who = browser("dermatologist")
    secret = str(who.cookies[COOKIE])
    answer = who.post("/sign-out")
    assert answer.headers["location"] == "/sign-in"
    assert answer.headers["clear-site-data"] == '"cache"'
    who.cookies.set(COOKIE, secret)
    assert who.get("/").status_code == 303
    with reading(engine) as session:
        assert session.scalars(select(SignIn)).all() == []


def test_a_new_password_ends_the_other_sessions(app: FastAPI, anna: int) -> None:
    sides = []
    for _ in range(2):
        who = visit(app, "/sign-in")
        who.post("/sign-in", data={"name": "anna", "password": PASSWORD})
        who.headers["x-csrf-token"] = number_of(who.get("/account").text)
        sides.append(who)
    new = "another long password"
    told = set()
    for wrong in (
        {"old": "wrong", "password": new, "again": new},
        {"old": PASSWORD, "password": new, "again": "x"},
        {"old": PASSWORD, "password": "short", "again": "short"},
    ):
        answer = sides[0].post("/account/password", data=wrong)
        assert answer.status_code == 422
        told.add(shown(answer).select_one("#problem").get_text())
    assert len(told) == 3
    answer = sides[0].post("/account/password", data={"old": PASSWORD, "password": new, "again": new})
    assert answer.headers["location"] == "/account?changed=true"
    assert sides[0].get("/account?changed=true").status_code == 200
    assert sides[1].get("/account").status_code == 303
    assert visit(app, "/sign-in").post("/sign-in", data={"name": "anna", "password": new}).status_code == 303


def test_no_password_reaches_the_database_or_the_trail(app: FastAPI, anna: int, tmp_path: Path) -> None:
    who = visit(app, "/sign-in")
    who.post("/sign-in", data={"name": "anna", "password": PASSWORD + " typo"})
    who.post("/sign-in", data={"name": "anna", "password": PASSWORD})
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("clinic.sqlite*"))
    assert PASSWORD.encode() not in kept


def test_who_cannot_be_checked_has_not_failed(
    app: FastAPI, anna: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise DatabaseError("The database cannot be used: gone.")

    who = visit(app, "/sign-in")
    with monkeypatch.context() as patch:
        patch.setattr("dermsentry.clinic.web.pages.sign_in.check_password", away)
        for _ in range(ATTEMPTS + 1):
            assert who.post("/sign-in", data={"name": "anna", "password": PASSWORD}).status_code == 503
    assert who.post("/sign-in", data={"name": "anna", "password": PASSWORD}).status_code == 303


def test_a_name_that_the_database_cannot_take_is_refused(app: FastAPI, anna: int) -> None:
    answer = visit(app, "/sign-in").post("/sign-in", data={"name": "an\0na", "password": PASSWORD})
    assert answer.status_code in (401, 422)
