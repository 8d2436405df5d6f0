"""What must be done first, and the second factor from its page to its reset."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import Engine, select, update

from clinic.web_app import FIRST_TOKEN, PASSWORD, all_routes, client, shown, texts
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store import second_factor
from dermsentry.clinic.store.accounts import add_account, add_token
from dermsentry.clinic.store.audit_trail import Trail, verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.records import verify_records
from dermsentry.clinic.store.second_factor import RECOVERY_CODES
from dermsentry.clinic.store.tables import Account, Event, SignIn, now
from dermsentry.clinic.web.attempts import ATTEMPTS, ATTEMPTS_OF_ACCOUNT, Visitor
from dermsentry.clinic.web.pages.sign_in import HALFWAY
from dermsentry.clinic.web.security import ANYONE, COOKIE, DEVICE, PRESENT, rules

Maker = Callable[..., TestClient]
OWN = "a calm garden of one's own"
STEP = timedelta(seconds=30)


@pytest.fixture
def settings() -> Settings:
    return Settings(second_factor=("administrator",))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Moves the time of codes on by so many steps."""
    passed = [0]

    def move(steps: int) -> None:
        passed[0] += steps

    monkeypatch.setattr(second_factor, "now", lambda: now() + passed[0] * STEP)
    move.passed = passed  # type: ignore[attr-defined]
    return move


def code_of(secret: str, later: Callable[[int], None]) -> str:
    return pyotp.TOTP(secret).at(now() + later.passed[0] * STEP)  # type: ignore[attr-defined]


@pytest.fixture
def people(engine: Engine) -> dict[str, int]:
    """The dermatologist anna and the administrator ada, with passwords of their own."""
    with writing(engine) as session:
        anna = add_account(session, "anna", "Dr Anna Berg", "dermatologist", PASSWORD)
        ada = add_account(session, "ada", "Ada", "administrator", PASSWORD)
        return {"anna": anna.id, "ada": ada.id}


def renew(who: TestClient, page: Response) -> Response:
    """Take over the number of a page's forms."""
    found = re.search(r'"X-CSRF-Token": "([^"]+)"', html.unescape(page.text))
    assert found is not None
    who.headers["x-csrf-token"] = found[1]
    return page


def enter(app: FastAPI, name: str, password: str = PASSWORD, who: TestClient | None = None) -> TestClient:
    """A browser in which the password was entered."""
    who = who or client(app)
    renew(who, who.get("/sign-in"))
    answer = who.post("/sign-in", data={"name": name, "password": password, "next": "/alerts"})
    assert answer.status_code == 303, answer.text
    return who


def set_up(who: TestClient, later: Callable[[int], None], **more: str) -> tuple[str, list[str], Response]:
    """Set a second factor up by its page: the phone's secret, the recovery codes, the page with them."""
    page = shown(renew(who, who.get("/account/second-factor?next=/alerts")))
    secret = page.select_one(".secret-text").get_text().replace(" ", "")
    setup = page.select_one("[name=setup]")["value"]
    given = {"setup": setup, "code": code_of(secret, later), "next": "/alerts", **more}
    answer = who.post("/account/second-factor", data=given)
    assert answer.status_code == 201, answer.text
    return secret, texts(shown(answer), ".codes code"), answer


def actions(engine: Engine) -> list[tuple[str, str]]:
    with reading(engine) as session:
        return [(event.actor, event.action) for event in session.scalars(select(Event).order_by(Event.id))]


def closed_but(app: FastAPI, who: TestClient, page: str) -> list[tuple[str, str, int]]:
    """The pages that somebody can reach who must first do what is done on `page`."""
    open_to, wrong = rules(app), []
    for method, path in all_routes():
        if path.startswith("/api/") or open_to[method, path] in (ANYONE, PRESENT):
            continue
        address = re.sub(r"\{[^}]+\}", "1", path)
        answer = who.request(method, address)
        led = answer.status_code == 303 and answer.headers["location"].startswith(page)
        if not (led if method == "GET" else answer.status_code == 403):
            wrong.append((method, path, answer.status_code))
    return wrong


