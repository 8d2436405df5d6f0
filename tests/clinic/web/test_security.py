"""Forgery, headers, sessions, limits: what a stranger would try first."""

from __future__ import annotations

import errno
import gc
import hashlib
import re
from collections.abc import Callable
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select, update

from clinic.cases import photograph
from clinic.web_app import client, page_posts
from dermsentry.clinic.store.accounts import IDLE
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import Case, SignIn, Token, now
from dermsentry.clinic.web.guard import SAFE, SMALL
from dermsentry.clinic.web.security import COOKIE, own_path

Maker = Callable[..., TestClient]
PAGE_POSTS = page_posts()
SEEN_PAGES = (
    "/",
    "/?lane=cannot-say",
    "/?lane=waiting",
    "/?lane=decided",
    "/upload",
    "/cases/1",
    "/cases/2",
    "/cases/3",
    "/cases/1/print",
    "/alerts",
    "/alerts?all=true",
    "/outcomes",
    "/performance",
    "/performance/figures",
    "/audit",
    "/account",
    "/accounts",
    "/status",
    "/nothing",
    "/worklist/rows",
    "/upload/mine",
)


def test_a_form_without_the_sessions_number_changes_nothing(browser: Maker) -> None:
    who = browser("administrator")
    right = who.headers.pop("x-csrf-token")
    other = browser("administrator", "zoe").headers["x-csrf-token"]
    numbers = (None, "", "wrong", right[:-1], right + "x", "\u00fc", other)
    forms = [{} if number is None else {"data": {"csrf": number}} for number in numbers]
    sent = [(path, form) for path in PAGE_POSTS for form in (*forms, {"headers": {"x-csrf-token": other}})]
    passed = [(path, form) for path, form in sent if who.post(path, **form).status_code != 403]
    assert passed == []


