"""The pages on which several people work: locks, assignment, comments, tags, the gallery, routine cases."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select, text

from clinic.cases import reread
from clinic.web_app import shown, texts
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.records import verify_records
from dermsentry.clinic.store.tables import Account, Comment, Event, Lock, Read, now

Browser = Callable[..., TestClient]
AddCase = Callable[..., int]
DECISION = {"agrees": "yes", "diagnosis": "MEL", "action": "biopsy"}


def test_who_opens_a_case_holds_it_and_another_is_told_and_takes_it_over(
    browser: Browser, add_case: AddCase, engine: Engine
) -> None:
    case, anna, bea = add_case(), browser(name="anna"), browser(name="bea")
    page = shown(anna.get(f"/cases/{case}"))
    place = page.select_one("[data-lock]")
    assert place is not None
    assert "Anna is reading" in texts(shown(bea.get("/")), ".held")[0]
    assert texts(shown(anna.get("/")), ".held") == []
    page = shown(bea.get(f"/cases/{case}"))
    assert "Anna has this case open" in texts(page, ".lock")[0]
    assert page.select("form[data-decide]") == []
    refused = bea.post(f"/cases/{case}/decision", data={**DECISION, "note": "mine"})
    assert refused.status_code == 409
    assert "Anna is reading this case" in refused.text
    assert texts(shown(refused), "#note") == ["mine"]  # nothing written is lost
    own = {"key": str(place["data-key"])}
    assert anna.post(f"/cases/{case}/lock", data=own).status_code == 204
    assert bea.post(f"/cases/{case}/lock/take-over").status_code == 303
    lost = anna.post(f"/cases/{case}/lock", data=own)
    assert (lost.status_code, lost.json()["detail"]) == (409, "Bea has taken over this case.")
    assert bea.post(f"/cases/{case}/decision", data=DECISION).status_code == 303
    with reading(engine) as session:
        assert session.scalars(select(Lock)).all() == []
        assert session.scalars(select(Event.actor).where(Event.action == "taken over")).all() == ["bea"]


def test_a_page_that_is_left_gives_the_case_up(browser: Browser, add_case: AddCase, engine: Engine) -> None:
    case, anna = add_case(), browser(name="anna")
    place = shown(anna.get(f"/cases/{case}")).select_one("[data-lock]")
    assert place is not None
    for key in ("", "another", str(place["data-key"])):
        with reading(engine) as session:
            assert session.get(Lock, case) is not None
        assert anna.post(f"/cases/{case}/lock/release", data={"key": key}).status_code == 204
    with reading(engine) as session:
        assert session.get(Lock, case) is None


def test_no_lock_is_held_of_what_one_may_not_decide(
    browser: Browser, add_case: AddCase, engine: Engine
) -> None:
    waiting, decided, anna = add_case(""), add_case(), browser(name="anna")
    anna.post(f"/cases/{decided}/decision", data=DECISION)
    for case in (waiting, decided):
        assert shown(anna.get(f"/cases/{case}")).select("[data-lock]") == []
    with reading(engine) as session:
        assert session.scalars(select(Lock)).all() == []


def test_a_case_is_assigned_commented_and_tagged(browser: Browser, add_case: AddCase, engine: Engine) -> None:
    case, other, anna = add_case(), add_case(), browser(name="anna")
    bea = browser(name="bea")
    with reading(engine) as session:
        number = session.scalars(select(Account.id).where(Account.name == "bea")).one()
    for path, data in (
        ("assignment", {"to": str(number)}),
        ("comments", {"text": "<script>alert(1)</script>\nand more"}),
        ("tags", {"add": "<b>Teaching</b>"}),
    ):
        answer = anna.post(f"/cases/{case}/{path}?order=latest", data=data)
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, f"/cases/{case}")
    page = anna.get(f"/cases/{case}")
    assert "<script>alert" not in page.text
    assert "<b>Teaching" not in page.text
    assert texts(shown(page), ".said") == ["<script>alert(1)</script> and more"]
    assert texts(shown(page), ".about .tag") == ["<b>Teaching</b>"]
    assert "assigned to Bea" in texts(shown(page), ".about")[0]
    assert texts(shown(bea.get("/?assigned=me")), ".row .what b") == [f"Case {case}"]
    assert "for me" in texts(shown(bea.get("/")), ".in-lane")
    assert texts(shown(bea.get("/?assigned=nobody")), ".row .what b") == [f"Case {other}"]
    for query in ("tag=%3Cb%3Eteaching%3C/b%3E", "search=script"):
        assert texts(shown(bea.get(f"/?{query}")), "#list .row .what b") == [f"Case {case}"]
    anna.post(f"/cases/{case}/tags", data={"remove": "<b>teaching</b>"})
    anna.post(f"/cases/{case}/assignment", data={"to": "0"})
    assert texts(shown(bea.get("/?assigned=me")), "#list .row") == []
    empty = anna.post(f"/cases/{case}/comments", data={"text": " "})
    assert empty.status_code in (400, 422)
    assert "empty comment" in empty.text
    assert anna.post("/cases/999/comments", data={"text": "x"}).status_code == 404
    with reading(engine) as session:
        assert len(session.scalars(select(Comment)).all()) == 1


def test_the_gallery_shows_the_same_cases_in_the_same_order(browser: Browser, add_case: AddCase) -> None:
    for share in (0.9, 0.2, 0.5):
        add_case("alert", share, patient=f"P{share}")
    anna = browser()
    for order in ("", "latest", "longest-waiting", "patient"):
        listed = texts(shown(anna.get(f"/?order={order}")), "a.row .what b")
        page = shown(anna.get(f"/?order={order}&view=gallery"))
        assert texts(page, ".gallery a.card .what b") == listed
        assert "view=gallery" in str(page.select("a.row")[0]["href"])
    assert anna.get("/?order=patients").status_code in (400, 422)
    assert anna.get("/?view=tree").status_code in (400, 422)


def test_only_routine_cases_can_be_chosen_and_each_is_seen_before(
    browser: Browser, add_case: AddCase, engine: Engine
) -> None:
    routine = [add_case("routine", 0.01, patient=f"P{i}") for i in range(3)]
    alert, anna = add_case("alert", 0.9), browser()
    page = shown(anna.get("/?tier="))
    given = [str(box["value"]) for box in page.select("input.choose")]
    assert sorted(given) == [f"{number}.0" for number in routine]
    review = shown(anna.post("/routine/review", data={"case": [*given, f"{alert}.0"]}))
    assert len(review.select(".gallery img")) == 3
    assert "not routine" in texts(review, ".notice li")[0]
    confirmed = [str(field["value"]) for field in review.select("input[name=case]")]
    answer = anna.post("/routine/discharge", data={"case": confirmed})
    assert answer.status_code == 303
    page = shown(anna.get(answer.headers["location"]))
    assert "3 routine cases discharged" in texts(page, ".banner")[0]
    assert "can be undone until" in texts(page, ".banner")[0]
    [action] = [str(form["action"]) for form in page.select(".banner form")]
    assert anna.post(action).status_code == 303
    assert {reread(engine, number).stage for number in routine} == {"unread"}
    assert anna.post(action).status_code in (400, 422)
    # One that was forged into the form is left, and said.
    answer = anna.post("/routine/discharge", data={"case": [f"{routine[0]}.2", f"{alert}.0"]})
    assert answer.status_code == 200
    assert "not routine" in answer.text
    assert reread(engine, alert).stage == "unread"


@pytest.mark.parametrize("given", [["x"], ["1"], [], [f"{n}.0" for n in range(1, 103)]])
def test_nonsense_discharges_nothing(browser: Browser, given: list[str], engine: Engine) -> None:
    anna = browser()
    assert anna.post("/routine/discharge", data={"case": given}).status_code in (400, 422)
    with reading(engine) as session:
        assert session.scalars(select(Read)).all() == []


def test_a_colleague_who_decided_since_is_not_undone(
    browser: Browser, add_case: AddCase, engine: Engine
) -> None:
    first, second, anna = add_case("routine", 0.01), add_case("routine", 0.01), browser(name="anna")
    answer = anna.post("/routine/discharge", data={"case": [f"{first}.0", f"{second}.0"]})
    key = answer.headers["location"].rpartition("batch=")[2]
    head = browser("administrator", "head")
    with reading(engine) as session:
        read = session.scalars(select(Read.id).where(Read.case_id == first)).one()
    amended = {"agrees": "no", "diagnosis": "MEL", "action": "biopsy", "reason": "looked again"}
    path, seen = f"/cases/{first}/amendment", {"instead_of": str(read)}
    assert head.post(path, data={**amended, **seen}).status_code == 303
    stale = anna.post(path, data={**amended, **seen, "action": "follow-up"})
    assert (stale.status_code, "Head has changed the decision" in stale.text) == (409, True)
    undone = anna.post(f"/routine/{key}/undo")
    assert undone.status_code == 200
    assert "Another person has read the case since" in undone.text
    assert (reread(engine, first).stage, reread(engine, second).stage) == ("decided", "unread")
    with writing(engine) as session:
        assert session.scalars(select(Read.action).where(Read.undone_at.is_(None))).all()[-1] == "biopsy"


def test_a_finer_diagnosis_its_certainty_and_the_next_visit_are_shown_and_exported(
    browser: Browser, add_case: AddCase, engine: Engine
) -> None:
    first, second, anna = add_case("refer", 0.1), add_case("refer", 0.1), browser()
    today = now().date().isoformat()
    common = {"agrees": "yes", "action": "follow-up", "follow_up_on": today, "certainty": "high"}
    wrong = anna.post(f"/cases/{first}/decision", data={**common, "diagnosis": "MEL", "finer": "DYS"})
    assert wrong.status_code == 422
    assert "dysplastic nevus" in texts(shown(wrong), ".problem")[0]
    assert shown(wrong).select_one("#follow_up_on")["value"] == today  # type: ignore[index]
    answer = anna.post(f"/cases/{first}/decision", data={**common, "diagnosis": "NV", "finer": "DYS"})
    assert answer.status_code == 303
    other = {"diagnosis": "", "other": "Kaposi <b>sarcoma</b>", "other_code": "ICD-O 9140/3"}
    assert anna.post(f"/cases/{second}/decision", data={**common, **other}).status_code == 303
    page = shown(anna.get(f"/cases/{first}"))
    assert "dysplastic nevus (certainty: high), follow-up on" in " ".join(texts(page, ".history li"))
    assert "Kaposi <b>sarcoma</b> (ICD-O 9140/3)" in " ".join(
        texts(shown(anna.get(f"/cases/{second}")), ".history li")
    )
    page = shown(anna.get("/?lane=follow-up"))
    assert texts(page, "a.row .what b") == [f"Case {first}", f"Case {second}"]
    assert texts(page, ".lane-follow-up .count") == ["2"]
    table = list(csv.DictReader(io.StringIO(anna.get("/cases.csv").text)))
    assert [row["finer_diagnosis"] for row in table] == ["DYS", ""]
    assert (table[1]["other_code"], table[0]["certainty"]) == ("ICD-O 9140/3", "high")
    assert table[0]["follow_up_on"] == today
    assert anna.post(f"/cases/{first}/follow-up/done").status_code == 303
    assert texts(shown(anna.get("/?lane=follow-up")), "a.row .what b") == [f"Case {second}"]


CHECKLISTS = {
    "asymmetry": "2",
    "border": "4",
    "colours": ["light-brown", "dark-brown", "black"],
    "structures": ["network", "dots"],
    "seven_point": ["atypical-network", "regression"],
}


def test_checklists_are_scored_kept_amended_and_shown_wherever_the_decision_is(
    browser: Browser, add_case: AddCase, engine: Engine, clinic: ServedClinic
) -> None:
    case, anna = add_case(patient="P-1", lesion="A"), browser(name="anna")
    page = shown(anna.get(f"/cases/{case}"))
    assert page.select("details.checklists[open]") == []
    scored = shown(anna.get("/checklists", params=CHECKLISTS))
    assert texts(scored, "span") == [
        "ABCD rule 5.5: highly suspicious of melanoma",
        "7-point checklist 3: suspicious of melanoma",
    ]
    half = shown(anna.get("/checklists", params={"border": "1", "seven_point": "none"}))
    assert texts(half, "span")[0].startswith("ABCD rule: asymmetry, colours, structures still")
    assert texts(half, "span")[1] == "7-point checklist 0: not suspicious of melanoma"
    assert texts(shown(anna.get("/checklists")), "span") == []
    # A draft has them, and so has a form that was not kept.
    assert anna.post(f"/cases/{case}/draft", data={**CHECKLISTS, "agrees": "yes"}).status_code == 204
    refused = anna.post(f"/cases/{case}/decision", data={**DECISION, **CHECKLISTS, "border": ""})
    assert refused.status_code == 422
    assert "border still to be filled in" in texts(shown(refused), ".problem")[0]
    for page in (shown(anna.get(f"/cases/{case}")), shown(refused)):
        form = page.select_one("details.checklists[open]")
        assert form is not None
        ticked = [own["value"] for own in form.select("[checked]")]
        assert ticked == [*CHECKLISTS["colours"], *CHECKLISTS["structures"], *CHECKLISTS["seven_point"]]
    assert anna.post(f"/cases/{case}/decision", data={**DECISION, **CHECKLISTS}).status_code == 303
    page = shown(anna.get(f"/cases/{case}"))
    assert (
        "ABCD rule 5.5 (above 5.45: highly suspicious of melanoma): asymmetry 2 of 2, border 4 of 8, "
        in (texts(page, ".history .filled")[0])
    )
    assert texts(page, "details.amend details.checklists option[selected]") == ["2", "4"]
    assert len(page.select("details.amend details.checklists [checked]")) == 7
    assert "7-point 3" in texts(shown(anna.get(f"/cases/{case}/patient")), ".note-line")[0]
    assert "7-point checklist 3" in shown(anna.get(f"/cases/{case}/print")).get_text()
    changed = {**DECISION, **CHECKLISTS, "seven_point": "none", "reason": "no network"}
    assert anna.post(f"/cases/{case}/amendment", data=changed).status_code == 303
    row = next(csv.DictReader(io.StringIO(anna.get("/cases.csv").text)))
    assert (row["abcd_score"], row["abcd_asymmetry"], row["abcd_border"]) == ("5.5", "2", "4")
    assert row["abcd_colours"] == "light-brown; dark-brown; black"
    assert row["abcd_structures"] == "network; dots"
    assert (row["seven_point_score"], row["seven_point_criteria"]) == ("0", "none")
    with writing(engine) as session:
        told = [own for own in verify_records(session, None) if own.startswith("read")]
        assert told == []
        bent = '{"asymmetry": 0, "border": 0, "colours": [], "structures": [], "score": 1.0}'
        session.execute(text("UPDATE reads SET abcd = :bent WHERE position = 4"), {"bent": bent})
        told = [own for own in verify_records(session, None) if own.startswith("read")]
        assert told == ["read 2 is not as the events tell: abcd"]