def test_a_given_password_is_changed_before_anything_else(
    app: FastAPI, engine: Engine, people: dict[str, int], browser: Maker, trail: Trail
) -> None:
    with writing(engine) as session:
        session.execute(update(Account).where(Account.name == "ada").values(totp_secret="-"))
    given = {"name": "dora", "full_name": "Dr Dora Wolf", "role": "dermatologist", "password": PASSWORD}
    assert browser("administrator", "ada").post("/accounts", data=given).status_code == 303
    who = enter(app, "dora")
    assert closed_but(app, who, "/account/first-password") == []
    page = renew(who, who.get("/account/first-password?next=/alerts"))
    assert shown(page).select("nav a") == []
    for new, again, why in (
        (PASSWORD, PASSWORD, "given to you"),
        (OWN, OWN + "x", "differ"),
        ("password1234", "password1234", "common password"),
        ("doradoradora", "doradoradora", "easily guessed"),
    ):
        answer = who.post(
            "/account/first-password", data={"password": new, "again": again, "next": "/alerts"}
        )
        assert answer.status_code == 422
        assert why in shown(answer).select_one(".problem").get_text()
    changed = who.post("/account/first-password", data={"password": OWN, "again": OWN, "next": "/alerts"})
    assert (changed.status_code, changed.headers["location"]) == (303, "/alerts")
    assert who.get("/alerts").status_code == 200
    assert who.get("/account/first-password").headers["location"] == "/"
    enter(app, "dora", OWN)
    # An administrator gives her another one: her sessions end, and she must change that too.
    with reading(engine) as session:
        dora = session.scalars(select(Account.id).where(Account.name == "dora")).one()
    browser("administrator", "ada").post(f"/accounts/{dora}", data={"password": "another long password"})
    assert who.get("/alerts").headers["location"].startswith("/sign-in")
    again = enter(app, "dora", "another long password")
    assert again.get("/alerts").headers["location"].startswith("/account/first-password")
    assert [action for _, action in actions(engine)] == [
        "account added", "signed in", "password changed", "signed in", "password given", "signed in",
    ]  # fmt: skip
    with reading(engine) as session:
        assert verify(session, trail).problems == ()


def test_a_part_of_a_page_is_led_there_too(app: FastAPI, engine: Engine, people: dict[str, int]) -> None:
    with writing(engine) as session:
        session.execute(update(Account).values(password_given=True))
    who = enter(app, "anna")
    answer = who.get("/worklist/rows", headers={"hx-request": "true", "hx-current-url": "http://testserver/"})
    assert answer.status_code == 403
    assert answer.headers["hx-redirect"] == "/account/first-password"


def test_tokens_work_whatever_their_owner_must_do_first(
    app: FastAPI, engine: Engine, people: dict[str, int]
) -> None:
    with writing(engine) as session:
        ada = session.get_one(Account, people["ada"])
        _, secret = add_token(session, ada, "pacs", ["cases:read"])
        ada.password_given = True
    program = TestClient(app, headers={"authorization": f"Bearer {secret}"})
    assert program.get("/api/cases").status_code == 200


def test_a_role_that_needs_a_second_factor_sets_it_up_before_anything_else(
    app: FastAPI, engine: Engine, people: dict[str, int], later: Callable[[int], None], trail: Trail
) -> None:
    assert enter(app, "anna").get("/alerts").status_code == 200  # her role does not
    who = enter(app, "ada")
    assert closed_but(app, who, "/account/second-factor") == []
    page = shown(renew(who, who.get("/account/second-factor")))
    setup = page.select_one("[name=setup]")["value"]
    for wrong in ({"setup": setup, "code": "000000"}, {"setup": "x", "code": "0"}, {"setup": setup[:-9]}):
        assert who.post("/account/second-factor", data=wrong).status_code == 422
    _, codes, answer = set_up(who, later)
    assert len(codes) == RECOVERY_CODES
    assert shown(answer).select_one("a.primary")["href"] == "/alerts"
    assert who.get("/alerts").status_code == 200
    assert who.get("/accounts").status_code == 200
    assert not any(code in who.get("/account").text for code in codes)  # they were shown once
    refused = who.post("/account/second-factor/removal", data={"password": PASSWORD})
    assert refused.status_code in (403, 422)
    with reading(engine) as session:
        assert [problem for problem in verify_records(session, None) if "second factor" in problem] == []
    with writing(engine) as session:  # who removes it behind the trail's back is found
        session.get_one(Account, people["ada"]).totp_secret = None
        for name in people:
            session.add(_added(session, trail, name))
    with reading(engine) as session:
        assert any("second factor" in problem for problem in verify_records(session, None))


def _added(session: object, trail: Trail, name: str) -> Event:
    from dermsentry.clinic.store.audit_trail import append
    from dermsentry.clinic.store.events import AccountAddedEvent, SecondFactorSetEvent

    append(session, trail, "system", AccountAddedEvent(name, "dermatologist"))  # type: ignore[arg-type]
    return append(session, trail, "system", SecondFactorSetEvent(name))  # type: ignore[arg-type]


