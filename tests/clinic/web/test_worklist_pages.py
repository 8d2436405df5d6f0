"""The worklist's lanes, its filter, its pages; and what an uploader sees instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, event, update
from sqlalchemy.orm import Session

from bundles import tiny_card
from clinic.cases import screened
from clinic.web_app import shown, texts
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.database import writing
from dermsentry.clinic.store.tables import Case, Match, Model, now
from dermsentry.clinic.web.filters import as_query, read_filter
from dermsentry.clinic.worklist.locks import lock
from dermsentry.errors import InputError
from dermsentry.files import plain

Maker = Callable[..., TestClient]
Adder = Callable[..., int]


def listed(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'<a class="row" href="/cases/(\d+)', page)]


def test_an_empty_list_says_what_to_do(browser: Maker) -> None:
    who = browser()
    assert len(shown(who.get("/")).select(".empty a[href='/upload']")) == 1
    for lane in ("cannot-say", "waiting", "decided"):
        assert len(shown(who.get(f"/?lane={lane}")).select(".empty")) == 1


def test_lanes_hold_their_cases_in_order(browser: Maker, add_case: Adder) -> None:
    routine, alert = add_case("routine", 0.01), add_case("alert", 0.6)
    refer, worse = add_case("refer", 0.3), add_case("alert", 0.9)
    unsure, broken = add_case("cannot-say", 0.99), add_case("unreadable", None)
    waits = add_case("", None)
    who = browser()
    answer = who.get("/")
    assert listed(answer.text) == [worse, alert, refer, routine]
    assert texts(shown(answer), ".lane[aria-current] .count") == ["4"]
    answer = who.get("/?lane=cannot-say")
    assert listed(answer.text) == [unsure, broken]
    chances = shown(answer).select(".cases .chance")
    assert [re.findall(r"\d", chance.get_text()) for chance in chances] == [[], []]  # no figure is a verdict
    assert [chance.select("svg") for chance in chances] == [[], []]
    assert listed(who.get("/?lane=waiting").text) == [waits]


def test_decided_cases_are_listed_apart(browser: Maker, add_case: Adder) -> None:
    early = add_case("alert", 0.6, stage="decided", decided_at=now() - timedelta(hours=2))
    late = add_case("routine", 0.01, stage="decided", decided_at=now())
    unsure = add_case("cannot-say", 0.3, stage="decided", decided_at=now())
    who = browser()
    assert listed(who.get("/").text) == []
    assert listed(who.get("/?lane=decided").text) == [late, early]
    assert listed(who.get("/?lane=decided&tier=cannot-say").text) == [unsure]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("search=p-17", {"second"}),
        ("search=P-17+B", {"second"}),
        ("search=nothing", set()),
        ("site=back", {"first"}),
        ("tier=alert", {"first"}),
        ("since=2026-01-02", {"second"}),
        ("until=2026-01-01", {"first"}),
        ("since=2026-01-01&until=2026-01-02", {"first", "second"}),
    ],
)
def test_the_filter_finds(browser: Maker, add_case: Adder, query: str, expected: set[str]) -> None:
    numbers = {
        add_case(
            "alert", 0.6, patient="P-16", site="back", received_at=datetime(2026, 1, 1, 12, tzinfo=UTC)
        ): "first",
        add_case(
            "refer", 0.3, patient="P-17", lesion="B", received_at=datetime(2026, 1, 2, 12, tzinfo=UTC)
        ): "second",
    }
    answer = browser().get(f"/?{query}")
    assert {numbers[number] for number in listed(answer.text)} == expected
    assert len(shown(answer).select(".empty a[href^='/?lane=']")) == (not expected)


@pytest.mark.parametrize(
    "query",
    [
        "lane=all",
        "tier=urgent",
        "since=yesterday",
        "until=2026-02-31",
        "since=9999-12-31",
        "after=nonsense",
        "site=" + "x" * 121,
    ],
)
def test_a_filter_that_makes_no_sense_is_told(browser: Maker, query: str) -> None:
    answer = browser().get(f"/?{query}")
    assert answer.status_code == 422
    assert texts(shown(answer), "main code") == [answer.headers["x-request-id"]]


def test_pages_follow_each_other_without_gap_or_repeat(browser: Maker, engine: Engine) -> None:
    with writing(engine) as session:
        session.add_all([screened("alert", 0.5 + i / 1000, model_digest=None) for i in range(120)])
    who = browser()
    seen, path = [], "/?search="
    while path:
        page = who.get(path).text
        seen += listed(page)
        more = re.search(r'hx-get="(/worklist/rows\?[^"]+)"', page)
        path = more[1].replace("&amp;", "&") if more else ""
    assert len(seen) == 120
    assert seen == sorted(seen, reverse=True)


def test_a_page_asks_the_database_little_and_makes_no_object_of_a_row(
    browser: Maker, engine: Engine, person: Callable[..., Person]
) -> None:
    anna = person("anna")
    card = tiny_card()
    with writing(engine) as session:
        session.add(Model(digest=card.digest, name=card.name, card=plain(card)))
        session.flush()
        cases = [screened("alert", 0.5, model_digest=card.digest, patient=f"P-{n}") for n in range(60)]
        for own in cases[:20]:
            own.assigned_to = anna.account_id
        session.add_all(cases)
        session.flush()
        for own in cases[20:40]:
            lock(session, own.id, anna)
        session.add_all(
            Match(first_id=one.id, second_id=other.id, agreement=0.9, in_place=True, patients=True)
            for one, other in pairwise(cases)
        )
    who = browser()
    asked: list[str] = []
    made: list[object] = []
    event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))

    def note(_: Session, row: object) -> None:
        made.append(row)

    event.listen(Session, "loaded_as_persistent", note)
    try:
        for path, most in (("/", 8), ("/?view=gallery", 8), ("/worklist/rows", 4)):
            asked.clear()
            assert who.get(path).status_code == 200
            assert len([text for text in asked if text.startswith("SELECT")]) <= most, "\n".join(asked)
    finally:
        event.remove(Session, "loaded_as_persistent", note)
    assert made == []
    page = who.get("/")
    assert texts(shown(page), ".lane-conflicts .count") == ["59"]
    assert len(shown(page).select(".in-lane.held")) == 20


def test_who_only_sends_is_led_to_their_own(browser: Maker, add_case: Adder) -> None:
    add_case("alert", 0.9, patient="P-1")
    who = browser("uploader")
    assert who.get("/").headers["location"] == "/upload"
    answer = who.get("/upload")
    assert "P-1" not in answer.text
    assert [link["href"] for link in shown(answer).select("nav li a")] == ["/upload"]


@pytest.mark.parametrize("settings", [Settings(readers=2)])
def test_of_two_readers_each_is_not_shown_again_what_they_read(
    browser: Maker, add_case: Adder, settings: Settings
) -> None:
    number = add_case("alert", 0.9)
    first, second = browser("dermatologist", "anna"), browser("dermatologist", "bea")
    data = {"agrees": "yes", "diagnosis": "MEL", "action": "biopsy"}
    assert first.post(f"/cases/{number}/decision", data=data).status_code == 303
    assert listed(first.get("/").text) == []
    assert listed(second.get("/").text) == [number]


def test_a_filter_goes_into_an_address_and_back() -> None:
    text, wanted = read_filter(
        {"lane": "cannot-say", "search": "ä & b=c", "since": "2026-01-31", "after": "x"}
    )
    assert as_query(text) == "lane=cannot-say&search=%C3%A4+%26+b%3Dc&since=2026-01-31"
    assert (wanted.lane, wanted.stage, wanted.search) == ("cannot-say", "open", "ä & b=c")
    with pytest.raises(InputError, match="expected a day"):
        read_filter({"since": "31.1.2026"})


def test_long_texts_and_odd_letters_break_nothing(browser: Maker, add_case: Adder, engine: Engine) -> None:
    number = add_case("alert", 0.6, patient="\u202e" + "ñ" * 100, site="𝔰" * 50)
    with writing(engine) as session:
        session.execute(update(Case).values(note="\n" * 50 + "<b>"))
    who = browser()
    assert listed(who.get("/").text) == [number]
    assert "<b>" in shown(who.get(f"/cases/{number}")).select_one(".note").get_text()


def test_search_looks_everywhere_and_says_in_which_list(browser: Maker, add_case: Adder) -> None:
    lanes = {
        add_case("refer", 0.3, patient="P-7"): "By suspicion",
        add_case("cannot-say", 0.1, patient="P-7"): "Cannot say",
        add_case("", None, patient="P-7"): "Waiting",
        add_case("alert", 0.9, patient="P-7", stage="decided", decided_at=now()): "Decided",
        add_case("cannot-say", 0.1, patient="P-7", stage="decided", decided_at=now()): "Decided",
        add_case("alert", 0.9, patient="P-7", lane="withdrawn"): "Withdrawn",
    }
    add_case("refer", 0.3, patient="P-8")
    who = browser()
    for lane in ("suspicion", "cannot-say", "waiting", "decided"):
        page = shown(who.get(f"/?lane={lane}&search=p-7"))
        rows = page.select("#list .cases li, #elsewhere .cases li")
        assert len(rows) == len(lanes)
        told = dict(
            zip(
                (int(row["href"].split("/")[2].split("?")[0]) for row in page.select("#elsewhere a.row")),
                texts(page, "#elsewhere .in-lane"),
                strict=True,
            )
        )
        assert told.items() <= lanes.items()
    page = shown(who.get("/?lane=cannot-say&search=p-8"))
    assert "None in this list." in page.select_one("#list .empty").get_text()
    assert "1 case fits elsewhere" in page.select_one("#list .empty").get_text()
    assert len(page.select("#elsewhere .cases li")) == 1
    page = shown(who.get("/?search=nobody"))
    assert "No case fits." in page.select_one("#list .empty").get_text()
    assert page.select("#elsewhere") == []
    assert shown(who.get("/")).select("#elsewhere") == []


def test_earlier_photographs_lead_to_all_of_the_patients(browser: Maker, add_case: Adder) -> None:
    for day in range(15):
        add_case("routine", 0.1, patient="P-7", received_at=now() - timedelta(days=day + 1))
    number = add_case("alert", 0.9, patient="P-7")
    who = browser()
    link = shown(who.get(f"/cases/{number}")).select_one(f"a[href='/cases/{number}/patient']")
    assert link is not None
    page = shown(who.get(str(link["href"])))
    shown_there = {str(one["href"]) for one in page.select("main a[href]")}
    assert {f"/cases/{own}" for own in range(1, 17)} <= shown_there


def test_a_row_names_the_most_probable_diagnosis(browser: Maker, add_case: Adder) -> None:
    add_case("alert", 0.7)
    add_case("refer", 0.2)
    page = shown(browser().get("/"))
    assert texts(page, ".cases .probable") == ["most probable melanoma 70.0 %", "most probable nevus 40.0 %"]
    add_case("cannot-say", 0.7)
    assert texts(shown(browser().get("/?lane=cannot-say")), ".cases .probable") == [""]
