"""Whatever goes wrong is a clear page for a person and the one envelope for a program."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from clinic.web_app import shown, texts

Maker = Callable[..., TestClient]


def assert_envelope(answer: Any, status: int, kind: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert set(told) == {"error", "detail", "request_id"}
    assert told["error"] == kind
    assert told["request_id"] == answer.headers["x-request-id"]


def test_a_program_gets_the_envelope_for_every_error(program: Maker, nobody: TestClient) -> None:
    who = program()
    assert_envelope(nobody.get("/api/cases"), 401, "not-signed-in")
    assert_envelope(program("uploader").get("/api/audit"), 403, "forbidden")
    assert_envelope(who.get("/api/nothing"), 404, "not-found")
    assert_envelope(who.get("/api/cases/9"), 404, "not-found")
    assert_envelope(who.put("/api/cases"), 405, "method-not-allowed")
    assert_envelope(who.get("/api/cases?limit=0"), 422, "unusable")
    assert_envelope(who.get("/api/cases?after=x"), 422, "unusable")
    assert_envelope(who.get("/api/cases?since=0"), 422, "unusable")
    misspelt = who.get("/api/cases?serach=P-1")
    assert_envelope(misspelt, 422, "unusable")
    assert all(name in misspelt.json()["detail"] for name in ("serach", "lane", "tier", "search"))
    assert_envelope(who.post("/api/cases/1/decisions", content=b"{"), 422, "unusable")
    assert_envelope(who.get("/nothing"), 404, "not-found")


def test_a_person_gets_a_page_with_the_requests_number(browser: Maker) -> None:
    who = browser()
    for answer, status in ((who.get("/nothing"), 404), (who.get("/accounts"), 403), (who.put("/"), 405)):
        assert answer.status_code == status
        assert texts(shown(answer), "main code") == [answer.headers["x-request-id"]]
        assert len(shown(answer).select("nav")) == 1


@pytest.fixture
def away(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Takes the database away."""

    def take() -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OperationalError(
                "SELECT secret", {"p": "secret"}, Exception("connection refused at 10.0.0.9")
            )

        monkeypatch.setattr("sqlalchemy.engine.default.DefaultDialect.do_execute", refuse)
        monkeypatch.setattr("sqlalchemy.engine.default.DefaultDialect.do_begin", refuse)

    return take


def test_a_database_that_is_away_is_told_without_its_address(
    browser: Maker,
    program: Maker,
    nobody: TestClient,
    away: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    person, caller = browser(), program()
    away()
    page = person.get("/")
    assert page.status_code == 503
    assert page.headers["retry-after"] == "30"
    told = caller.get("/api/cases")
    assert_envelope(told, 503, "unavailable")
    assert_envelope(caller.post("/api/cases", files={"photographs": b"x"}), 503, "unavailable")
    for answer in (page, told):
        assert "secret" not in answer.text
        assert "10.0.0.9" not in answer.text
    assert nobody.get("/health").status_code == 503
    assert nobody.get("/static/clinic.css").status_code == 200
    assert told.json()["request_id"] in caplog.text


def test_what_nobody_expected_is_told_and_logged_and_tells_nothing_else(
    browser: Maker, program: Maker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("patient P-17 in /home/clinic")

    person, caller = browser(), program()
    monkeypatch.setattr("dermsentry.clinic.web.pages.worklist.list_cases", broken)
    monkeypatch.setattr("dermsentry.clinic.web.api.cases.list_cases", broken)
    with caplog.at_level(logging.ERROR):
        page = person.get("/")
        told = caller.get("/api/cases")
    assert page.status_code == 500
    assert_envelope(told, 500, "unexpected")
    for answer in (page, told):
        assert "P-17" not in answer.text
        assert answer.headers["x-request-id"] in caplog.text
        assert answer.headers["content-security-policy"]


def test_a_fault_behind_a_part_of_a_page_is_an_envelope(browser: Maker) -> None:
    answer = browser().get("/worklist/rows?after=x", headers={"hx-request": "true"})
    assert_envelope(answer, 422, "unusable")