def test_a_form_that_another_site_sends_is_refused_even_with_the_number(browser: Maker) -> None:
    who = browser("administrator")
    elsewhere = (
        {"origin": "https://elsewhere.example"},
        {"origin": "null"},
        {"origin": "http://testserver.elsewhere.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    )
    sent = [(path, headers) for path in PAGE_POSTS for headers in elsewhere]
    passed = [(path, headers) for path, headers in sent if who.post(path, headers=headers).status_code != 403]
    assert passed == []


def test_the_number_counts_in_a_field_too_and_from_the_own_origin(browser: Maker) -> None:
    who = browser("administrator")
    number = who.headers.pop("x-csrf-token")
    answer = who.post("/audit/verification", data={"csrf": number}, headers={"origin": "http://testserver"})
    assert answer.status_code == 200


def test_every_answer_carries_the_headers(nobody: TestClient, browser: Maker) -> None:
    who = browser("administrator")
    answers = [
        nobody.get("/sign-in"),
        nobody.get("/nothing"),
        nobody.get("/static/clinic.css"),
        nobody.get("/api/cases"),
        nobody.get("/health"),
        nobody.put("/sign-in"),
        nobody.post("/sign-in", content=b"x" * (SMALL + 1)),
        who.get("/"),
        who.get("/cases/1"),
        who.get("/audit.csv"),
        who.post("/accounts", data={}),
    ]
    for answer in answers:
        for name, value in SAFE.items():
            if name != "Cache-Control":
                assert answer.headers[name] == value, (answer.url, name)
        assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)
    assert who.get("/").headers["cache-control"] == "no-store"


def test_the_policy_allows_neither_inline_nor_foreign() -> None:
    policy = SAFE["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    for wanted in ("frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"):
        assert wanted in policy


class Inline(HTMLParser):
    """Finds what the policy would stop, and what would be fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found += [f"{tag} {name}" for name in given if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.found.append(tag)
        for name in ("src", "href", "action", "hx-get", "hx-post"):
            value = given.get(name) or "/"
            if tag not in ("a",) and not value.startswith(("/", "#")):
                self.found.append(f"{tag} {name}={value}")


def test_no_page_needs_what_the_policy_stops(
    browser: Maker, add_case: Callable[..., int], draw: Callable[[str], None]
) -> None:
    draw("c" * 64)
    add_case(
        "alert",
        0.9,
        patient="<script>alert(1)</script>",
        note='"><img src=x onerror=alert(1)>',
        sha256="c" * 64,
    )
    add_case("cannot-say", 0.3, patient="P2")
    add_case("", None)
    who, found = browser("administrator", "ann"), []
    for path in SEEN_PAGES:
        answer = who.get(path)
        assert answer.status_code == (404 if path == "/nothing" else 200), path
        parser = Inline()
        parser.feed(answer.text)
        found += [(path, own) for own in parser.found]
        found += [(path, own) for own in ("<script>alert", "<img src=x") if own in answer.text]
    assert found == []


def test_every_form_that_changes_something_carries_the_number(
    browser: Maker, add_case: Callable[..., int]
) -> None:
    add_case("alert", 0.9)
    add_case("cannot-say", 0.3)
    add_case("", None)
    who = browser("administrator")
    number = f'name="csrf" value="{who.headers["x-csrf-token"]}"'
    forms = [
        (path, form)
        for path in SEEN_PAGES
        for form in re.findall(r'<form method="post".*?</form>', who.get(path).text, re.DOTALL)
    ]
    assert len({path for path, _ in forms}) > 10
    assert [path for path, form in forms if number not in form] == []


def test_the_cookie_is_out_of_scripts_reach_and_kept_as_a_digest(browser: Maker, engine: Engine) -> None:
    who = browser("dermatologist")
    secret = str(who.cookies[COOKIE])
    with reading(engine) as session:
        kept = session.scalars(select(SignIn.id)).all()
    assert kept == [hashlib.sha256(secret.encode()).hexdigest()]


def test_a_session_ends_when_idle_when_over_and_when_the_account_is_closed(
    browser: Maker, engine: Engine
) -> None:
    for values in (
        {"seen_at": now() - IDLE - timedelta(seconds=1)},
        {"expires_at": now() - timedelta(seconds=1)},
    ):
        who = browser("dermatologist")
        assert who.get("/").status_code == 200
        with writing(engine) as session:
            session.execute(update(SignIn).values(**values))
        answer = who.get("/cases/1?lane=decided")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/sign-in?next=%2Fcases%2F1%3Flane%3Ddecided"
    who, chief = browser("dermatologist"), browser("administrator")
    assert chief.post("/accounts/1", data={"state": "closed"}).status_code == 303
    assert who.get("/").status_code == 303


def test_a_session_in_use_stays_open(browser: Maker, engine: Engine) -> None:
    who = browser("dermatologist")
    with writing(engine) as session:
        session.execute(update(SignIn).values(seen_at=now() - timedelta(minutes=50)))
    assert who.get("/").status_code == 200
    with reading(engine) as session:
        assert now() - session.scalars(select(SignIn.seen_at)).one() < timedelta(minutes=1)


def test_a_program_hears_of_the_tokens_end(program: Maker, engine: Engine) -> None:
    who = program("dermatologist")
    assert who.get("/api/cases").status_code == 200
    with reading(engine) as session:
        assert session.scalars(select(Token.used_at)).one() is not None
    with writing(engine) as session:
        session.execute(update(Token).values(expires_at=now() - timedelta(seconds=1)))
    answer = who.get("/api/cases")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_part_of_a_page_leads_to_the_door_when_the_session_ended(nobody: TestClient) -> None:
    answer = nobody.get("/worklist/rows", headers={"hx-request": "true"})
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/sign-in"


def test_a_request_that_is_too_large_is_not_read(browser: Maker, nobody: TestClient) -> None:
    answer = nobody.post("/sign-in", content=b"x" * (SMALL + 1))
    assert answer.status_code == 413
    assert "1 MiB" in answer.text
    told = nobody.post("/api/cases/1/decisions", content=b"x" * (SMALL + 1))
    assert told.status_code == 413
    assert told.json()["error"] == "too-large"

    def endless() -> object:
        for _ in range(40):
            yield b"a=" + b"x" * 65536

    who = browser("dermatologist")
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer = who.post("/outcomes", content=endless(), headers=kind)  # type: ignore[arg-type]
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/cases/3?lane=decided", "/cases/3?lane=decided"),
        ("https://elsewhere.example/", "/"),
        ("//elsewhere.example/", "/"),
        ("/\\elsewhere.example/", "/"),
        ("/a\\b", "/"),
        ("javascript:alert(1)", "/"),
        ("/\n/elsewhere.example", "/"),
        ("http://[::1", "/"),
        ("//[", "/"),
        ("", "/"),
    ],
)
def test_signing_in_leads_to_this_site_alone(given: str, expected: str) -> None:
    assert own_path(given) == expected


def test_the_sign_in_form_is_bound_to_its_visitor(app: FastAPI) -> None:
    first, second = client(app), client(app)
    page = first.get("/first-visit").text
    number = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
    assert number is not None
    assert first.post("/sign-in", data={"csrf": number[1]}).status_code == 401
    assert second.post("/sign-in", data={"csrf": number[1]}).status_code == 403
    second.get("/first-visit")
    assert second.post("/sign-in", data={"csrf": number[1]}).status_code == 403


def test_a_part_that_renews_itself_keeps_no_session_open(browser: Maker, engine: Engine) -> None:
    who, long_ago = browser("dermatologist"), now() - timedelta(minutes=50)
    with writing(engine) as session:
        session.execute(update(SignIn).values(seen_at=long_ago))
    assert who.get("/?lane=waiting", headers={"hx-request": "true"}).status_code == 200
    assert who.get("/upload/mine", headers={"hx-request": "true"}).status_code == 200
    with reading(engine) as session:
        assert session.scalars(select(SignIn.seen_at)).one() == long_ago


def test_an_origin_that_is_none_is_another_site(browser: Maker) -> None:
    answer = browser("administrator").post("/audit/verification", headers={"origin": "http://[::1"})
    assert answer.status_code == 403


def test_behind_a_server_that_changes_the_host_the_browsers_word_counts(browser: Maker) -> None:
    who = browser("administrator")
    headers = {"origin": "https://worklist.clinic.example", "sec-fetch-site": "same-origin"}
    assert who.post("/audit/verification", headers=headers).status_code == 200
    headers["sec-fetch-site"] = "cross-site"
    assert who.post("/audit/verification", headers=headers).status_code == 403


def test_no_space_for_what_is_sent_is_told_as_such(browser: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    who = browser("uploader")
    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", full)
    answer = who.post("/upload", files={"photographs": ("a.jpg", b"x")})
    assert answer.status_code == 507


# Starlette leaves the file of a part that was cut off to be collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_form_that_was_cut_off_keeps_nothing_of_its_last_file(program: Maker, engine: Engine) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="photographs"; filename="a.jpg"\r\n\r\n'
        + photograph()
        + b"\r\n--x"
    )
    form = {"content-type": 'multipart/form-data; boundary="x"'}
    cut = program("uploader").post("/api/cases", content=body, headers=form)
    assert (cut.status_code, cut.json()["error"]) == (400, "bad-request")
    gc.collect()
    with reading(engine) as session:
        assert session.scalar(select(Case.id)) is None
    whole = program("uploader").post("/api/cases", content=body + b"--\r\n", headers=form)
    assert whole.status_code == 201


def test_a_monitor_may_ask_for_the_head_alone(nobody: TestClient) -> None:
    asked = nobody.head("/health")
    assert (asked.status_code, asked.headers["x-content-type-options"]) == (200, "nosniff")
