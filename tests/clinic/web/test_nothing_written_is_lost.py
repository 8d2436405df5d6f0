"""What a doctor wrote is there again: after a lost session, an old form, a colleague, a fault."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select, update

from clinic.web_app import PASSWORD, shown, texts
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.accounts import IDLE, hash_password
from dermsentry.clinic.store.database import DatabaseError, reading, writing
from dermsentry.clinic.store.tables import Account, Draft, Read, SignIn, now
from dermsentry.clinic.web.pages import case as case_page

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
    assert "Nevus, biopsy" in page.select_one("#written").get_text()
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
    assert texts(page, "form[data-draft] textarea") == ["ulcerated"]
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
