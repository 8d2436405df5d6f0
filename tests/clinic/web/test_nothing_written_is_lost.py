"""What a doctor wrote is there again: after a lost session, an old form, a colleague, a fault."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import pytest
from bs4 import Tag
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select, update

from clinic.web_app import PASSWORD, shown, texts
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.accounts import IDLE, hash_password
from dermsentry.clinic.store.database import DatabaseError, reading, writing
from dermsentry.clinic.store.tables import Account, Draft, Read, SignIn, now
from dermsentry.clinic.web import written
from dermsentry.clinic.web.pages import case as case_page
from dermsentry.clinic.web.pages import together as together_page
from dermsentry.clinic.worklist.drafts import COMMENT, FIELDS

Maker = Callable[..., TestClient]
Adder = Callable[..., int]
YES = {"agrees": "yes", "diagnosis": "MEL", "action": "biopsy", "note": "ulcerated, 4 mm"}


def drafts(engine: Engine) -> list[tuple[int, str, str]]:
    with reading(engine) as session:
        return [(own.case_id, own.form, own.fields["note"]) for own in session.scalars(select(Draft))]


def test_a_session_that_ended_shows_the_text_again_and_leads_back_to_the_case(
    browser: Maker, add_case: Adder, engine: Engine
) -> None:
    number, who = add_case("alert", 0.9), browser("dermatologist", "anna")
    with writing(engine) as session:
        session.execute(update(SignIn).values(seen_at=now() - IDLE - timedelta(minutes=1)))
        session.execute(update(Account).values(password_hash=hash_password(PASSWORD)))
    answer = who.post(f"/cases/{number}/decision?lane=suspicion", data=YES)
    assert answer.status_code == 401
    page = shown(answer)
    assert texts(page, "main textarea") == ["ulcerated, 4 mm"]
    link = page.select_one("main .primary")["href"]
    assert link == f"/sign-in?next=%2Fcases%2F{number}%3Flane%3Dsuspicion"
    form = shown(who.get(str(link)))
    back = who.post(
        "/sign-in",
        data={
            "name": "anna",
            "password": PASSWORD,
            "next": form.select_one("[name=next]")["value"],
        },
        headers={"x-csrf-token": str(form.select_one("[name=csrf]")["value"])},
    )
    assert back.headers["location"] == f"/cases/{number}?lane=suspicion"
    with reading(engine) as session:
        assert session.scalars(select(Read)).all() == []


def test_a_part_of_a_page_leads_back_to_the_page_that_it_is_part_of(nobody: TestClient) -> None:
    for path, wanted in (("/cases/7?lane=waiting", "%2Fcases%2F7%3Flane%3Dwaiting"), ("//evil.example/", "")):
        headers = {"hx-request": "true", "hx-current-url": f"http://testserver{path}"}
        answer = nobody.get("/worklist/rows", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["hx-redirect"] == "/sign-in" + (f"?next={wanted}" if wanted else "")


def test_a_form_that_is_too_old_shows_the_text_again(browser: Maker, add_case: Adder) -> None:
    number, who = add_case("alert", 0.9), browser()
    del who.headers["x-csrf-token"]
    answer = who.post(f"/cases/{number}/decision", data=YES | {"csrf": "of another session"})
    assert answer.status_code == 403
    page = shown(answer)
    assert texts(page, "main textarea") == ["ulcerated, 4 mm"]
    assert page.select_one("main .primary")["href"] == f"/cases/{number}"


@pytest.mark.parametrize("role", ["dermatologist", "administrator"])
def test_a_colleague_who_was_first_leaves_the_text_to_be_seen(
    browser: Maker, add_case: Adder, role: str
) -> None:
    number = add_case("alert", 0.9)
    anna, bea = browser("dermatologist", "anna"), browser(role, "bea")
    anna.post(f"/cases/{number}/decision", data=YES)
    answer = bea.post(f"/cases/{number}/decision", data={**YES, "diagnosis": "NV", "note": "regular"})
    assert answer.status_code == 409
    page = shown(answer)
    assert chosen(page, "#written") == {
        "Agrees with the tier": "Yes",
        "Diagnosis": "nevus",
        "Management": "Biopsy",
    }
    assert texts(page, "#written textarea") == ["regular"]


def test_a_fault_and_a_text_that_is_too_long_show_it_again(
    browser: Maker, add_case: Adder, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, who = add_case("alert", 0.9), browser()
    own = {**YES, "csrf": who.headers.pop("x-csrf-token")}  # as a form sends it
    long = who.post(f"/cases/{number}/decision", data=own | {"note": "x" * 4001})
    assert long.status_code == 422
    assert texts(shown(long), "main textarea") == ["x" * 4001]

    def away(*_: object, **__: object) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(case_page, "decide", away)
    fault = who.post(f"/cases/{number}/decision", data=own)
    assert fault.status_code == 503
    assert texts(shown(fault), "main textarea") == ["ulcerated, 4 mm"]


def test_what_a_stranger_sends_is_shown_only_where_it_is_small(nobody: TestClient) -> None:
    small = nobody.post("/cases/1/decision", data={"note": "x" * 4000})
    assert (small.status_code, "xxx" in small.text) == (401, True)
    large = nobody.post("/cases/1/decision", data={"note": "x" * 70_000})
    assert (large.status_code, "xxx" in large.text) == (401, False)


def test_a_draft_is_kept_for_its_author_until_the_decision_is_saved(
    browser: Maker, add_case: Adder, engine: Engine
) -> None:
    number, other = add_case("alert", 0.9), add_case("alert", 0.8)
    anna, bea = browser("dermatologist", "anna"), browser("dermatologist", "bea")
    for note in ("ulc", "ulcerated"):
        assert anna.post(f"/cases/{number}/draft", data=YES | {"note": note}).status_code == 204
    assert drafts(engine) == [(number, "decision", "ulcerated")]
    page = shown(anna.get(f"/cases/{number}"))
    assert texts(page, "form[data-draft] #note") == ["ulcerated"]
    assert [own["value"] for own in page.select("form[data-draft] [checked]")] == ["yes", "MEL", "biopsy"]
    assert len(page.select(".draft")) == 1
    for who, case_id in ((bea, number), (anna, other)):  # nobody else's, of no other case
        page = shown(who.get(f"/cases/{case_id}"))
        assert page.select(".draft, form[data-draft] [checked]") == []
    assert anna.post(f"/cases/{number}/decision", data=YES).status_code == 303
    assert drafts(engine) == []
    # One that comes late, while the decision was being saved, does not come back.
    assert anna.post(f"/cases/{number}/draft", data=YES).status_code == 204
    assert drafts(engine) == []
    assert anna.post("/cases/99/draft", data=YES).status_code == 404


def test_a_draft_is_discarded_and_an_empty_one_is_none(
    browser: Maker, add_case: Adder, engine: Engine
) -> None:
    number, who = add_case("alert", 0.9), browser()
    for empty in ({"discard": "yes"}, {"note": " "}):
        who.post(f"/cases/{number}/draft", data={"note": "ulcerated"})
        assert len(drafts(engine)) == 1
        answer = who.post(f"/cases/{number}/draft", data=empty)
        assert answer.status_code == (303 if "discard" in empty else 204)
        assert drafts(engine) == []


def test_a_draft_outlives_a_colleague_who_was_first(browser: Maker, add_case: Adder, engine: Engine) -> None:
    number = add_case("alert", 0.9)
    anna, bea = browser("dermatologist", "anna"), browser("dermatologist", "bea")
    bea.post(f"/cases/{number}/draft", data={**YES, "note": "regular border"})
    anna.post(f"/cases/{number}/decision", data=YES)
    page = shown(bea.get(f"/cases/{number}"))
    assert texts(page, "#written textarea") == ["regular border"]
    bea.post(f"/cases/{number}/draft", data={"discard": "yes"})
    assert shown(bea.get(f"/cases/{number}")).select("#written") == []


def test_an_amendment_that_was_begun_is_a_draft_too(browser: Maker, add_case: Adder, engine: Engine) -> None:
    number, anna = add_case("alert", 0.9), browser("dermatologist", "anna")
    anna.post(f"/cases/{number}/decision", data=YES)
    begun = {**YES, "form": "amendment", "diagnosis": "NV", "reason": "second look"}
    assert anna.post(f"/cases/{number}/draft", data=begun).status_code == 204
    page = shown(anna.get(f"/cases/{number}"))
    assert len(page.select("details.amend[open]")) == 1
    assert page.select_one("details.amend [name=reason]")["value"] == "second look"
    assert [own["value"] for own in page.select("details.amend [checked]")] == ["yes", "NV", "biopsy"]
    assert anna.post(f"/cases/{number}/amendment", data=begun).status_code == 303
    assert drafts(engine) == []


@pytest.mark.parametrize("settings", [Settings(readers=2)])
def test_a_draft_tells_the_second_reader_nothing(browser: Maker, add_case: Adder, settings: Settings) -> None:
    number = add_case("alert", 0.9)
    anna, bea = browser("dermatologist", "anna"), browser("dermatologist", "bea")
    anna.post(f"/cases/{number}/draft", data=YES)
    assert "ulcerated" not in bea.get(f"/cases/{number}").text


def test_the_page_knows_when_its_session_ends_and_staying_renews_it(browser: Maker, engine: Engine) -> None:
    who = browser()
    body = shown(who.get("/account")).select_one("body")
    assert int(body["data-idle"]) == IDLE.total_seconds()
    assert 0 < int(body["data-ends"]) <= 12 * 3600
    with writing(engine) as session:
        session.execute(update(SignIn).values(seen_at=now() - timedelta(minutes=58)))
    assert who.post("/account/stay").status_code == 204
    with reading(engine) as session:
        assert session.scalars(select(SignIn.seen_at)).one() > now() - timedelta(minutes=1)


FILLED = {
    "agrees": "no",
    "diagnosis": "",
    "action": "follow-up",
    "note": "ulcerated, 4 mm",
    "other": "Merkel cell carcinoma",
    "other_code": "ICD-O 8247/3",
    "certainty": "low",
    "follow_up_on": "2027-01-31",
    "asymmetry": "2",
    "border": "7",
    "colours": ["red", "blue-grey"],
    "structures": ["dots"],
    "seven_point": ["atypical-vessels", "regression"],
}
TYPED = ["ulcerated, 4 mm", "Merkel cell carcinoma", "ICD-O 8247/3"]
CHOSEN = {
    "Agrees with the tier": "No",
    "Management": "Follow-up",
    "Certainty": "low",
    "Follow-up on": "31 Jan 2027",
    "ABCD: asymmetry": "2",
    "ABCD: border": "7",
    "ABCD: colours": "red, blue-grey",
    "ABCD: structures": "dots",
    "7-point checklist": "atypical vascular pattern, regression structures",
}


def chosen(page: Tag, selector: str) -> dict[str, str]:
    names, values = (texts(page, f"{selector} .facts {part}") for part in ("dt", "dd"))
    return dict(zip(names, values, strict=True))


def end_session(engine: Engine) -> None:
    with writing(engine) as session:
        session.execute(update(SignIn).values(seen_at=now() - IDLE - timedelta(minutes=1)))


@pytest.mark.parametrize("how", ["session gone", "form too old", "fault", "colleague first"])
def test_all_that_was_filled_in_is_shown_again(
    browser: Maker, add_case: Adder, engine: Engine, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    number, anna, bea = (
        add_case("alert", 0.9),
        browser("dermatologist", "anna"),
        browser("dermatologist", "b"),
    )
    own = {**FILLED, "csrf": anna.headers.pop("x-csrf-token")}  # as a form sends it
    if how == "session gone":
        end_session(engine)
    elif how == "form too old":
        own["csrf"] = "of another session"
    elif how == "fault":

        def away(*_: object, **__: object) -> None:
            raise DatabaseError("gone")

        monkeypatch.setattr(case_page, "decide", away)
    else:
        assert bea.post(f"/cases/{number}/decision", data=YES).status_code == 303
    answer = anna.post(f"/cases/{number}/decision", data=own)
    assert answer.status_code >= 400
    expired = [text for text in texts(shown(answer), "h1") if "expired" in text]
    assert bool(expired) == (how == "form too old")
    where = "#written" if how == "colleague first" else "main"
    assert texts(shown(answer), f"{where} textarea[readonly]") == TYPED
    assert chosen(shown(answer), where) == CHOSEN


def test_all_that_was_begun_is_shown_where_a_colleague_was_first_and_it_is_a_draft(
    browser: Maker, add_case: Adder
) -> None:
    number, anna, bea = (
        add_case("alert", 0.9),
        browser("dermatologist", "anna"),
        browser("dermatologist", "b"),
    )
    begun = {"other": "Merkel cell carcinoma", "seven_point": ["none"]}  # nothing that is required
    assert anna.post(f"/cases/{number}/draft", data=begun).status_code == 204
    bea.post(f"/cases/{number}/decision", data=YES)
    page = shown(anna.get(f"/cases/{number}"))
    assert texts(page, "#written textarea") == ["Merkel cell carcinoma"]
    assert chosen(page, "#written") == {"7-point checklist": "none of the seven"}


@pytest.mark.parametrize("how", ["session gone", "form too old", "fault", "too long"])
def test_a_comment_is_shown_again(
    browser: Maker, add_case: Adder, engine: Engine, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    number, who = add_case("alert", 0.9), browser()
    own = {"text": "grew since spring", "csrf": who.headers.pop("x-csrf-token")}
    if how == "session gone":
        end_session(engine)
    elif how == "form too old":
        own["csrf"] = "of another session"
    elif how == "too long":
        own["text"] = "x" * 4001
    else:

        def away(*_: object) -> None:
            raise DatabaseError("gone")

        monkeypatch.setattr(together_page, "comment", away)
    answer = who.post(f"/cases/{number}/comments", data=own)
    assert answer.status_code >= 400
    assert texts(shown(answer), "main textarea") == [own["text"]]


def test_a_comment_that_was_begun_is_a_draft_beside_that_of_the_decision(
    browser: Maker, add_case: Adder, engine: Engine
) -> None:
    number, anna, bea = (
        add_case("alert", 0.9),
        browser("dermatologist", "anna"),
        browser("dermatologist", "b"),
    )
    said = {"form": "comment", "text": "grew since spring"}

    def begun(who: TestClient) -> tuple[list[str], list[str], int]:
        page = shown(who.get(f"/cases/{number}"))
        drafted = texts(page, "#comment"), texts(page, "#note")
        return *drafted, len(page.select(".draft"))

    assert anna.post(f"/cases/{number}/draft", data=said).status_code == 204
    assert begun(anna) == (["grew since spring"], [""], 0)
    assert begun(bea) == ([""], [], 0)  # nobody else's, and anna holds the case
    anna.post(f"/cases/{number}/draft", data=YES)
    assert begun(anna) == (["grew since spring"], ["ulcerated, 4 mm"], 1)
    anna.post(f"/cases/{number}/draft", data={"discard": "yes"})  # of the decision
    assert begun(anna) == (["grew since spring"], [""], 0)
    anna.post(f"/cases/{number}/draft", data=YES)
    anna.post(f"/cases/{number}/decision", data=YES)  # the decision goes, the comment stays
    assert texts(shown(anna.get(f"/cases/{number}")), "#comment") == ["grew since spring"]
    assert anna.post(f"/cases/{number}/comments", data=said).status_code == 303
    assert anna.post(f"/cases/{number}/draft", data=said).status_code == 204  # it came late
    with reading(engine) as session:
        assert session.scalars(select(Draft)).all() == []


def test_what_no_form_holds_is_shown_as_it_came(browser: Maker, add_case: Adder) -> None:
    number, who = add_case("alert", 0.9), browser()
    del who.headers["x-csrf-token"]
    strange = dict.fromkeys({*written.TYPED, *written.CHOSEN}, "close")
    answer = who.post(f"/cases/{number}/decision", data=strange | {"csrf": "of another session"})
    assert answer.status_code == 403
    assert (
        set(texts(shown(answer), "main textarea")) == set(chosen(shown(answer), "main").values()) == {"close"}
    )


ACCOUNTS = {"name", "full_name", "label", "token", "code", "username", "scopes", "role", "language", "days"}
ONE_CLICK = {"to", "technique", "state"}
SITE_MODEL = {"sensitivity", "confidence", "rarer"}
NOT_KEPT = ACCOUNTS | ONE_CLICK | SITE_MODEL
"""What a form of the pages may hold and no error page shows again."""


def test_no_form_has_a_field_that_nobody_thought_of() -> None:
    folder = Path(str(files("dermsentry.clinic").joinpath("web/templates")))
    found = set()
    for path in folder.glob("*.html"):
        for form in re.findall(r'<form method="post".*?</form>', path.read_text(encoding="utf-8"), re.S):
            for tag in re.findall(r"<(?:input|textarea|select)\b[^>]*>", form):
                kind = re.search(r'\stype="(\w+)"', tag)
                name = re.search(r'\sname="(\w+)"', tag)
                if name and (not kind or kind[1] not in ("hidden", "password", "file", "checkbox", "radio")):
                    found.add(name[1])
    known = {*written.TYPED, *written.CHOSEN}
    assert found - known - NOT_KEPT == set()
    assert {*FIELDS, *COMMENT} <= known
    assert {"text", "note", "reason", "other", "other_code", "breslow", "named", "add"} <= found
