"""Several alerts acknowledged at once: chosen, looked at together, confirmed, and opened again together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select

from clinic.web_app import shown, texts
from dermsentry.clinic import batches
from dermsentry.clinic.alerts import acknowledging
from dermsentry.clinic.store.audit_trail import Trail, verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import Alert, Event, now

Maker = Callable[..., TestClient]
Adder = Callable[..., int]


@pytest.fixture
def alerts(engine: Engine, add_case: Adder) -> list[int]:
    """Alerts of three cases; the second has two."""
    with writing(engine) as session:
        cases = [add_case("alert", 0.9), add_case("refer", 0.3, patient="P-7"), add_case("cannot-say", 0.4)]
        rules = [(cases[0], "melanoma"), (cases[1], "melanoma"), (cases[1], "refer"), (cases[2], "refused")]
        made = [Alert(case_id=number, rule=rule) for number, rule in rules]
        session.add_all(made)
        session.flush()
        return [own.id for own in made]


def acknowledged(engine: Engine) -> list[int]:
    with reading(engine) as session:
        query = select(Alert.id).where(Alert.acknowledged_at.is_not(None)).order_by(Alert.id)
        return list(session.scalars(query))


def events(engine: Engine) -> Iterator[tuple[str, str]]:
    with reading(engine) as session:
        query = select(Event).where(Event.action.startswith("alert")).order_by(Event.id)
        yield from [(own.action, own.subject) for own in session.scalars(query)]


def test_chosen_alerts_are_shown_acknowledged_and_opened_again(
    browser: Maker, engine: Engine, trail: Trail, alerts: list[int]
) -> None:
    who = browser()
    page = shown(who.get("/alerts"))
    assert sorted(int(str(box["value"])) for box in page.select("input.choose")) == alerts
    assert all(box["form"] == page.select_one("[data-chosen]")["id"] for box in page.select("input.choose"))
    chosen = {"alert": [alerts[3], alerts[0], alerts[1]]}
    page = shown(who.post("/alerts/review", data=chosen))
    assert texts(page, "h1") == ["Acknowledge 3 alerts"]
    assert texts(page, ".cases .tier") == ["Alert", "Refer", "Cannot say"]  # the most urgent first
    assert "patient P-7" in texts(page, ".cases .what")[1]
    assert acknowledged(engine) == []  # nothing before it is confirmed
    sent = {"alert": [str(own["value"]) for own in page.select("form.together [name=alert]")]}
    answer = who.post("/alerts/acknowledge", data=sent)
    assert answer.status_code == 303
    assert acknowledged(engine) == [alerts[0], alerts[1], alerts[3]]  # and no other of the same case
    page = shown(who.get(answer.headers["location"]))
    assert "3 alerts acknowledged" in texts(page, ".banner")[0]
    assert len(page.select("input.choose")) == 1
    undo = str(page.select_one(".banner form")["action"])
    assert browser(name="bea").post(undo).status_code == 422  # another's
    assert who.post(undo).headers["location"] == "/alerts"
    assert acknowledged(engine) == []
    assert who.post(undo).status_code == 422
    told = list(events(engine))
    assert [action for action, _ in told] == ["alert acknowledged"] * 3 + ["alert opened again"] * 3
    assert {subject for _, subject in told} == {"case 1", "case 2", "case 3"}
    with reading(engine) as session:
        assert verify(session, trail).problems == ()


def test_what_another_was_first_with_is_left_and_said(
    browser: Maker, engine: Engine, alerts: list[int]
) -> None:
    anna, bea = browser(name="anna"), browser(name="bea")
    bea.post("/cases/1/acknowledge")
    page = shown(anna.post("/alerts/review", data={"alert": alerts}))
    assert texts(page, ".notice li") == ["Case 1, melanoma: It has been acknowledged already."]
    assert len(page.select(".gallery li")) == 3
    page = shown(anna.post("/alerts/acknowledge", data={"alert": alerts}))
    assert texts(page, "h1") == ["3 alerts acknowledged"]
    assert texts(page, ".notice li") == ["Case 1, melanoma: It has been acknowledged already."]
    undo = str(page.select_one("form.do")["action"])
    decision = {"agrees": "yes", "diagnosis": "NV", "action": "discharge"}
    assert bea.post("/cases/2/decision", data=decision).status_code == 303
    page = shown(anna.post(undo))  # what was decided since stays acknowledged
    assert texts(page, "h1") == ["1 alert open again"]
    assert texts(page, ".notice li") == [
        f"Case 2, {rule}: The case has been decided since." for rule in ("melanoma", "refer")
    ]
    assert acknowledged(engine) == alerts[:3]


def test_what_was_acknowledged_long_ago_stays(
    browser: Maker, engine: Engine, alerts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    who = browser()
    place = who.post("/alerts/acknowledge", data={"alert": alerts}).headers["location"]
    later = now() + batches.UNDO_FOR + timedelta(seconds=1)
    for module in (batches, acknowledging):
        monkeypatch.setattr(module, "now", lambda: later)
    assert shown(who.get(place)).select(".banner") == []
    answer = who.post(f"/alerts/{place.partition('=')[2]}/undo")
    assert answer.status_code == 422
    assert "opened again for 15 minutes" in answer.text
    assert acknowledged(engine) == alerts


def test_no_alert_too_many_and_none_such_are_refused(
    browser: Maker, engine: Engine, alerts: list[int]
) -> None:
    who = browser()
    for path in ("/alerts/review", "/alerts/acknowledge"):
        many = [str(number) for number in range(1, batches.MOST_AT_ONCE + 2)]
        for wanted in ([], many, ["x"], ["-1"], ["9" * 40], ["0" * 30 + "9" * 20], ["²"], ["1.0"], [""]):
            assert who.post(path, data={"alert": wanted}).status_code == 422, wanted
    assert texts(shown(who.post("/alerts/review", data={"alert": ["99"]})), "h1") == ["Acknowledge 0 alerts"]
    for key in ("0", "-1", "9" * 30):
        assert who.post(f"/alerts/{key}/undo").status_code == 422
        assert who.get(f"/alerts?done={key}").status_code == 200
    assert browser("uploader").post("/alerts/acknowledge", data={"alert": alerts}).status_code == 403
    assert acknowledged(engine) == []
