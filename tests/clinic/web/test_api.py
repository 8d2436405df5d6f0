"""The REST API: what each call gives, end to end."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select

from bundles import tiny_card
from clinic.cases import photograph
from clinic.filled_store import finding
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.records import verify_records
from dermsentry.clinic.store.tables import Alert, Event, now
from dermsentry.clinic.worker.queue import lease
from dermsentry.clinic.worker.screener import Screening
from dermsentry.clinic.worker.worker import keep_result
from dermsentry.diagnoses import CODES

Maker = Callable[..., TestClient]
Adder = Callable[..., int]
DECISION = {"agrees": True, "diagnosis": "MEL", "action": "biopsy", "note": "ulcerated"}


def test_a_case_from_photograph_to_outcome(program: Maker, engine: Engine, clinic: ServedClinic) -> None:
    sender, reader, chief = program("uploader"), program("dermatologist"), program("administrator")
    sent = sender.post("/api/cases", files={"photographs": ("a.jpg", photograph())}, data={"patient": "P-1"})
    assert sent.status_code == 201
    number = sent.json()["photographs"][0]["case"]
    assert reader.get("/api/cases?lane=waiting").json()["cases"][0]["id"] == number
    early = reader.post(f"/api/cases/{number}/decisions", json=DECISION)
    assert (early.status_code, early.json()["error"]) == (409, "not-now")
    assert reader.get(f"/api/cases/{number}/picture/view").status_code == 404
    with writing(engine) as session:
        leased = lease(session)
        assert leased is not None
        assert keep_result(
            session, clinic, leased, Screening(finding("alert", 0.9), 120, 90, {}), tiny_card()
        )
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
    for nothing in ({"patient": ""}, {"patient": " ", "accession": "A-1"}, {"patient": "", "lesion": "A"}):
        alone = reader.post(f"/api/cases/{number}/outcomes", json=outcome | nothing)
        assert alone.status_code == 409
        assert "neither patient nor accession" in alone.json()["detail"]
    assert reader.get(f"/api/cases/{number}/outcomes").json() == []
    kept = reader.post(f"/api/cases/{number}/outcomes", json=outcome)
    assert kept.status_code == 201
    assert reader.get(f"/api/cases/{number}/outcomes").json() == [kept.json()]
    events = chief.get(f"/api/cases/{number}/audit").json()["events"]
    assert [event["action"] for event in events] == [
        "received",
        "viewed",
        "screened",
        "alert raised",
        "read",
        "alert acknowledged",
        "read undone",
        "alert opened again",
        "outcome recorded",
    ]
    assert {event["actor"] for event in events} == {"uploader", "worker", "system", "dermatologist"}
    found = chief.get("/api/audit/verification").json()
    assert found["events"] == len(events) + 2  # the lists that were asked for
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
        "/api/matches",
        "/api/matches/{match_id}/resolution",
        "/api/exports/outdated",
        "/api/cases/{case_id}/corrections",
        "/api/cases/{case_id}/restoration",
        "/api/cases/{case_id}/withdrawal",
        "/api/cases/{case_id}/comments",
        "/api/cases/{case_id}/tags",
        "/api/cases/{case_id}/assignment",
        "/api/cases/{case_id}/lock",
        "/api/cases/{case_id}/follow-up",
        "/api/cases/{case_id}/technique",
        "/api/cases/{case_id}/alone",
        "/api/conflicts/{conflict_id}/resolution",
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


def test_a_case_is_corrected_withdrawn_and_restored_with_a_reason(
    program: Maker, add_case: Adder, engine: Engine
) -> None:
    number, reader = add_case("alert", 0.9, patient="P-1", lesion="A"), program("dermatologist")
    path = f"/api/cases/{number}"
    assert reader.get(f"{path}/fhir").status_code == 200
    assert reader.get("/api/exports/outdated").json() == []
    for given in ({"patient": "P-2"}, {"patient": "P-2", "reason": ""}, {"patients": "P-2", "reason": "x"}):
        assert reader.post(f"{path}/corrections", json=given).status_code == 422
    unchanged = reader.post(f"{path}/corrections", json={"patient": "P-1", "reason": "why"})
    assert (unchanged.status_code, unchanged.json()["error"]) == (422, "unusable")
    made = reader.post(f"{path}/corrections", json={"patient": "P-2", "lesion": "", "reason": "exchanged"})
    assert made.status_code == 201
    told = made.json()
    assert (told["kind"], told["person"], told["reason"]) == ("corrected", "dermatologist", "exchanged")
    assert (told["before"], told["after"]) == (
        {"patient": "P-1", "lesion": "A"},
        {"patient": "P-2", "lesion": ""},
    )
    assert reader.get(path).json()["patient"] == "P-2"
    assert [own["form"] for own in reader.get("/api/exports/outdated").json()] == ["FHIR"]
    assert reader.get(f"{path}/fhir").json()["entry"][0]["resource"]["status"] == "preliminary"
    assert reader.get("/api/exports/outdated").json() == []
    assert reader.post(f"{path}/restoration", json={"reason": "why"}).status_code == 422
    assert reader.post(f"{path}/withdrawal", json={"reason": "a test"}).json()["kind"] == "withdrawn"
    assert reader.get("/api/cases").json()["cases"] == []
    assert reader.get(f"{path}/fhir").json()["entry"][0]["resource"]["status"] == "entered-in-error"
    assert reader.post(f"{path}/restoration", json={"reason": "no test"}).json()["kind"] == "restored"
    assert [own["id"] for own in reader.get("/api/cases").json()["cases"]] == [number]
    kinds = [own["kind"] for own in reader.get(f"{path}/corrections").json()]
    assert kinds == ["corrected", "withdrawn", "restored"]
    with reading(engine) as session:
        actions = session.scalars(select(Event.action).where(Event.subject == f"case {number}")).all()
    assert {"corrected", "withdrawn", "restored"} <= set(actions)


def test_who_may_not_correct_cannot(program: Maker, add_case: Adder) -> None:
    number = add_case()
    only_reads = program("dermatologist", "cases:read", name="looker")
    for path in ("corrections", "withdrawal", "restoration"):
        refused = only_reads.post(f"/api/cases/{number}/{path}", json={"patient": "P", "reason": "why"})
        assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
        missing = program().post(f"/api/cases/999/{path}", json={"reason": "why"})
        assert missing.status_code == 404
    resolution = {"resolution": "kept", "reason": "why"}
    assert only_reads.post("/api/conflicts/1/resolution", json=resolution).status_code == 403
    assert program().post("/api/conflicts/1/resolution", json=resolution).status_code == 404


@pytest.mark.parametrize(("resolution", "patient"), [("kept", "P-1"), ("corrected", "P-2")])
def test_a_conflict_is_settled_by_a_program(program: Maker, resolution: str, patient: str) -> None:
    chief = program()
    for own in ("P-1", "P-2"):
        chief.post("/api/cases", files={"photographs": ("a.jpg", photograph())}, data={"patient": own})
    (conflict,) = chief.get("/api/conflicts").json()
    path = f"/api/conflicts/{conflict['id']}/resolution"
    assert chief.post(path, json={"resolution": "neither", "reason": "why"}).status_code == 422
    settled = chief.post(path, json={"resolution": resolution, "reason": "looked at both"})
    assert (settled.status_code, settled.json()["resolution"]) == (201, resolution)
    assert chief.get("/api/conflicts").json() == []
    assert chief.get(f"/api/cases/{conflict['case_id']}").json()["patient"] == patient
    assert chief.post(path, json={"resolution": resolution, "reason": "again"}).status_code == 422


def test_a_program_sends_checklists_and_gets_their_scores(program: Maker, add_case: Adder) -> None:
    number, reader = add_case("alert", 0.9), program("dermatologist")
    abcd = {"asymmetry": 2, "border": 4, "colours": ["black", "red", "red"], "structures": ["dots"]}
    for wrong in ({**abcd, "border": 9}, {**abcd, "border": "4"}, {**abcd, "colours": []}, {"asymmetry": 2}):
        refused = reader.post(f"/api/cases/{number}/decisions", json={**DECISION, "abcd": wrong})
        assert refused.status_code == 422
    both = {"abcd": abcd, "seven_point": {"criteria": ["regression", "blue-whitish-veil"]}}
    made = reader.post(f"/api/cases/{number}/decisions", json={**DECISION, **both})
    assert made.status_code == 201
    assert made.json()["abcd"] == {
        **{**abcd, "colours": ["red", "black"]},
        "score": 4.5,
        "verdict": "benign",
    }
    scored = {"criteria": ["blue-whitish-veil", "regression"], "score": 3, "verdict": "suspicious"}
    assert made.json()["seven_point"] == scored
    without = reader.post(
        f"/api/cases/{number}/amendments",
        json={**DECISION, **both, "seven_point": None, "reason": "x", "instead_of": made.json()["id"]},
    )
    assert (without.json()["seven_point"], without.json()["abcd"]["score"]) == (None, 4.5)


def test_a_program_never_amends_a_decision_that_it_has_not_seen(program: Maker, add_case: Adder) -> None:
    number, anna, head = add_case("alert", 0.9), program("dermatologist"), program("administrator")
    blind, path = program("administrator", "reads:write", name="blind"), f"/api/cases/{number}/amendments"
    seen = anna.post(f"/api/cases/{number}/decisions", json=DECISION).json()
    change = {**DECISION, "diagnosis": "SCC", "reason": "looked again"}
    assert anna.post(path, json=change).status_code == 422  # which one, it has to say
    current = head.post(path, json={**change, "instead_of": seen["id"]}).json()
    listed = anna.get(f"/api/cases/{number}/decisions").json()
    late = {**change, "diagnosis": "BCC", "instead_of": seen["id"]}
    refused = anna.post(path, json=late)
    assert (refused.status_code, refused.json()["error"]) == (409, "decision-changed")
    assert (refused.json()["seen"], refused.json()["current"]) == (seen, current)
    told = blind.post(path, json=late).json()
    assert (told["error"], told["seen"], told["current"]) == ("decision-changed", None, None)
    assert anna.get(f"/api/cases/{number}/decisions").json() == listed == [seen, current]
    assert head.post(path, json={**late, "instead_of": current["id"]}).status_code == 201


def test_programs_work_on_one_case_together(program: Maker, add_case: Adder, engine: Engine) -> None:
    number, missing = add_case("alert", 0.9), add_case("alert", 0.8) + 9
    anna, bea = (program("dermatologist", name=own) for own in ("anna", "bea"))
    looks = program("dermatologist", "cases:read", name="cleo")
    at = f"/api/cases/{number}"
    said = anna.post(f"{at}/comments", json={"text": "grew since spring"})
    assert (said.status_code, said.json()["person"]) == (201, "anna")
    assert looks.get(f"{at}/comments").json() == [said.json()]
    assert looks.post(f"{at}/comments", json={"text": "x"}).status_code == 403
    assert anna.post(f"{at}/comments", json={"text": " "}).status_code == 422
    assert anna.post(f"{at}/tags", json={"tag": "teaching"}).json() == ["teaching"]
    assert bea.post(f"{at}/tags", json={"tag": "Naevus/spitz"}).json() == ["Naevus/spitz", "teaching"]
    assert bea.delete(f"{at}/tags", params={"tag": "naevus/SPITZ"}).json() == ["teaching"]
    assert looks.get(f"{at}/tags").json() == ["teaching"]
    assert looks.get("/api/cases", params={"tag": "teaching"}).json()["cases"][0]["id"] == number
    assert anna.put(f"{at}/assignment", json={"assigned_to": "bea"}).json() == {"assigned_to": "bea"}
    assert bea.get("/api/cases", params={"assigned": "me"}).json()["cases"][0]["assigned_to"] == "bea"
    assert "no account x" in anna.put(f"{at}/assignment", json={"assigned_to": "x"}).json()["detail"]
    assert anna.put(f"{at}/assignment", json={"assigned_to": None}).json() == {"assigned_to": None}
    assert looks.get(f"{at}/lock").json() is None
    assert anna.put(f"{at}/lock").json()["person"] == "anna"
    refused = bea.put(f"{at}/lock")
    assert (refused.status_code, "Anna is reading" in refused.json()["detail"]) == (409, True)
    assert bea.post(f"{at}/decisions", json=DECISION).status_code == 409
    assert bea.delete(f"{at}/lock").status_code == 204  # her own alone
    assert looks.get(f"{at}/lock").json()["person"] == "anna"
    assert bea.put(f"{at}/lock", params={"take_over": True}).json()["person"] == "bea"
    days = {**DECISION, "action": "follow-up", "follow_up_on": str(now().date())}
    assert bea.post(f"{at}/decisions", json={**days, "confirmed": True}).status_code == 201
    assert anna.put(f"{at}/lock").status_code == 409  # it is decided
    assert bea.delete(f"{at}/follow-up").status_code == 204
    assert bea.delete(f"{at}/follow-up").status_code == 422
    assert looks.put(f"{at}/technique", json={"technique": "polarised"}).status_code == 403
    assert bea.put(f"{at}/technique", json={"technique": "by hand"}).status_code == 422
    assert bea.put(f"{at}/technique", json={"technique": "polarised"}).status_code == 200
    assert looks.get(at).json()["technique"] == "polarised"
    for call in ("comments", "tags", "lock"):
        assert looks.get(f"/api/cases/{missing}/{call}").status_code == 404
    with reading(engine) as session:
        told = session.scalars(select(Event.action).where(Event.subject == f"case {number}")).all()
        own = [own for own in told if own not in ("viewed", "alert acknowledged")]
        assert own == [
            *("commented", "tagged", "tagged", "tag removed", "assigned", "assigned", "taken over"),
            *("read", "follow-up done", "technique set"),
        ]


def test_an_outcome_needs_a_name_that_the_case_has(program: Maker, add_case: Adder) -> None:
    reader = program("dermatologist")
    outcome = {"diagnosis": "NV", "method": "histology"}
    nameless, requested = (
        add_case("alert", 0.9, patient=""),
        add_case("alert", 0.9, patient="", accession="A-1"),
    )
    assert reader.post(f"/api/cases/{nameless}/outcomes", json=outcome).status_code == 201
    refused = reader.post(f"/api/cases/{requested}/outcomes", json=outcome)
    assert (refused.status_code, "send accession" in refused.json()["detail"]) == (409, True)
    told = reader.post(f"/api/cases/{requested}/outcomes", json=outcome | {"accession": "a-1"})
    assert told.status_code == 201


def test_a_search_that_names_no_lane_looks_everywhere_and_says_where(program: Maker, add_case: Adder) -> None:
    reader = program("dermatologist")
    lanes = [
        ("alert", "suspicion"),
        ("cannot-say", "cannot-say"),
        ("alert", "withdrawn"),
        ("refer", "suspicion"),
    ]
    found = [add_case(tier, 0.5, lane=lane, patient="Q-1") for tier, lane in lanes]
    decided = add_case("alert", 0.9, stage="decided", decided_at=now(), patient="Q-1")
    add_case("alert", 0.9, patient="R-1")

    def listed(**asked: object) -> list[tuple[int, str, str]]:
        cases, after = [], ""
        while after is not None:
            page = reader.get("/api/cases", params={**asked, "limit": 2, "after": after}).json()
            cases += [(own["id"], own["lane"], own["stage"]) for own in page["cases"]]
            after = page["next"]
        return cases

    everywhere = [(decided, "suspicion", "decided")]
    everywhere += [(number, lane, "unread") for number, (_, lane) in zip(found, lanes, strict=True)][::-1]
    assert listed(search="q-1") == everywhere
    assert [number for number, *_ in listed(search="q-1", tier="alert")] == [decided, found[2], found[0]]
    assert [number for number, *_ in listed(search="q-1", lane="suspicion")] == [found[0], found[3]]
    assert [number for number, *_ in listed(search="q-1", lane="decided")] == [decided]
    assert len(listed()) == 3  # without a search, the lane of suspicion as ever


@pytest.mark.parametrize("settings", [Settings(readers=2)])
def test_a_program_of_the_second_reader_is_blind_to_the_comments_of_the_first(
    program: Maker, add_case: Adder, settings: Settings
) -> None:
    number = add_case("alert", 0.9)
    anna, bea = (program("dermatologist", name=own) for own in ("anna", "bea"))
    anna.post(f"/api/cases/{number}/comments", json={"text": "surely a melanoma"})
    assert len(bea.get(f"/api/cases/{number}/comments").json()) == 1  # nobody has read it yet
    anna.post(f"/api/cases/{number}/decisions", json=DECISION)
    assert bea.get(f"/api/cases/{number}/comments").json() == []
    bea.post(f"/api/cases/{number}/decisions", json=DECISION)
    assert len(bea.get(f"/api/cases/{number}/comments").json()) == 1


def test_how_a_photograph_was_taken_is_told_with_it(program: Maker, engine: Engine) -> None:
    sender, reader = program("uploader"), program("dermatologist")

    def send(**told: str) -> dict[str, str]:
        files = {"photographs": ("a.jpg", photograph())}
        return dict(sender.post("/api/cases", files=files, data=told).json())

    assert "expected one of overview" in send(technique="by hand")["detail"]
    number = send()["photographs"][0]["case"]  # type: ignore[index]
    assert reader.get(f"/api/cases/{number}").json()["technique"] == ""
    for told, kept in (("polarised", "polarised"), ("overview", "polarised")):  # what was said first stays
        send(technique=told)
        assert reader.get(f"/api/cases/{number}").json()["technique"] == kept
    files = {"photographs": ("b.jpg", photograph(2))}
    sent = sender.post("/api/cases", files=files, data={"technique": "close-up"}).json()["photographs"][0]
    assert reader.get(f"/api/cases/{sent['case']}").json()["technique"] == "close-up"
    with reading(engine) as session:
        assert [own for own in verify_records(session, None) if own.startswith("case")] == []


def test_a_decision_names_the_photographs_that_it_is_made_of(program: Maker, add_case: Adder) -> None:
    lead = add_case("alert", 0.9)
    part = add_case("routine", 0.05, lane="part", part_of=lead)
    who = program()
    refused = who.post(f"/api/cases/{lead}/decisions", json=DECISION)
    assert (refused.status_code, refused.json()["error"]) == (409, "not-now")
    named = {"parts": who.get(f"/api/cases/{lead}").json()["parts"]}
    assert named == {"parts": [part]}
    assert who.post(f"/api/cases/{lead}/decisions", json=DECISION | named).status_code == 201
    told = who.post(f"/api/cases/{part}/acknowledgement")
    assert (told.status_code, f"part of case {lead}" in told.json()["detail"]) == (409, True)
