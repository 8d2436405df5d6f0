"""What leaves the clinic by its pages and its API, and what must not."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from fhir.resources.R4B.bundle import Bundle
from pydicom import dcmread
from sqlalchemy import Engine, select

from clinic.dicom_files import dicom_bytes
from clinic.web_app import shown
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.intake.admission import About, receive
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import Alert, Case, Delivery, Event, now

Maker = Callable[..., TestClient]
Adder = Callable[..., int]
FORMS = ("/cases/{}/fhir", "/cases/{}/structured-report")


def exported(engine: Engine) -> list[tuple[str, str, dict[str, object]]]:
    with reading(engine) as session:
        events = session.scalars(select(Event).where(Event.action == "exported").order_by(Event.id))
        return [(event.actor, event.subject, json.loads(event.detail)) for event in events]


def as_dicom(engine: Engine, clinic: ServedClinic, add_case: Adder, **header: object) -> int:
    """A screened case that came as DICOM."""
    received = receive(clinic, dicom_bytes(**header), About(), source="dicom", actor="CAMERA")
    other = add_case("alert", 0.9)
    with writing(engine) as session:
        came, like = session.get_one(Case, received.case_id), session.get_one(Case, other)
        for name in ("state", "tier", "lane", "rank", "melanoma", "finding", "model_digest", "screened_at"):
            setattr(came, name, getattr(like, name))
    return received.case_id


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_case_leaves_as_fhir_and_the_trail_tells_who_took_it(
    browser: Maker, program: Maker, add_case: Adder, engine: Engine, prefix: str
) -> None:
    number = add_case("alert", 0.9, patient="P-1")
    who = program("dermatologist") if prefix else browser()
    answer = who.get(f"{prefix}/cases/{number}/fhir")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/fhir+json"
    assert answer.headers["content-disposition"] == f'attachment; filename="case-{number}.fhir.json"'
    bundle = Bundle.model_validate_json(answer.content)
    assert bundle.entry[0].resource.status == "preliminary"
    assert exported(engine) == [("dermatologist", f"case {number}", {"as": "FHIR"})]


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_case_that_came_as_dicom_leaves_as_a_structured_report(
    browser: Maker, program: Maker, add_case: Adder, engine: Engine, clinic: ServedClinic, prefix: str
) -> None:
    number = as_dicom(engine, clinic, add_case)
    who = program("dermatologist") if prefix else browser()
    answer = who.get(f"{prefix}/cases/{number}/structured-report")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom"
    report = dcmread(io.BytesIO(answer.content))
    assert report.Modality == "SR"
    assert report.PreliminaryFlag == "PRELIMINARY"
    assert exported(engine) == [("dermatologist", f"case {number}", {"as": "DICOM SR"})]


@pytest.mark.parametrize("form", FORMS)
def test_what_cannot_be_told_is_said_and_is_no_export(
    browser: Maker, program: Maker, add_case: Adder, engine: Engine, form: str
) -> None:
    waits, photograph = add_case("", None), add_case("alert", 0.9)
    assert shown(browser().get(f"/cases/{waits}")).select("a[download]") == []
    for number in (waits, photograph) if "structured" in form else (waits,):
        answer = program("dermatologist").get("/api" + form.format(number))
        assert (answer.status_code, answer.json()["error"]) == (409, "not-now")
        assert browser().get(form.format(number)).status_code == 409
    assert program("dermatologist").get("/api" + form.format(99)).status_code == 404
    assert exported(engine) == []


def test_a_page_offers_each_way_out_where_it_leads_somewhere(
    browser: Maker, add_case: Adder, engine: Engine, clinic: ServedClinic
) -> None:
    photograph, dicom = add_case("alert", 0.9), as_dicom(engine, clinic, add_case)
    for number, forms in ((photograph, FORMS[:1]), (dicom, FORMS)):
        links = shown(browser().get(f"/cases/{number}")).select("a[download]")
        assert [link["href"] for link in links] == [form.format(number) for form in forms]


def test_pixels_that_name_the_patient_are_looked_at_but_never_taken_away(
    browser: Maker,
    program: Maker,
    add_case: Adder,
    engine: Engine,
    clinic: ServedClinic,
    draw: Callable[[str], None],
) -> None:
    number = as_dicom(engine, clinic, add_case, BurnedInAnnotation="YES")
    with reading(engine) as session:
        draw(session.get_one(Case, number).sha256)
    assert browser().get(f"/cases/{number}/picture/view").status_code == 200
    for kind in ("view", "thumbnail", "saliency"):
        answer = program("dermatologist").get(f"/api/cases/{number}/picture/{kind}")
        assert answer.status_code == 409
    paper = browser().get(f"/cases/{number}/print")
    assert "/picture/" not in paper.text
    assert len(shown(paper).select("main > .notice:not(.synthetic)")) == 1


def test_a_print_is_an_export(browser: Maker, add_case: Adder, engine: Engine) -> None:
    number = add_case("alert", 0.9)
    assert browser().get(f"/cases/{number}/print").status_code == 200
    assert browser().get("/cases/99/print").status_code == 404
    assert exported(engine) == [("dermatologist", f"case {number}", {"as": "print"})]


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_cases_leave_as_a_table_without_who_they_are_of(
    browser: Maker, program: Maker, add_case: Adder, engine: Engine, prefix: str
) -> None:
    for i in range(3):
        add_case("alert", 0.9, patient="Miller", note="a note", file_name="miller.jpg", lesion=f"L{i}")
    who = program("dermatologist") if prefix else browser()
    answer = who.get(f"{prefix}/cases.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="cases-{now():%Y-%m-%d}.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["case"] for row in rows] == ["1", "2", "3"]
    assert "iller" not in answer.text
    named = list(csv.DictReader(io.StringIO(who.get(f"{prefix}/cases.csv?personal=true").text)))
    assert {row["patient"] for row in named} == {"Miller"}
    assert who.get(f"{prefix}/cases.csv?since=2020-01-01&until=2020-12-31").text.count("\n") == 1
    details = [detail for _, _, detail in exported(engine)]
    assert [detail["personal"] for detail in details] == [False, True, False]
    assert details[2]["until"] == "2021-01-01T00:00:00+00:00"
    assert who.get(f"{prefix}/cases.csv?since=never").status_code == 422


def test_messages_that_were_given_up_are_sent_again_by_an_administrator(
    browser: Maker, add_case: Adder, engine: Engine
) -> None:
    number = add_case("alert", 0.9)
    with writing(engine) as session:
        alert = Alert(case_id=number, rule="r")
        session.add(alert)
        session.flush()
        lost = Delivery(
            alert_id=alert.id,
            channel="email",
            address="a@example.org",
            state="dead",
            attempts=12,
            error="away",
        )
        session.add(lost)
    again = "form[action='/messages/1/again']"
    assert shown(browser().get("/alerts")).select(again) == []
    who = browser("administrator")
    assert len(shown(who.get("/alerts")).select(again)) == 1
    assert who.post("/messages/1/again").headers["location"] == "/alerts"
    with reading(engine) as session:
        queued = session.get_one(Delivery, 1)
        assert (queued.state, queued.attempts) == ("pending", 0)
    assert who.post("/messages/1/again").status_code == 422
    assert who.post("/messages/99999999999999999999/again").status_code == 422
    assert shown(who.get("/alerts")).select(again) == []


def test_a_program_sees_and_acknowledges_alerts(program: Maker, add_case: Adder, engine: Engine) -> None:
    numbers = [add_case("alert", 0.9) for _ in range(3)]
    with writing(engine) as session:
        session.add_all([Alert(case_id=number, rule="r") for number in numbers])
    who = program("dermatologist")
    first = who.get("/api/alerts?limit=2").json()
    assert [alert["case_id"] for alert in first["alerts"]] == [3, 2]
    rest = who.get(f"/api/alerts?limit=2&before={first['next']}").json()
    assert ([alert["case_id"] for alert in rest["alerts"]], rest["next"]) == ([1], None)
    assert who.post("/api/cases/2/acknowledgement").status_code == 204
    assert [alert["case_id"] for alert in who.get("/api/alerts").json()["alerts"]] == [3, 1]
    assert len(who.get("/api/alerts?all=true").json()["alerts"]) == 3
    assert who.post("/api/cases/99/acknowledgement").status_code == 404


def test_a_program_gets_the_figures_of_the_performance_page(program: Maker, add_case: Adder) -> None:
    add_case("alert", 0.9)
    found = program("dermatologist").get("/api/performance?since=2020-01-01").json()
    assert (found["received"], found["melanomas"]) == (1, 0)
    assert {rule["name"] for rule in found["rules"]} == {"alert", "alert or referral"}
    assert found["needed_to_biopsy"]["value"] is None
