"""The REST API: what each call gives, end to end."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select

from clinic.cases import photograph
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import Alert, Case, Event
from dermsentry.diagnoses import CODES

Maker = Callable[..., TestClient]
Adder = Callable[..., int]
DECISION = {"agrees": True, "diagnosis": "MEL", "action": "biopsy", "note": "ulcerated"}


def test_a_case_from_photograph_to_outcome(program: Maker, engine: Engine) -> None:
    sender, reader, chief = program("uploader"), program("dermatologist"), program("administrator")
    sent = sender.post("/api/cases", files={"photographs": ("a.jpg", photograph())}, data={"patient": "P-1"})
    assert sent.status_code == 201
    number = sent.json()["photographs"][0]["case"]
    assert reader.get("/api/cases?lane=waiting").json()["cases"][0]["id"] == number
    early = reader.post(f"/api/cases/{number}/decisions", json=DECISION)
    assert (early.status_code, early.json()["error"]) == (409, "not-now")
    assert reader.get(f"/api/cases/{number}/picture/view").status_code == 404
    with writing(engine) as session:
        case = session.get_one(Case, number)
        case.state, case.lane, case.tier, case.rank, case.melanoma = "screened", "suspicion", "alert", 0, 0.9
        case.finding = {"tier": "alert", "melanoma": 0.9}
    detail = reader.get(f"/api/cases/{number}").json()
    assert (detail["patient"], detail["source"], detail["melanoma"]) == ("P-1", "api", 0.9)
    made = reader.post(f"/api/cases/{number}/decisions", json=DECISION)
    assert made.status_code == 201
    assert made.json()["reader"] == "dermatologist"
    assert reader.get(f"/api/cases/{number}/decisions").json() == [made.json()]
    assert reader.get("/api/cases?lane=decided").json()["cases"][0]["stage"] == "decided"
    undone = reader.delete(f"/api/cases/{number}/decisions/{made.json()['id']}")
    assert (undone.status_code, undone.content) == (204, b"")
    assert reader.get(f"/api/cases/{number}/decisions").json() == []
    assert reader.delete(f"/api/cases/{number}/decisions/99").status_code == 404
    outcome = {"diagnosis": "MEL", "method": "histology", "patient": "P-1"}
    wrong = reader.post(f"/api/cases/{number}/outcomes", json=outcome | {"patient": "P-2"})
    assert (wrong.status_code, wrong.json()["error"]) == (409, "not-now")
    kept = reader.post(f"/api/cases/{number}/outcomes", json=outcome)
    assert kept.status_code == 201
    assert reader.get(f"/api/cases/{number}/outcomes").json() == [kept.json()]
    events = chief.get(f"/api/cases/{number}/audit").json()["events"]
    assert [event["action"] for event in events] == [
        "received",
        "viewed",
        "read",
        "read undone",
        "outcome recorded",
    ]
    assert {event["actor"] for event in events} == {"uploader", "dermatologist"}
    found = chief.get("/api/audit/verification").json()
    assert found["events"] == len(events)
    # The accounts were put into the table by this test.
    assert sorted(found["problems"]) == [
        f"account {name} is in no event" for name in ("administrator", "dermatologist", "uploader")
    ]


def test_the_list_is_the_worklist_page_by_page(program: Maker, add_case: Adder) -> None:
    numbers = [add_case("alert", 0.5 + i / 100) for i in range(7)][::-1]
    add_case("cannot-say", 0.99)
    who, seen, after = program(), [], ""
    while True:
        page = who.get("/api/cases", params={"limit": 3, "after": after}).json()
        seen += [case["id"] for case in page["cases"]]
        after = page["next"]
        if after is None:
            break
    assert seen == numbers
    [refused] = who.get("/api/cases?lane=cannot-say").json()["cases"]
    assert (refused["lane"], refused["melanoma"]) == ("cannot-say", None)


def test_the_audit_trail_comes_in_pages(program: Maker, engine: Engine) -> None:
    sender, who = program("uploader"), program()
    for i in range(5):
        sender.post("/api/cases", files={"photographs": photograph(i)})
    first = who.get("/api/audit?limit=3").json()
    second = who.get(f"/api/audit?limit=3&after={first['next']}").json()
    assert [event["id"] for event in first["events"] + second["events"]] == [1, 2, 3, 4, 5]
    assert second["next"] is None
    with reading(engine) as session:
        kept = session.scalars(select(Event).order_by(Event.id)).all()
    assert [event["hash"] for event in first["events"]] == [event.hash for event in kept[:3]]


@pytest.mark.parametrize("settings", [Settings(readers=2)])
def test_a_program_is_as_blind_as_its_owner(program: Maker, add_case: Adder, settings: Settings) -> None:
    number = add_case("alert", 0.9)
    anna, bea = program("dermatologist", name="anna"), program("dermatologist", name="bea")
    assert anna.post(f"/api/cases/{number}/decisions", json=DECISION).status_code == 201
    assert bea.get(f"/api/cases/{number}/decisions").json() == []
    again = anna.post(f"/api/cases/{number}/decisions", json=DECISION)
    assert again.status_code == 409
    assert bea.post(f"/api/cases/{number}/decisions", json=DECISION).status_code == 201
    assert len(bea.get(f"/api/cases/{number}/decisions").json()) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"diagnosis": "wart"},
        {"diagnosis": None},
        {"action": "burn"},
        {"agrees": "perhaps"},
        {"note": "x" * 4001},
        {"note": 7},
        {"extra": 1},
    ],
)
def test_a_decision_of_the_wrong_shape_is_told(
    program: Maker, add_case: Adder, wrong: dict[str, object]
) -> None:
    answer = program().post(f"/api/cases/{add_case('alert', 0.9)}/decisions", json=DECISION | wrong)
    assert answer.status_code == 422
    assert next(iter(wrong)) in answer.json()["detail"]


def test_the_description_is_complete(app: FastAPI, nobody: TestClient) -> None:
    told = nobody.get("/api/openapi.json").json()
    assert set(told["paths"]) == {
        "/health",
        "/api/cases",
        "/api/cases/{case_id}",
        "/api/cases/{case_id}/picture/{kind}",
        "/api/cases/{case_id}/decisions",
        "/api/cases/{case_id}/decisions/{decision_id}",
        "/api/cases/{case_id}/outcomes",
        "/api/cases/{case_id}/audit",
        "/api/cases/{case_id}/fhir",
        "/api/cases/{case_id}/structured-report",
        "/api/cases/{case_id}/acknowledgement",
        "/api/cases/{case_id}/amendments",
        "/api/conflicts",
        "/api/exports/outdated",
        "/api/cases.csv",
        "/api/alerts",
        "/api/performance",
        "/api/audit",
        "/api/audit/verification",
    }
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            assert operation["tags"]
            if not path.startswith("/api/"):
                continue
            assert operation["security"] == [{"HTTPBearer": []}]
            for code in ("401", "403", "500", "503"):
                schema = operation["responses"][code]["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}
            if "422" in operation["responses"]:
                schema = operation["responses"]["422"]["content"]["application/json"]["schema"]
                assert schema["$ref"].endswith(("/Problem", "/Refused"))
    assert "HTTPValidationError" not in json.dumps(told)
    assert all(code in json.dumps(told["components"]["schemas"]["Decision"]) for code in CODES)


def test_a_probability_that_the_page_withholds_is_withheld_from_programs(
    program: Maker, browser: Maker, add_case: Adder, engine: Engine
) -> None:
    number, assessed = add_case("cannot-say", 0.0123), add_case("alert", 0.7)
    who = program("dermatologist")
    found = who.get(f"/api/cases/{number}").json()
    assert (found["melanoma"], found["finding"]["melanoma"]) == (None, None)
    assert found["finding"]["probabilities"] is None
    assert found["finding"]["no_lesion"] == 0.1
    assert who.get(f"/api/cases/{assessed}").json()["finding"]["probabilities"]["MEL"] == 0.7
    lines = who.get("/api/cases.csv").text.splitlines()
    rows = {row["case"]: row for row in csv.DictReader(lines)}
    assert {value for name, value in rows[str(number)].items() if name.startswith("p_")} == {""}
    assert rows[str(assessed)]["p_MEL"] == "0.700000"
    assert "0.0123" not in "".join(lines)
    with writing(engine) as session:
        session.add(Alert(case_id=number, rule="not assessed"))
    assert "1.2 %" not in browser().get("/alerts").text