def test_signing_in_asks_for_the_code_and_takes_each_once(
    app: FastAPI, engine: Engine, people: dict[str, int], later: Callable[[int], None]
) -> None:
    first = enter(app, "anna")
    secret, codes, _ = set_up(first, later, password=PASSWORD)
    assert client(app).get("/sign-in/code").headers["location"] == "/sign-in?next=%2F"
    who = enter(app, "anna")
    assert COOKIE not in who.cookies  # the password alone opens nothing
    assert who.get("/alerts").headers["location"].startswith("/sign-in")
    renew(who, who.get("/sign-in/code?next=/alerts"))
    used = code_of(secret, later)  # shown when the phone was set up
    for wrong in (used, "000000", "", codes[0][:-1]):
        answer = who.post("/sign-in/code", data={"code": wrong, "next": "/alerts"})
        assert answer.status_code == 401
        assert "Wrong code" in answer.text
    later(1)
    code = code_of(secret, later)
    answer = who.post("/sign-in/code", data={"code": code, "next": "/alerts"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/alerts")
    assert HALFWAY not in who.cookies
    assert who.get("/alerts").status_code == 200
    eve = enter(app, "anna")  # looked over her shoulder
    renew(eve, eve.get("/sign-in/code"))
    assert eve.post("/sign-in/code", data={"code": code}).status_code == 401
    assert eve.post("/sign-in/code", data={"code": codes[3]}).status_code == 303
    other = enter(app, "anna")
    renew(other, other.get("/sign-in/code"))
    assert other.post("/sign-in/code", data={"code": codes[3]}).status_code == 401
    told = [action for _, action in actions(engine)]
    assert told.count("second factor refused") == 6
    assert told[-4:] == ["second factor refused", "recovery code used", "signed in", "second factor refused"]
    with reading(engine) as session:
        means = session.scalars(select(Event.detail).where(Event.action == "signed in")).all()
    assert [re.search('"means": "([^"]+)"', own)[1] for own in means] == [  # type: ignore[index]
        "password", "password and code", "password and recovery code",
    ]  # fmt: skip
    assert "9 of your recovery codes are left" in " ".join(shown(who.get("/account")).get_text().split())


def test_codes_cannot_be_guessed_for_long(
    app: FastAPI, people: dict[str, int], later: Callable[[int], None]
) -> None:
    secret, _, _ = set_up(enter(app, "anna"), later, password=PASSWORD)
    later(1)
    who = enter(app, "anna")
    renew(who, who.get("/sign-in/code"))
    for _ in range(ATTEMPTS):
        assert who.post("/sign-in/code", data={"code": "000000"}).status_code == 401
    answer = who.post("/sign-in/code", data={"code": code_of(secret, later)})
    assert answer.status_code == 429


def test_who_was_halfway_is_nowhere_once_the_password_is_another(
    app: FastAPI, engine: Engine, people: dict[str, int], later: Callable[[int], None]
) -> None:
    secret, _, _ = set_up(enter(app, "anna"), later, password=PASSWORD)
    who = enter(app, "anna")
    renew(who, who.get("/sign-in/code"))
    with writing(engine) as session:
        session.get_one(Account, people["anna"]).password_hash = "another"
    later(1)
    assert who.post("/sign-in/code", data={"code": code_of(secret, later)}).status_code == 401
    with reading(engine) as session:
        assert len(session.scalars(select(SignIn)).all()) == 1


def test_new_recovery_codes_another_phone_and_removal_ask_for_the_password(
    app: FastAPI, people: dict[str, int], engine: Engine, later: Callable[[int], None]
) -> None:
    who = enter(app, "anna")
    _, old, _ = set_up(who, later, password=PASSWORD)
    renew(who, who.get("/account"))
    for action in ("recovery-codes", "removal"):
        assert who.post(f"/account/second-factor/{action}", data={"password": "wrong"}).status_code == 422
    made = who.post("/account/second-factor/recovery-codes", data={"password": PASSWORD})
    codes = texts(shown(made), ".codes code")
    assert len(codes) == RECOVERY_CODES
    assert set(codes).isdisjoint(old)
    later(1)
    set_up(who, later, password=PASSWORD)  # another phone
    renew(who, who.get("/account"))
    gone = who.post("/account/second-factor/removal", data={"password": PASSWORD})
    assert gone.headers["location"] == "/account"
    assert enter(app, "anna").get("/alerts").status_code == 200
    assert [action for _, action in actions(engine)][1:5] == [
        "second factor set up", "recovery codes made", "second factor set up", "second factor removed",
    ]  # fmt: skip


def test_a_set_up_page_of_another_person_is_of_no_use(
    app: FastAPI, people: dict[str, int], later: Callable[[int], None]
) -> None:
    eve, anna = enter(app, "ada"), enter(app, "anna")
    page = shown(eve.get("/account/second-factor"))
    secret = page.select_one(".secret-text").get_text().replace(" ", "")
    renew(anna, anna.get("/account"))
    given = {"setup": page.select_one("[name=setup]")["value"], "code": code_of(secret, later)}
    assert anna.post("/account/second-factor", data={**given, "password": PASSWORD}).status_code == 422
    assert "Not set up" in anna.get("/account").text


def test_an_administrator_resets_it_for_who_lost_everything(
    app: FastAPI, people: dict[str, int], engine: Engine, later: Callable[[int], None]
) -> None:
    anna, ada = enter(app, "anna"), enter(app, "ada")
    set_up(anna, later, password=PASSWORD)
    set_up(ada, later)
    page = shown(renew(ada, ada.get("/accounts")))
    [form] = page.select(f"form[action='/accounts/{people['anna']}/second-factor/reset']")
    assert ada.post(form["action"]).headers["location"] == "/accounts"
    assert ada.post(form["action"]).status_code == 422  # there is none any more
    assert anna.get("/alerts").headers["location"].startswith("/sign-in")
    assert enter(app, "anna").get("/alerts").status_code == 200
    assert ("ada", "second factor reset") in actions(engine)


def test_an_outsider_shuts_nobody_out(app: FastAPI, people: dict[str, int], engine: Engine) -> None:
    known = enter(app, "anna")
    known.cookies.delete(COOKIE)
    gate = app.state.gate
    for number in range(2 * ATTEMPTS_OF_ACCOUNT):
        gate.enter(Visitor("anna", f"198.51.100.{number}"))
        gate.enter(Visitor("anna", "testclient"))
    enter(app, "anna", who=known)
    forged = client(app)
    forged.cookies.set(DEVICE, known.cookies[DEVICE][:-3] + "abc")
    renew(forged, forged.get("/sign-in"))
    answer = forged.post("/sign-in", data={"name": "anna", "password": PASSWORD})
    assert answer.status_code == 429
    assert "A browser in which you have signed in before" in answer.text
    # That she uses this browser does not make it known for somebody else's account.
    for _ in range(ATTEMPTS):
        gate.enter(Visitor("ada", "testclient"))
    known.cookies.delete(COOKIE)
    renew(known, known.get("/sign-in"))
    assert known.post("/sign-in", data={"name": "ada", "password": PASSWORD}).status_code == 429


def test_an_account_that_strangers_closed_opens_where_it_signed_in_before(
    app: FastAPI, people: dict[str, int]
) -> None:
    enter(app, "anna")  # from the address of the test, in a browser that is then lost
    for number in range(2 * ATTEMPTS_OF_ACCOUNT):
        app.state.gate.enter(Visitor("anna", f"198.51.100.{number}"))
        app.state.gate.enter(Visitor("ada", f"198.51.100.{number}"))
    enter(app, "anna")
    who = client(app)
    renew(who, who.get("/sign-in"))
    assert who.post("/sign-in", data={"name": "ada", "password": PASSWORD}).status_code == 429


def test_nothing_secret_is_logged_or_kept(
    app: FastAPI,
    engine: Engine,
    later: Callable[[int], None],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.DEBUG)
    who = client(app)
    renew(who, who.get("/first-visit"))
    made = {"token": FIRST_TOKEN, "name": "ada", "full_name": "Ada", "password": OWN, "again": OWN}
    assert who.post("/first-visit", data=made).status_code == 303
    secret, codes, _ = set_up(who, later)
    renew(who, who.get("/accounts"))
    given = {"name": "dora", "full_name": "Dora", "role": "uploader", "password": PASSWORD}
    assert who.post("/accounts", data=given).status_code == 303
    later(1)
    halfway = enter(app, "ada", OWN)
    renew(halfway, halfway.get("/sign-in/code"))
    halfway.post("/sign-in/code", data={"code": "000000"})
    halfway.post("/sign-in/code", data={"code": codes[0]})
    cookies = [who.cookies[COOKIE], halfway.cookies[COOKIE], halfway.cookies[DEVICE]]
    secrets = [OWN, PASSWORD, secret, *codes, *(code.replace("-", "") for code in codes), *cookies]
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("clinic.sqlite*")).decode("latin1")
    assert [own for own in secrets if own in caplog.text or own in kept] == []


def test_the_picture_and_the_link_say_what_the_text_says(app: FastAPI, people: dict[str, int]) -> None:
    page = shown(enter(app, "anna").get("/account/second-factor"))
    secret = page.select_one(".secret-text").get_text().replace(" ", "")
    link = urlsplit(page.select_one("a[href^='otpauth:']")["href"])
    assert parse_qs(link.query) == {"secret": [secret], "issuer": ["Dermsentry"]}
    import cv2
    import numpy as np
    import segno

    drawn = page.select_one(".qr svg path.qrline")["d"]
    address = page.select_one("a[href^='otpauth:']")["href"]
    assert drawn in segno.make(address, error="m").svg_inline(border=4, dark="#000", omitsize=True)
    rows = np.array(
        [[255 * (1 - cell) for cell in row] for row in segno.make(address, error="m").matrix_iter(4, 4)]
    )
    assert cv2.QRCodeDetectorAruco().detectAndDecode(rows.astype("uint8"))[0] == address
