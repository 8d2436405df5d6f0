"""The pages on which conflicts are settled, and cases corrected, withdrawn and restored."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from clinic.cases import photograph, reread
from clinic.web_app import shown, texts
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.intake.admission import About, receive
from dermsentry.clinic.store.audit_trail import hold
from dermsentry.clinic.store.database import writing
from dermsentry.clinic.store.tables import Case
from dermsentry.clinic.worklist import corrections, matches
from dermsentry.clinic.worklist.matches import keep_match

Maker = Callable[..., TestClient]
Adder = Callable[..., int]


def conflict(clinic: ServedClinic) -> int:
    for patient in ("P-1", "P-2"):
        got = receive(clinic, photograph(), About(patient=patient), source="api", actor="camera")
    return got.case_id


def test_a_conflict_is_shown_with_both_and_settled_with_a_reason(
    browser: Maker, clinic: ServedClinic, engine: Engine
) -> None:
    number, who = conflict(clinic), browser()
    lane = shown(who.get("/")).select_one(".lane-conflicts .count")
    assert lane is not None
    assert lane.get_text() == "1"
    page = shown(who.get("/conflicts"))
    assert texts(page, ".differs td") == ["P-1", "P-2 differs"]
    assert page.select("form[action='/conflicts/1'] [name=resolution][checked]") == []
    wrong = who.post("/conflicts/1", data={"resolution": "corrected", "reason": " "})
    assert wrong.status_code == 422
    assert len(shown(wrong).select("[value=corrected][checked]")) == 1
    assert reread(engine, number).patient == "P-1"
    assert who.post("/conflicts/1", data={"resolution": "corrected", "reason": "swapped"}).status_code == 303
    assert reread(engine, number).patient == "P-2"
    page = shown(who.get("/conflicts"))
    assert page.select(".conflict") == []
    assert shown(who.get("/")).select(".lane-conflicts .count") == []
    again = who.post("/conflicts/1", data={"resolution": "kept", "reason": "late"})
    assert again.status_code == 422
    assert "may have settled it" in shown(again).select_one(".problem").get_text()


def test_a_conflict_shows_as_different_what_admission_held_it_for(
    browser: Maker, clinic: ServedClinic
) -> None:
    receive(clinic, photograph(), About(patient="Strauß  A", lesion="L1"), source="api", actor="camera")
    told = About(patient="STRAUSS a", lesion="L2", technique="dermoscopic")
    held = receive(clinic, photograph(), told, source="api", actor="camera").held
    assert held is not None
    assert held.differs == ("lesion",)
    page = shown(browser().get("/conflicts"))
    assert texts(page, ".conflict tr.differs td") == ["L1", "L2 differs"]
    assert "dermoscopic" in " ".join(texts(page, ".conflict td")).lower()


def test_the_page_says_how_many_more_there_are(
    browser: Maker, add_case: Adder, clinic: ServedClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    who, cases = browser(), [add_case(patient=f"P-{number}") for number in range(4)]
    receive(clinic, photograph(), About(patient="P-0"), source="api", actor="camera")
    for number in range(1, 4):
        receive(clinic, photograph(), About(patient=f"P-{number}"), source="api", actor="camera")
        same_skin(clinic, cases[number - 1], cases[number])
    same_skin(clinic, cases[1], cases[3])
    for case in cases:
        who.get(f"/cases/{case}/fhir")
    with writing(clinic.engine) as session:
        for case in cases:
            session.get_one(Case, case).revision += 1
    none = shown(who.get("/conflicts")).select(".notice:not(.synthetic)")
    assert none == []
    for module in (corrections, matches):
        monkeypatch.setattr(module, "MOST_SHOWN", 2)
    told = texts(shown(who.get("/conflicts")), ".notice:not(.synthetic)")
    assert told == [
        "And 1 more, shown as these are settled.",
        "And 2 more, shown as these are settled.",
        "And 2 more, shown as these are exported again.",
    ]
    monkeypatch.setattr(matches, "MOST_SHOWN", 1)
    page = shown(who.get(f"/cases/{cases[1]}"))
    assert "And 2 more that are not shown." in " ".join(texts(page, "section p"))


def test_a_case_is_corrected_withdrawn_and_restored_from_its_page(
    browser: Maker, add_case: Adder, engine: Engine
) -> None:
    number, who = add_case("alert", 0.9, patient="P-1", lesion="A"), browser()
    assert who.get(f"/cases/{number}/fhir").status_code == 200
    assert len(shown(who.get(f"/cases/{number}")).select(f"a[href='/cases/{number}/correction']")) == 1
    page = shown(who.get(f"/cases/{number}/correction"))
    assert page.select_one("#patient")["value"] == "P-1"
    data = {"patient": "P-2", "lesion": "A", "site": "", "accession": "", "reason": ""}
    wrong = who.post(f"/cases/{number}/correction", data=data)
    assert wrong.status_code == 422
    assert shown(wrong).select_one("#patient")["value"] == "P-2"  # what was typed stays
    assert who.post(f"/cases/{number}/correction", data=data | {"reason": "swapped"}).status_code == 303
    page = shown(who.get(f"/cases/{number}"))
    assert texts(page, ".about b") == ["P-2", "A"]
    [told] = [line for line in texts(page, ".history li") if line.endswith("swapped")]
    assert "Corrected by Dermatologist: patient P-2 instead of P-1" in told
    assert "FHIR" in page.select_one(".notice:not(.synthetic)").get_text()  # it left before
    outdated = shown(who.get("/conflicts")).select(f"a[href='/cases/{number}/fhir']")
    assert len(outdated) == 1
    who.get(f"/cases/{number}/fhir")
    assert shown(who.get("/conflicts")).select(f"a[href='/cases/{number}/fhir']") == []
    assert who.post(f"/cases/{number}/withdrawal", data={"reason": "a test"}).status_code == 303
    page = shown(who.get(f"/cases/{number}"))
    assert "a test" in page.select_one(".problem").get_text().lower()
    assert page.select("[name=diagnosis]") == []
    assert shown(who.get("/")).select(".cases li") == []
    assert len(shown(who.get("/?lane=withdrawn")).select(".cases li")) == 1
    assert "entered in error" in shown(who.get(f"/cases/{number}/print")).select_one(".problem").get_text()
    assert who.post(f"/cases/{number}/restoration", data={"reason": "none"}).status_code == 303
    assert len(shown(who.get("/")).select(".cases li")) == 1


def test_a_program_learns_which_reports_to_fetch_again(
    browser: Maker, program: Maker, add_case: Adder
) -> None:
    number, who = add_case("alert", 0.9, patient="P-1"), program("dermatologist")
    who.get(f"/api/cases/{number}/fhir")
    assert who.get("/api/exports/outdated").json() == []
    browser().post(f"/cases/{number}/withdrawal", data={"reason": "why"})
    [own] = who.get("/api/exports/outdated").json()
    assert (own["case"], own["form"]) == (number, "FHIR")
    assert who.get(f"/api/cases/{number}/fhir").json()["entry"][0]["resource"]["status"] == "entered-in-error"
    assert who.get("/api/exports/outdated").json() == []


def same_skin(clinic: ServedClinic, one: int, other: int) -> int:
    with writing(clinic.engine) as session:
        hold(session)
        cases = (session.get_one(Case, number) for number in (one, other))
        match = keep_match(session, clinic, *cases, 0.85, False)
        assert match is not None
        return match.id


def test_the_same_skin_under_two_patients_is_shown_on_both_cases_and_settled(
    browser: Maker, add_case: Adder, clinic: ServedClinic
) -> None:
    old, new, who = add_case(patient="P-1", lesion="A"), add_case(patient="P-2"), browser()
    number = same_skin(clinic, old, new)
    assert texts(shown(who.get("/")), ".lane-conflicts .count") == ["1"]
    for case, other, patient in ((old, new, "P-2"), (new, old, "P-1")):
        page = shown(who.get(f"/cases/{case}"))
        [notice] = [line for line in texts(page, ".notice") if "same skin" in line]
        assert f"as case {other} of patient {patient}" in notice
        assert page.select_one(f".notice a[href='/conflicts#case-{new}']") is not None
        assert len(page.select(f".matches a[href='/cases/{case}/compare/{other}']")) == 1
    page = shown(who.get("/conflicts"))
    assert texts(page, f"#case-{new} h3") == ["Patient P-2 or P-1?"]
    assert len(page.select(f"#case-{new} .pairing li")) == 2
    sent = {"match": number, "resolution": "nothing"}
    wrong = who.post("/conflicts/matches", data=sent)
    assert wrong.status_code == 422
    assert len(shown(wrong).select(f"#case-{new} .problem")) == 1
    right = who.post("/conflicts/matches", data=sent | {"resolution": "same", "reason": "one person"})
    assert right.status_code == 303
    assert shown(who.get("/conflicts")).select(".pairing") == []
    assert shown(who.get("/")).select(".lane-conflicts .count") == []
    page = shown(who.get(f"/cases/{new}"))
    assert "one person" in page.select_one(".matches").get_text()
    assert [line for line in texts(page, ".notice") if "same skin" in line] == []
    assert who.post("/conflicts/matches", data=sent | {"resolution": "same"}).status_code == 422


def test_the_same_skin_of_one_patient_is_told_quietly_and_can_be_refused(
    browser: Maker, add_case: Adder, clinic: ServedClinic
) -> None:
    old, new, who = add_case(patient="P-1", lesion="A"), add_case(patient="P-1", lesion="B"), browser()
    number = same_skin(clinic, old, new)
    assert shown(who.get("/")).select(".lane-conflicts .count") == []
    page = shown(who.get(f"/cases/{new}"))
    assert "the same patient, lesion A" in texts(page, ".matches p")[0]
    assert [line for line in texts(page, ".notice") if "same skin" in line] == []
    path = f"/cases/{new}/matches/{number}"
    assert who.post(f"/cases/99/matches/{number}", data={"resolution": "different"}).status_code == 404
    assert who.post(path, data={"resolution": "different"}).status_code == 303
    page = shown(who.get(f"/cases/{old}"))
    assert "Not the same skin: Dermatologist" in " ".join(texts(page, ".matches p"))
    assert page.select(".matches form") == []


def test_programs_read_and_settle_matches(program: Maker, add_case: Adder, clinic: ServedClinic) -> None:
    old, new, who = add_case(patient="P-1"), add_case(patient="P-2"), program("dermatologist")
    number = same_skin(clinic, old, new)
    [own] = who.get("/api/matches").json()
    told = {"id": number, "case": new, "other": old, "patients": True, "in_place": False, "agreement": 0.85}
    assert told.items() <= own.items()
    assert who.get(f"/api/cases/{old}").json()["matches"] == [own]
    path = f"/api/matches/{number}/resolution"
    settled = who.post(path, json={"resolution": "different", "reason": "only alike"})
    assert settled.status_code == 201
    assert settled.json()["resolution"] == "different"
    assert who.get("/api/matches").json() == []
    assert who.post(path, json={"resolution": "same"}).status_code == 422
    assert who.post("/api/matches/99/resolution", json={"resolution": "same"}).status_code == 404
