"""The page that proposes a model of the clinic's own, and pages and API in silent mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from bs4 import BeautifulSoup
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select

from clinic.cases import screened, with_outcomes
from clinic.web_app import shown, texts
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.database import writing
from dermsentry.clinic.store.tables import Event, ModelChoice, Outcome
from dermsentry.clinic.worker.silent_mode import hide_finding
from dermsentry.clinic.worker.worker import register

Maker = Callable[..., TestClient]
SHARES = "sensitivity=80&confidence=80"  # 8 melanomas


@pytest.fixture
def cases(engine: Engine, clinic: ServedClinic) -> ServedClinic:
    """20 melanomas and 60 others with an outcome."""
    with writing(engine) as session:
        register(session, clinic.card)
    with_outcomes(engine, clinic.card.digest)
    return clinic


def filled(page: BeautifulSoup) -> dict[str, str]:
    """The form that accepts, as the page has it."""
    fields = page.select("form[action='/site-model'][method=post] input[type=hidden]")
    return {str(field["name"]): str(field["value"]) for field in fields if field["name"] != "csrf"}


def test_without_outcomes_the_page_says_what_is_missing(browser: Maker) -> None:
    page = shown(browser("administrator").get("/site-model"))
    assert "Nothing can be proposed yet" in texts(page, ".empty")[0]
    assert page.select("form[action='/site-model'][method=post]") == []


def test_too_few_melanomas_are_told_and_cannot_be_accepted(browser: Maker, cases: ServedClinic) -> None:
    who = browser("administrator")
    page = shown(who.get("/site-model"))
    assert "39 more are needed" in texts(page, "main > .notice:not(.synthetic)")[0]
    assert "39 missing" in texts(page, ".figure")[0]
    assert filled(page) == {}
    answer = who.post("/site-model", data={"proposal": "x", "sensitivity": "95", "confidence": "95"})
    assert answer.status_code == 409


def test_promise_and_figures_are_german_for_german_readers(browser: Maker, cases: ServedClinic) -> None:
    who = browser("administrator")
    german = {"accept-language": "de-DE"}
    page = shown(who.get("/site-model", headers=german))
    [refused, *_] = texts(page, "main > .notice:not(.synthetic)")
    assert refused.startswith("Keine Zusicherung: Für eine Sensitivität von 95 % bei 95 % Konfidenz")
    assert "20 unabhängige" not in refused
    assert "vorhanden: 20, es fehlen 39." in refused
    page = shown(who.get(f"/site-model?{SHARES}", headers=german))
    assert "Grundlage: 20 unabhängige Melanome" in texts(page, ".banner")[0]
    assert [text for text in texts(page, "td.number") if "." in text] == []


def test_a_proposal_is_accepted_used_and_withdrawn(
    browser: Maker, app: FastAPI, cases: ServedClinic, engine: Engine
) -> None:
    who = browser("administrator")
    page = shown(who.get(f"/site-model?{SHARES}"))
    assert "With 80 % confidence, at least 80 %" in texts(page, ".banner")[0]
    rows = {
        row[0]: row[1:] for row in (texts(one, "th, td") for one in page.select("tbody tr")) if len(row) == 3
    }
    assert "Melanoma sensitivity" in rows
    assert rows["Alert"][0] == "25"
    given = filled(page) | {"rarer": "yes"}
    assert given["sensitivity"] == "80.0"
    assert who.post("/site-model", data=given).headers["location"] == "/site-model"
    served: ServedClinic = app.state.clinic
    assert served.card.adoption is not None
    page = shown(who.get("/site-model"))
    assert served.card.digest[:12] in page.get_text()
    assert len(page.select("form[action='/site-model/withdraw']")) == 1
    assert "tiny (site)" in who.get("/status").text
    assert "Adopted for a site" in who.get(f"/models/{served.card.digest}").text
    # What was accepted cannot be accepted again: the model in force is another one.
    assert who.post("/site-model", data=given).status_code == 409
    assert who.post("/site-model/withdraw").headers["location"] == "/site-model"
    assert app.state.clinic.card == cases.card
    assert who.post("/site-model/withdraw").status_code == 409
    with writing(engine) as session:
        assert len(session.scalars(select(ModelChoice)).all()) == 2
        actions = session.scalars(select(Event.action).where(Event.subject == "model").order_by(Event.id))
        assert list(actions) == ["model adopted", "site model withdrawn"]


def test_outcomes_that_came_since_make_it_another_proposal(
    browser: Maker, cases: ServedClinic, engine: Engine
) -> None:
    who = browser("administrator")
    given = filled(shown(who.get(f"/site-model?{SHARES}"))) | {"rarer": "yes"}
    with writing(engine) as session:
        session.add(Outcome(case_id=30, diagnosis="MEL", method="histology"))
    answer = who.post("/site-model", data=given)
    assert answer.status_code == 409
    assert "look again" in texts(shown(answer), ".problem")[0]


@pytest.mark.parametrize("wrong", ["0", "100", "-1", "much"])
def test_what_is_no_share_is_refused(browser: Maker, wrong: str) -> None:
    assert browser("administrator").get(f"/site-model?sensitivity={wrong}").status_code == 422


def add_silent(engine: Engine, clinic: ServedClinic) -> int:
    with writing(engine) as session:
        register(session, clinic.card)
        case = screened("alert", 0.937, model_digest=clinic.card.digest)
        finding = case.finding
        assert finding is not None
        hide_finding(case, finding)
        session.add(case)
        session.flush()
        session.add(Outcome(case_id=case.id, diagnosis="MEL", method="histology"))
        return case.id


@pytest.mark.parametrize("settings", [Settings(silent=True)])
def test_in_silent_mode_no_page_and_no_call_shows_a_finding(
    browser: Maker, program: Maker, clinic: ServedClinic, engine: Engine, settings: Settings
) -> None:
    number = add_silent(engine, clinic)
    reader, token = browser(), program("dermatologist")
    pages = ["/", f"/cases/{number}", f"/cases/{number}/print", "/alerts?all=true", "/performance/figures"]
    calls = [f"/api/cases/{number}", "/api/cases", "/api/alerts", "/api/performance", "/api/cases.csv"]
    for who, paths in ((reader, [*pages, "/cases.csv", "/outcomes"]), (token, calls)):
        for path in paths:
            answer = who.get(path)
            assert answer.status_code == 200, path
            assert "93.7" not in answer.text, path
            assert "0.937" not in answer.text, path
            assert "tier-alert" not in answer.text, path
    assert reader.get(f"/cases/{number}/fhir").status_code == 409
    assert token.get(f"/api/cases/{number}/fhir").status_code == 409
    assert token.get(f"/api/cases/{number}").json()["finding"] is None
    page = shown(reader.get(f"/cases/{number}"))
    assert "recorded and not shown" in texts(page, ".finding")[0]
    assert page.select("input[name=agrees]") == []
    assert "Silent mode." in reader.get("/").text
    assert token.get("/api/performance").json()["silent_alerts"] is None


@pytest.mark.parametrize("settings", [Settings(silent=True)])
def test_who_may_see_the_audit_trail_sees_what_would_have_been(
    browser: Maker, program: Maker, clinic: ServedClinic, engine: Engine, settings: Settings
) -> None:
    add_silent(engine, clinic)
    figures = shown(browser("administrator").get("/performance/figures"))
    assert "1 would have been an alert" in texts(figures, ".notice")[0]
    assert "in none of the figures" in texts(shown(browser().get("/performance/figures")), ".notice")[0]
    told = program("administrator").get("/api/performance").json()
    assert (told["silent"], told["silent_alerts"]) == (1, 1)
    assert told["rules"][0]["sensitivity"]["value"] == 1.0
    assert (
        program("administrator", "cases:read", name="ada").get("/api/performance").json()["silent_alerts"]
        is None
    )


@pytest.mark.parametrize("settings", [Settings(silent=True)])
def test_a_silent_case_is_decided_on_its_page(
    browser: Maker, clinic: ServedClinic, engine: Engine, settings: Settings
) -> None:
    number = add_silent(engine, clinic)
    answer = browser().post(f"/cases/{number}/decision", data={"diagnosis": "NV", "action": "follow-up"})
    assert answer.status_code == 303
