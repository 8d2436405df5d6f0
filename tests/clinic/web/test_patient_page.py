"""A patient's page: who sees it, what it says, and what a person does there."""

from __future__ import annotations

import json
from collections.abc import Callable

from fastapi.testclient import TestClient
from sqlalchemy import Engine, select

from clinic.web_app import shown, texts
from dermsentry.clinic.store.database import reading
from dermsentry.clinic.store.tables import BodySite, Case, Event, Join

Browsers = Callable[..., TestClient]
AddCase = Callable[..., int]


def events(engine: Engine, action: str) -> list[Event]:
    with reading(engine) as session:
        return list(session.scalars(select(Event).where(Event.action == action).order_by(Event.id)))


def test_the_page_shows_every_lesion_and_who_looked_is_recorded(
    browser: Browsers, add_case: AddCase, draw: Callable[[str], None], engine: Engine
) -> None:
    first = add_case(patient="S-1", lesion="L1", taken="2024-03-04T10:20:30", site="chest, right")
    second = add_case("routine", 0.01, patient="S-1", lesion="L1")
    third = add_case("refer", 0.05, patient="S-1", lesion="L2")
    add_case(patient="s-1", lesion="L1")
    anna = browser()
    page = shown(anna.get(f"/cases/{first}/patient"))
    assert texts(page, ".lesion h3") == ["1 Lesion L2", "2 Lesion L1"]
    assert [a["href"] for a in page.select("#lesion-2 .of-day a")] == [f"/cases/{first}", f"/cases/{second}"]
    assert texts(page, "#lesion-2 .when")[0] == "4 Mar 2024"
    assert texts(page, "#lesion-2 .when")[1].endswith("received")
    assert "right chest (from “chest, right”)" in texts(page, "#lesion-2 .where")[0]
    assert len(page.select(".mark.presumed")) == 1
    assert "Patient S-1 and s-1: the same?" in texts(page, ".spellings li span")[0]
    assert shown(anna.get(f"/cases/{second}")).select_one(f".over-time a[href='/cases/{first}']")
    assert shown(anna.get(f"/cases/{first}")).select_one(
        f".over-time a[href='/cases/{second}']"
    )  # a later one
    told = events(engine, "patient viewed")
    assert [own.subject for own in told] == [f"case {first}"]
    assert sorted(json.loads(told[0].detail)["shown"]) == [first, second, third]


def test_a_patient_is_joined_and_separated_on_the_page(
    browser: Browsers, add_case: AddCase, engine: Engine
) -> None:
    first, second = add_case(patient="S-1", lesion="L1"), add_case(patient="s-1", lesion="l1")
    anna = browser()
    path = f"/cases/{first}/patient"
    pair = {"kind": "patient", "first": "S-1", "second": "s-1", "same": "yes"}
    assert anna.post(f"{path}/spellings", data=pair).headers["location"] == path
    page = shown(anna.get(path))
    assert "also written s-1" in texts(page, ".about")[0]
    assert texts(page, ".spellings li span")[0].startswith("Lesion L1 and l1")
    lesions = {"kind": "lesion", "first": "L1", "second": "l1", "same": "yes"}
    anna.post(f"{path}/spellings", data=lesions)
    page = shown(anna.get(path))
    assert texts(page, ".lesion h3") == ["1 Lesion L1 also written l1"]
    assert {a["href"] for a in page.select(".of-day a")} == {f"/cases/{first}", f"/cases/{second}"}
    assert anna.post(f"{path}/spellings", data=lesions).status_code == 422
    with reading(engine) as session:
        join = session.scalars(select(Join).where(Join.kind == "patient")).one()
    other = add_case(patient="X")
    assert anna.post(f"/cases/{other}/patient/spellings/{join.id}/undo").status_code == 404
    assert anna.post(f"{path}/spellings/{join.id}/undo").status_code == 303
    assert len(shown(anna.get(path)).select(".of-day a")) == 1
    assert [len(events(engine, own)) for own in ("spellings joined", "spellings undone")] == [2, 1]


def test_a_lesion_is_filed_where_one_clicked(browser: Browsers, add_case: AddCase, engine: Engine) -> None:
    case_id = add_case(patient="P", lesion="L1")
    anna, path = browser(), f"/cases/{case_id}/patient"
    spot = {"lesion": "L1", "region": "chest, left", "x": "118.2", "y": "110"}
    assert anna.post(f"{path}/lesions", data=spot).status_code == 303
    assert anna.post(f"{path}/lesions", data={"named": " L2 ", "region": "sole, right"}).status_code == 303
    page = shown(anna.get(path))
    assert [text["x"] for text in page.select(".view-front .mark:not(.presumed) text")] == ["118.2"]
    assert texts(page, ".lesion h3")[1] == "2 Lesion L2"
    assert page.select_one(".view-feet .mark")
    for wrong in ({"x": "left", "y": "1"}, {"region": "tail"}, {"x": "1e9", "y": "5"}):
        answer = anna.post(f"{path}/lesions", data=spot | wrong)
        assert answer.status_code == 422
        assert "Not saved" in answer.text
    with reading(engine) as session:
        assert len(session.scalars(select(BodySite)).all()) == 2


def test_who_uploads_sees_no_patient_and_a_case_without_reference_has_none(
    browser: Browsers, add_case: AddCase
) -> None:
    assert browser("uploader").get(f"/cases/{add_case(patient='P')}/patient").status_code == 403
    anna, alone = browser(), add_case()
    assert anna.get(f"/cases/{alone}/patient").status_code == 404
    assert anna.get("/cases/99/patient").status_code == 404
    assert (
        anna.post(f"/cases/{alone}/patient/lesions", data={"named": "A", "region": "face"}).status_code == 404
    )


def test_a_reference_of_any_characters_has_a_page(browser: Browsers, add_case: AddCase) -> None:
    name = "a/b?c=<script>\"é'&#"
    case_id = add_case(patient=name, lesion=name)
    answer = browser().get(f"/cases/{case_id}/patient")
    assert answer.status_code == 200
    assert '<script>"' not in answer.text
    assert texts(shown(answer), "h1") == [f"Patient {name}"]


def test_how_a_photograph_was_taken_is_set_and_shown_beside_its_pair(
    browser: Browsers, add_case: AddCase, engine: Engine
) -> None:
    one, other = (add_case(patient="P", lesion="A", taken="2024-01-01") for _ in range(2))
    anna = browser()
    for case_id, technique in ((one, "polarised"), (other, "unpolarised")):
        assert anna.post(f"/cases/{case_id}/technique", data={"technique": technique}).status_code == 303
    captions = texts(shown(anna.get(f"/cases/{one}")), ".of-day .caption")
    assert captions == [f"Case {one}, dermoscopic, polarised", f"Case {other}, dermoscopic, not polarised"]
    assert anna.post(f"/cases/{one}/technique", data={"technique": "x-ray"}).status_code == 422
    with reading(engine) as session:
        assert session.get_one(Case, one).technique == "polarised"
