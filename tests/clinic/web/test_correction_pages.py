"""The pages on which conflicts are settled, and cases corrected, withdrawn and restored."""

from __future__ import annotations

from collections.abc import Callable

from fastapi.testclient import TestClient
from sqlalchemy import Engine

from clinic.cases import photograph, reread
from clinic.web_app import shown, texts
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.intake.admission import About, receive

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
