"""Alerts, outcomes, performance, the audit trail, accounts, tokens, and whether the service is well."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select, update

from clinic.cases import screened
from clinic.trail_events import Made
from clinic.web_app import shown, texts
from dermsentry.clinic.clinic import Pulse, ServedClinic
from dermsentry.clinic.monitoring.performance import Day
from dermsentry.clinic.settings import Mail, Settings
from dermsentry.clinic.store.audit_trail import Trail, append
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.events import AccountAddedEvent
from dermsentry.clinic.store.tables import (
    Account,
    Alert,
    Case,
    Conflict,
    Delivery,
    Event,
    Job,
    Outcome,
    Read,
    Token,
    now,
)
from dermsentry.clinic.web import views, wording
from dermsentry.clinic.web.pages import health
from dermsentry.clinic.web.pages.performance import MOST_COLUMNS, columns
from dermsentry.errors import OutputError

Maker = Callable[..., TestClient]
Adder = Callable[..., int]


def test_alerts_are_acknowledged_once_for_all(browser: Maker, add_case: Adder, engine: Engine) -> None:
    number = add_case("alert", 0.9)
    with writing(engine) as session:
        session.add_all([Alert(case_id=number, rule=rule) for rule in ("one", "two")])
    who = browser()
    listed = f".alerts a[href='/cases/{number}']"
    assert len(shown(who.get("/alerts")).select(listed)) == 2
    assert who.post(f"/cases/{number}/acknowledge").headers["location"] == "/alerts"
    assert shown(who.get("/alerts")).select(listed) == []
    page = shown(who.get("/alerts?all=true"))
    assert len(page.select(listed)) == 2
    assert page.select(".alerts form") == []
    assert who.post("/cases/99/acknowledge").status_code == 404


def test_open_alerts_come_with_picture_patient_and_diagnosis_by_urgency(
    browser: Maker, add_case: Adder, engine: Engine
) -> None:
    numbers = [add_case("alert", share, patient=f"P-{share}") for share in (0.5, 0.9)]
    with writing(engine) as session:
        session.add_all([Alert(case_id=number, rule="suspected") for number in numbers])
    page = shown(browser().get("/alerts"))
    assert [row["href"] for row in page.select(".alerts a.row")] == [f"/cases/{n}" for n in numbers[::-1]]
    first = page.select(".alerts li")[0]
    assert first.select_one("img")["src"] == f"/cases/{numbers[1]}/picture/thumbnail"  # type: ignore[index]
    for told in ("P-0.9", "suspected", "melanoma 90"):
        assert told in " ".join(first.get_text().split())


def test_alerts_come_in_pages(browser: Maker, add_case: Adder, engine: Engine) -> None:
    number = add_case("alert", 0.9)
    with writing(engine) as session:
        session.add_all([Alert(case_id=number, rule=f"rule {i}") for i in range(220)])
    who = browser()
    first = shown(who.get("/alerts?all=true"))
    assert texts(first, ".alerts small") == [f"rule {i}" for i in range(219, 169, -1)]
    assert len(first.select("a[href='/alerts?before=171&all=true']")) == 1
    assert texts(shown(who.get("/alerts?all=true&before=171")), ".alerts small")[0] == "rule 169"
    assert "220 alerts are open; the 200 most urgent are shown" in who.get("/alerts").text


@pytest.mark.parametrize("settings", [Settings(mail=Mail(to=("a@b.c",)))])
def test_messages_that_were_given_up_are_shown_and_make_the_service_unwell(
    browser: Maker, nobody: TestClient, add_case: Adder, engine: Engine, settings: Settings
) -> None:
    number = add_case("alert", 0.9)
    assert nobody.get("/health").status_code == 200
    with writing(engine) as session:
        alert = Alert(case_id=number, rule="one")
        session.add(alert)
        session.flush()
        told = Delivery(
            alert_id=alert.id, channel="email", address="a@b.c", state="dead", attempts=9, error="refused"
        )
        session.add(told)
    page = shown(browser().get("/alerts"))
    assert len(page.select(".problem")) == 1
    assert texts(page, ".problem + .scroll td:nth-child(5)") == ["refused"]
    assert nobody.get("/health").status_code == 503
    assert len(shown(browser().get("/status")).select(".checks .is-bad")) == 1


def test_new_alerts_are_counted_for_the_title(browser: Maker, add_case: Adder, engine: Engine) -> None:
    who = browser()
    assert who.get("/alerts/new").json() == {"new": 0, "last": 0}
    with writing(engine) as session:
        for number in (add_case("alert", 0.9), add_case("alert", 0.8), add_case("alert", 0.7)):
            session.add(Alert(case_id=number, rule="melanoma suspected"))
    assert who.get("/alerts/new?since=1").json() == {"new": 2, "last": 3}
    who.post("/cases/3/acknowledge")
    assert who.get("/alerts/new?since=1").json() == {"new": 1, "last": 2}


def entered(who: TestClient, number: int) -> dict[str, str]:
    """The form for the outcome of a case, as its page shows it."""
    mark = shown(who.get(f"/outcomes?case={number}")).select_one("[name=shown]")["value"]
    return {
        "case": str(number), "shown": str(mark), "diagnosis": "MEL", "method": "histology", "note": "typed",
    }  # fmt: skip


def test_an_outcome_is_found_by_patient_lesion_accession_and_case_and_shown_before_it_is_kept(
    browser: Maker, add_case: Adder, engine: Engine, draw: Callable[[str], None]
) -> None:
    draw("e" * 64)
    number = add_case("alert", 0.9, patient="P-1", lesion="A7", accession="Q-99", sha256="e" * 64)
    stranger = add_case("routine", 0.1, patient="P-2", stage="decided", decided_at=now())
    who = browser()
    for search in ("p-1", "a7", "q-99", str(number)):
        rows = shown(who.get(f"/outcomes?search={search}")).select(".found-cases a")
        assert [row["href"] for row in rows] == [f"/outcomes?case={number}"]
    assert len(shown(who.get("/outcomes?search=p-2")).select(".found-cases a")) == 1  # decided ones too
    page = shown(who.get(f"/outcomes?case={number}"))
    assert len(page.select(f".chosen img[src='/cases/{number}/picture/view']")) == 1
    assert texts(page, ".chosen dd b") == ["P-1", "A7", "Q-99"]
    # The number is changed after the photograph was shown, or was typed without one.
    data = entered(who, number)
    for wrong in ({"case": str(stranger)}, {"shown": ""}):
        answer = who.post("/outcomes", data=data | wrong)
        assert answer.status_code == 422
        page = shown(answer)
        assert "Check" in page.select_one("#problem").get_text()
        assert texts(page, "textarea") == ["typed"]
        assert len(page.select(".chosen")) == 1
    with writing(engine) as session:  # or it was corrected meanwhile
        session.get_one(Case, number).patient = "P-3"
    assert who.post("/outcomes", data=data).status_code == 422
    with reading(engine) as session:
        assert session.scalars(select(Outcome)).all() == []
    assert who.post("/outcomes", data=entered(who, number)).status_code == 303


def test_an_outcome_is_kept_and_shown(browser: Maker, add_case: Adder, engine: Engine) -> None:
    number = add_case("alert", 0.9, stage="decided", decided_at=now())
    who = browser()
    with writing(engine) as session:
        reader = session.scalars(select(Account.id)).one()
        session.add(Read(case_id=number, account_id=reader, position=1, diagnosis="MEL", action="biopsy"))
    awaited = f"td a[href='/outcomes?case={number}']"
    assert len(shown(who.get("/outcomes")).select(awaited)) == 1
    assert len(shown(who.get(f"/outcomes?case={number}")).select(f"#case[value='{number}']")) == 1
    data = entered(who, number) | {"note": "pT1a"}
    assert who.post("/outcomes", data=data).headers["location"] == f"/outcomes?kept={number}"
    page = shown(who.get(f"/outcomes?kept={number}"))
    assert len(page.select(f".banner a[href='/cases/{number}']")) == 1
    assert page.select(awaited) == []
    assert texts(shown(who.get(f"/cases/{number}")), ".history q") == ["pT1a"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"case": "99"}, "99"),
        ({"case": "x"}, "x"),
        ({"case": "9" * 12}, "9" * 12),
        ({"diagnosis": ""}, "diagnosis"),
        ({"method": "guess"}, "guess"),
    ],
)
def test_an_outcome_that_cannot_be_used_is_told(
    browser: Maker, add_case: Adder, wrong: dict[str, str], words: str, engine: Engine
) -> None:
    who = browser()
    data = entered(who, add_case("alert", 0.9))
    answer = who.post("/outcomes", data=data | wrong)
    assert answer.status_code == 422
    page = shown(answer)
    assert words in page.select_one("#problem").get_text()
    assert texts(page, "textarea") == ["typed"]
    with reading(engine) as session:
        assert session.scalars(select(Outcome)).all() == []


def test_outcomes_are_imported_line_by_line(browser: Maker, add_case: Adder) -> None:
    first, second = add_case("alert", 0.9, patient="P-1"), add_case("refer", 0.3, patient="P-2")
    table = (
        f"case,patient,diagnosis,method\n{first},P-1,MEL,histology\n{second},P-2,wart,histology\n"
        f"{second},P-99,NV,histology\n"
    )
    who = browser()
    answer = who.post("/outcomes/import", files={"table": ("o.csv", table)})
    assert answer.status_code == 200
    page = shown(answer)
    assert re.findall(r"\d+", *texts(page, ".banner")) == ["1", "2"]
    assert [re.findall(r"\d+", line) for line in texts(page, ".problems b")] == [["3"], ["4"]]
    again = who.post("/outcomes/import", files={"table": ("o.csv", table)})
    assert re.findall(r"\d+", *texts(shown(again), ".banner")) == ["0", "1", "2"]


@pytest.mark.parametrize(
    "table", [b"", b"\xff\xfe\x00", b"a,b\n1,2\n", b"patient,diagnosis,method\n", b"\x89PNG\r\n"]
)
def test_a_table_that_is_none_is_told(browser: Maker, table: bytes) -> None:
    answer = browser().post("/outcomes/import", files={"table": ("o.csv", table)})
    assert answer.status_code == 422
    assert len(shown(answer).select("#import-problem")) == 1
    assert browser().post("/outcomes/import", data={"table": "text"}).status_code == 422


def test_whole_cases_that_are_shown_together_or_given_by_the_api_are_in_the_trail(
    browser: Maker, program: Maker, add_case: Adder, engine: Engine, draw: Callable[[str], None]
) -> None:
    routine = [add_case("routine", 0.01) for _ in range(3)]
    suspicious, held, seen = add_case("alert", 0.9), add_case("alert", 0.8), add_case("alert", 0.7)
    pictured = add_case("alert", 0.6, sha256="e" * 64)
    draw("e" * 64)
    with writing(engine) as session:
        told = {"patient": "P-7", "lesion": "", "site": "", "accession": "", "note": "", "file_name": ""}
        session.add(Conflict(case_id=held, sha256="0" * 64, source="page", sender="uli", told=told))

    def viewed(who: str) -> list[str]:
        query = select(Event.subject).where(Event.action == "viewed", Event.actor == who)
        with reading(engine) as session:
            return list(session.scalars(query.order_by(Event.id)))

    anna = browser("dermatologist", "anna")
    for _ in range(2):  # once in a while
        chosen = [f"{number}.0" for number in (*routine, suspicious)]
        assert anna.post("/routine/review", data={"case": chosen}).status_code == 200
        assert anna.get("/conflicts").status_code == 200
        assert anna.get(f"/cases/{pictured}/picture/view").status_code == 200
        anna.get(f"/cases/{seen}/picture/thumbnail")  # of a list
        anna.get("/alerts")
    # The alert is not shown on that page: it says only that it is not routine.
    assert viewed("anna") == [f"case {number}" for number in (*routine, held, pictured)]
    for number, call in enumerate(("decisions", "outcomes", "comments", "corrections", "tags")):
        camera = program("dermatologist", name=f"camera{number}")
        for _ in range(2):
            assert camera.get(f"/api/cases/{seen}/{call}").status_code == 200
        assert viewed(f"camera{number}") == [f"case {seen}"], call
    camera = program("dermatologist", name="camera")
    assert len(camera.get("/api/conflicts").json()) == 1
    assert viewed("camera") == [f"case {held}"]


def test_lists_that_a_program_gets_are_in_the_trail_with_their_filter(
    program: Maker, add_case: Adder, engine: Engine
) -> None:
    for number in range(3):
        add_case("alert", 0.9, patient=f"P-{number}")
    camera = program("dermatologist")
    for _ in range(2):
        first = camera.get("/api/cases", params={"limit": 2}).json()
        camera.get("/api/cases", params={"limit": 2, "after": first["next"]})
        camera.get("/api/cases", params={"search": " P-1 "})
        camera.get("/api/alerts")
        camera.get("/api/alerts", params={"all": True})
    listed = select(Event.actor, Event.subject, Event.detail).where(Event.action == "listed")

    def told() -> list[tuple[str, str, dict[str, object]]]:
        with reading(engine) as session:
            rows = session.execute(listed.order_by(Event.id)).all()
        return [(actor, subject, json.loads(detail)) for actor, subject, detail in rows]

    order = {"order": "suspicion"}
    once = [
        {"what": "cases", "filter": {"lane": "suspicion", **order}},
        {"what": "cases", "filter": {"search": "P-1", **order}},
        {"what": "alerts", "filter": {}},
        {"what": "alerts", "filter": {"all": "true"}},
    ]
    assert told() == [("dermatologist", "cases", own) for own in once]
    with writing(engine) as session:
        session.execute(update(Event).values(at=(now() - timedelta(minutes=16)).isoformat()))
    camera.get("/api/alerts")
    assert len(told()) == 5


def test_outcomes_that_leave_melanoma_open_are_told(browser: Maker, engine: Engine) -> None:
    with writing(engine) as session:
        case = screened("alert", 0.9, patient="P-1", model_digest=None)
        session.add(case)
        session.flush()
        session.add(Outcome(case_id=case.id, diagnosis="MEL|NV", method="follow-up"))
    page = shown(browser("dermatologist", "bea").get("/performance/figures?since=2020-01-01"))
    assert "1 other outcome leaves open whether it was melanoma" in texts(page, ".figure")[2]
    assert "No outcomes have been entered yet" not in page.get_text()


def test_the_performance_page_draws_what_was_measured(browser: Maker, engine: Engine) -> None:
    who = browser()
    assert len(shown(who.get("/performance/figures")).select(".empty a[href='/upload']")) == 1
    with writing(engine) as session:
        for i in range(40):
            case = screened(
                "alert" if i % 2 else "routine", 0.9 if i % 2 else 0.01, patient=f"P{i}", model_digest=None
            )
            session.add(case)
            session.flush()
            session.add(Outcome(case_id=case.id, diagnosis="MEL" if i % 2 else "NV", method="histology"))
    page = shown(browser("dermatologist", "bea").get("/performance/figures?since=2020-01-01"))
    assert texts(page, ".figure b")[0] == "40"
    sensitivity = page.select_one(".ranges tbody tr")
    assert texts(sensitivity, ".number") == ["100.0 % 83.2–100.0"]
    assert re.findall(r"\d+", *texts(sensitivity, ".counted")) == ["20", "20", "20"]
    assert len(sensitivity.select("svg .span")) == 1
    assert len(page.select(".columns svg[aria-label] .received")) == 1
    assert who.get("/performance?since=never").status_code == 422
    asked = "[hx-get='/performance/figures?since=2026-01-01&until=']"
    assert len(shown(who.get("/performance?since=2026-01-01")).select(asked)) == 1


def test_what_took_long_to_measure_is_kept_for_a_while(
    browser: Maker, add_case: Adder, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_case("alert", 0.9)
    who = browser()
    monkeypatch.setattr("dermsentry.clinic.web.performance_cache.KEPT", 1e6)
    first = who.get("/performance/figures").text
    add_case("alert", 0.9)
    assert who.get("/performance/figures").text == first


def test_what_is_measured_fast_is_measured_anew(
    browser: Maker, add_case: Adder, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_case("alert", 0.9)
    who = browser()
    monkeypatch.setattr("dermsentry.clinic.web.performance_cache.KEPT", 0)
    assert texts(shown(who.get("/performance/figures")), ".figure b")[0] == "1"
    add_case("alert", 0.9)
    assert texts(shown(who.get("/performance/figures")), ".figure b")[0] == "2"


def test_columns_hold_every_day_and_stay_few() -> None:
    assert columns([]) == []
    assert columns([Day("2026-01-30", 1, 0), Day("2026-02-02", 2, 1)]) == [
        Day("2026-01-30", 1, 0),
        Day("2026-01-31", 0, 0),
        Day("2026-02-01", 0, 0),
        Day("2026-02-02", 2, 1),
    ]
    many = columns([Day("2020-01-01", 3, 1), Day("2026-01-01", 4, 2)])
    assert len(many) <= MOST_COLUMNS
    assert (sum(day.received for day in many), sum(day.alerts for day in many)) == (7, 3)


def test_the_audit_trail_is_read_filtered_and_verified(browser: Maker, engine: Engine, trail: Trail) -> None:
    with writing(engine) as session:
        for i in range(130):
            append(
                session,
                trail,
                "worker",
                Made("finding shown", f"case {i % 2 + 1}", {"melanoma": 0.123456, "i": i}),
            )
    who = browser("administrator")
    page, rows = shown(who.get("/audit")), ".events tbody tr"
    assert len(page.select(rows)) == 100
    assert texts(page, f"{rows}:first-child .detail span") == ["i 129", "i", "melanoma 0.1235", "melanoma"]
    assert len(page.select("a[href^='/audit?before=31']")) == 1
    assert len(shown(who.get("/audit?before=31")).select(rows)) == 30
    assert len(shown(who.get("/audit?subject=2&action=finding+shown")).select(rows)) == 65
    page = shown(who.get("/audit?action=nothing"))
    assert len(page.select(".empty")) == 1
    assert page.select_one("#action [selected]").get_text() == "nothing"  # type: ignore[union-attr]
    page = shown(who.get("/audit?subject=2&action=finding+shown", headers={"accept-language": "de"}))
    assert texts(page, f"{rows}:first-child td")[3:5] == ["Ergebnis gezeigt", "Fall 2"]
    assert page.select_one("#action [selected]")["value"] == "finding shown"  # type: ignore[index]
    # An account that was put into the table is found too.
    [problem] = texts(shown(who.post("/audit/verification")), ".problem li")
    assert problem == "account administrator is in no event"
    with writing(engine) as session:
        append(session, trail, "system", AccountAddedEvent("administrator", "administrator"))
    verdict = shown(who.post("/audit/verification"))
    assert "131" in verdict.select_one(".banner").get_text()
    with writing(engine) as session:
        session.execute(update(Event).where(Event.id == 7).values(actor="eve"))
    [problem] = texts(shown(who.post("/audit/verification")), ".problem li")
    assert "7" in problem


def test_who_looked_at_a_case_is_in_the_trail_once_in_a_while(
    browser: Maker, program: Maker, add_case: Adder, engine: Engine, draw: Callable[[str], None]
) -> None:
    draw("f" * 64)
    number, other = add_case("alert", 0.9, sha256="f" * 64), add_case("alert", 0.8)
    anna, bea = browser("dermatologist", "anna"), browser("dermatologist", "bea")
    camera = program("dermatologist")
    for _ in range(2):
        anna.get(f"/cases/{number}")
        anna.get(f"/cases/{number}/correction")
    bea.get(f"/outcomes?case={number}")
    camera.get(f"/api/cases/{number}/picture/view")
    camera.get(f"/api/cases/{other}")
    anna.get("/cases/99")
    seen = select(Event.actor, Event.subject).where(Event.action == "viewed").order_by(Event.id)
    with reading(engine) as session:
        assert [tuple(row) for row in session.execute(seen)] == [
            ("anna", f"case {number}"),
            ("bea", f"case {number}"),
            ("dermatologist", f"case {number}"),
            ("dermatologist", f"case {other}"),
        ]
    with writing(engine) as session:
        session.execute(update(Event).values(at=(now() - timedelta(minutes=16)).isoformat()))
    anna.get(f"/cases/{number}")
    with reading(engine) as session:
        assert len(session.execute(seen).all()) == 5


def test_a_trail_that_cannot_be_written_keeps_no_doctor_from_a_case(
    browser: Maker, add_case: Adder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    number, who = add_case("alert", 0.9), browser()

    def full(*_: object, **__: object) -> None:
        raise OutputError("no space left")

    monkeypatch.setattr(views, "append", full)
    assert who.get(f"/cases/{number}").status_code == 200
    assert f"case {number}" in caplog.text


def test_the_audit_trail_is_exported_whole_and_that_is_an_event(
    browser: Maker, engine: Engine, trail: Trail
) -> None:
    with writing(engine) as session:
        for i in range(1200):
            append(session, trail, "worker", Made("screened", "case 1", {"i": i}))
    answer = browser("administrator").get("/audit.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith('attachment; filename="audit-20')
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [int(row["id"]) for row in rows] == list(range(1, 1202))
    assert (rows[-1]["action"], rows[-1]["subject"]) == ("exported", "audit trail")


def test_an_administrator_makes_and_changes_accounts(browser: Maker, engine: Engine) -> None:
    who = browser("administrator")
    data = {
        "name": "Dora",
        "full_name": "Dr Dora",
        "role": "dermatologist",
        "password": "correct horse battery",
    }
    assert who.post("/accounts", data=data).status_code == 303
    again = who.post("/accounts", data=data)
    assert again.status_code == 422
    assert "dora" in shown(again).select_one("#problem").get_text()
    assert "correct horse" not in again.text
    dora = browser("dermatologist", "dora")
    assert dora.get("/outcomes").headers["location"] == "/account/first-password?next=%2Foutcomes"
    with writing(engine) as session:
        session.execute(update(Account).values(password_given=False))
    assert dora.get("/outcomes").status_code == 200
    assert who.post("/accounts/2", data={"role": "uploader"}).status_code == 303
    assert dora.get("/outcomes").status_code == 403
    assert who.post("/accounts/2", data={"password": "another long password"}).status_code == 303
    assert dora.get("/upload").status_code == 303
    assert who.post("/accounts/2", data={"role": "king"}).status_code == 422
    assert who.post("/accounts/2", data={"state": "frozen"}).status_code == 422
    assert who.post("/accounts/2", data={"password": "short"}).status_code == 422
    assert who.post("/accounts/99", data={}).status_code == 404
    with reading(engine) as session:
        told = [(event.action, event.detail) for event in session.scalars(select(Event).order_by(Event.id))]
    assert [action for action, _ in told] == ["account added", "role changed", "password given"]
    assert not any("horse" in detail or "another" in detail for _, detail in told)


@pytest.mark.parametrize("change", [{"role": "uploader"}, {"state": "closed"}])
def test_the_last_administrator_stays_one(browser: Maker, engine: Engine, change: dict[str, str]) -> None:
    who = browser("administrator")
    answer = who.post("/accounts/1", data=change)
    assert answer.status_code == 422
    assert len(shown(answer).select("#problem")) == 1
    with reading(engine) as session:
        account = session.get_one(Account, 1)
        assert (account.role, account.active) == ("administrator", True)
        assert session.scalars(select(Event)).all() == []
    browser("administrator", "zoe")
    assert who.post("/accounts/1", data=change).status_code == 303


def test_a_token_is_shown_once_and_revoked(browser: Maker, nobody: TestClient, engine: Engine) -> None:
    who = browser("uploader")
    data = {"label": "Camera", "scopes": ["cases:write"], "days": "30"}
    answer = who.post("/account/tokens", data=data)
    assert answer.status_code == 201
    [secret] = texts(shown(answer), ".secret p code")
    answer, revoke = who.get("/account"), "form[action='/account/tokens/1/revoke']"
    assert texts(shown(answer), "td:first-child") == ["Camera"]
    assert len(shown(answer).select(revoke)) == 1
    assert secret not in answer.text
    bearer = {"authorization": f"Bearer {secret}"}
    assert nobody.post("/api/cases", headers=bearer).status_code == 422
    with reading(engine) as session:
        token = session.scalars(select(Token)).one()
        assert token.expires_at is not None
        assert timedelta(days=29) < token.expires_at - now() < timedelta(days=31)
    other = browser("uploader", "eve")
    assert other.post("/account/tokens/1/revoke").status_code == 404
    assert who.post("/account/tokens/1/revoke").headers["location"] == "/account"
    assert nobody.post("/api/cases", headers=bearer).status_code == 401
    assert shown(who.get("/account")).select(revoke) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scopes": ["audit:read"]}, "audit:read"),
        ({"scopes": ["everything"]}, "everything"),
        ({"scopes": []}, "none"),
        ({"label": " "}, "label"),
        ({"days": "9999"}, "9999"),
    ],
)
def test_a_token_that_cannot_be_is_told(
    browser: Maker, engine: Engine, wrong: dict[str, object], words: str
) -> None:
    data = {"label": "Camera", "scopes": ["cases:write"], "days": "30"}
    answer = browser("dermatologist").post("/account/tokens", data=data | wrong)
    assert answer.status_code == 422
    assert words in shown(answer).select_one("#token-problem").get_text()
    with reading(engine) as session:
        assert session.scalars(select(Token)).all() == []


def test_an_administrator_revokes_anybodys_token(browser: Maker, program: Maker) -> None:
    caller = program("dermatologist")
    who = browser("administrator")
    assert texts(shown(who.get("/accounts")), "td:nth-child(2)") == ["for a test"]
    assert who.post("/account/tokens/1/revoke").headers["location"] == "/accounts"
    assert caller.get("/api/cases").status_code == 401


def test_health_says_little_to_strangers_and_more_to_people(
    nobody: TestClient, browser: Maker, add_case: Adder, engine: Engine, clinic: ServedClinic
) -> None:
    answer = nobody.get("/health")
    assert answer.status_code == 200
    assert set(answer.json()) == {"status", "version", "processes"}
    unwell = ".checks .is-bad"
    assert shown(browser("uploader").get("/status")).select(unwell) == []
    number = add_case("", None, received_at=now() - timedelta(minutes=9))
    with writing(engine) as session:
        session.add(Job(case_id=number))
    told = nobody.get("/health")
    assert (told.status_code, told.json()["status"]) == (503, "unwell")
    [waits] = texts(shown(browser("uploader").get("/status")), unwell)
    assert re.findall(r"\d+", waits) == ["1", "9"]


def test_health_tells_when_each_process_was_last_heard_of(
    nobody: TestClient, browser: Maker, clinic: ServedClinic
) -> None:
    pulses = {"worker 1": Pulse("worker 1", 2.0, ""), "housekeeping": Pulse("housekeeping", 7.25, "")}
    clinic.pulses.extend((lambda name=name: pulses[name]) for name in pulses)
    answer = nobody.get("/health")
    assert (answer.status_code, answer.json()["processes"]) == (
        200,
        [
            {"name": "worker 1", "seconds": 2.0, "well": True},
            {"name": "housekeeping", "seconds": 7.2, "well": True},
        ],
    )
    for unwell in (
        Pulse("worker 1", 500.0, ""),
        Pulse("worker 1", None, ""),
        Pulse("worker 1", 9.0, "it cannot be started (Too many open files)"),
    ):
        pulses["worker 1"] = unwell
        answer = nobody.get("/health")
        assert (answer.status_code, answer.json()["processes"][0]["well"]) == (503, False)
        [words] = texts(shown(browser().get("/status")), ".checks .is-bad")
        assert unwell.problem[3:] in words
    pulses["worker 1"] = Pulse("worker 1", None, "", starting=True)
    assert nobody.get("/health").status_code == 200


def test_health_tries_to_write_where_photographs_go(
    nobody: TestClient, clinic: ServedClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "TRIED_EVERY_S", 0.0)
    assert nobody.get("/health").status_code == 200
    place = clinic.pictures.folder / "photographs"
    assert list(place.iterdir()) == []
    place.rmdir()
    place.write_text("a file where a folder should be")
    assert nobody.get("/health").status_code == 503
    place.unlink()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(health.tempfile, "TemporaryFile", full)
    assert nobody.get("/health").status_code == 503


@pytest.mark.parametrize(
    ("hours", "words"),
    [(36, "36 h"), (1.5, "1.5 h"), (1, "1 h"), (1 / 3, "20 min"), (0.02, "72 s"), (0, "0 s")],
)
def test_less_than_an_hour_is_told_in_minutes_or_seconds(hours: float, words: str) -> None:
    assert wording.hours(hours) == words


def test_what_cannot_be_measured_has_no_chart(browser: Maker, add_case: Adder) -> None:
    add_case("alert", 0.9)
    page = shown(browser().get("/performance/figures"))
    empty = [row for row in page.select(".ranges tr") if "–" in texts(row, ".number")]
    assert empty
    assert not any(row.select("svg") for row in empty)
