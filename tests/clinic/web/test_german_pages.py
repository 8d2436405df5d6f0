"""The pages in German: every one of them, whole, with German dates; what programs get stays English."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest
from bs4 import BeautifulSoup
from fastapi.testclient import TestClient
from sqlalchemy import Engine, update

from clinic.web_app import shown, texts
from dermsentry.clinic import language
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.database import writing
from dermsentry.clinic.store.tables import Case

PAGES = (
    "/", "/?lane=cannot-say", "/?lane=waiting", "/?lane=decided", "/?lane=follow-up", "/?lane=withdrawn",
    "/?search=nothing", "/?view=gallery", "/upload", "/alerts", "/alerts?all=true", "/conflicts", "/outcomes",
    "/outcomes?case=1", "/performance", "/performance/figures", "/site-model", "/audit",
    "/accounts", "/account", "/account/second-factor", "/status", "/cases/1", "/cases/2", "/cases/1/print",
    "/cases/1/correction", "/cases/1/closely", "/cases/1/patient", "/cases/999", "/nowhere",
    "/?since=tomorrow",
)  # fmt: skip
GERMAN = {"accept-language": "de-DE,de;q=0.9"}

Maker = Callable[..., TestClient]
Adder = Callable[..., int]


@pytest.fixture
def settings() -> Settings:
    return Settings(timezone="Europe/Berlin")


@pytest.fixture
def cases(add_case: Adder, draw: Callable[[str], None], engine: Engine) -> None:
    add_case("alert", 0.412, patient="P-1", lesion="A", site="left forearm")
    add_case("cannot-say", 0.02, patient="P-1", lesion="A")
    with writing(engine) as session:
        session.execute(update(Case).values(received_at=datetime(2026, 7, 1, 22, 30, tzinfo=UTC)))


def english(page: BeautifulSoup) -> list[str]:
    """Messages of three words or more that a page still shows in English."""
    for hidden in page.find_all(["script", "style", "code", "pre"]):
        hidden.decompose()
    text = " ".join(page.get_text(" ").split())
    text += " ".join(
        str(tag[name]) for name in ("aria-label", "alt", "title") for tag in page.find_all(attrs={name: True})
    )
    found = []
    for own in language.catalog("de"):
        message = own.id if isinstance(own.id, str) else (own.id or ("",))[0]
        plain = " ".join(re.sub(r"<[^>]+>|%\(\w+\)s", " ", message).split())
        if len(re.findall("[A-Za-z]{2,}", plain)) >= 3 and "%(" not in message and plain in text:
            found.append(plain)
    return found


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.usefixtures("cases")
def test_a_page_is_german_throughout(path: str, browser: Maker) -> None:
    page = shown(browser("administrator").get(path, headers=GERMAN))
    if page.html is not None:  # else a part of a page
        assert page.html["lang"] == "de"
    assert english(page) == []


@pytest.mark.usefixtures("cases")
def test_words_days_and_numbers_of_a_case(browser: Maker) -> None:
    page = shown(browser().get("/cases/1", headers=GERMAN))
    assert page.h1 is not None
    assert page.h1.get_text() == "Fall 1"
    assert "02.07.2026, 00:30" in page.select_one(".about").get_text()  # type: ignore[union-attr]
    assert texts(page, ".history time")[0] == "02.07.2026, 00:30"
    assert page.select_one(".history time")["datetime"].startswith("2026-07-01T22:30:00")  # type: ignore[index, union-attr]
    assert "41,2\u00a0%" in page.select_one(".chances .melanoma").get_text()  # type: ignore[union-attr]
    assert page.select_one(".verdict .tier").get_text() == "Alarm"  # type: ignore[union-attr]
    assert "Nävus" in " ".join(texts(page, ".choices label"))


@pytest.mark.usefixtures("cases")
def test_one_chooses_the_language(browser: Maker, nobody: TestClient) -> None:
    own = browser()
    assert own.post("/account/language", data={"language": "de"}).status_code == 303
    assert shown(own.get("/", headers={"accept-language": "en-US"})).html["lang"] == "de"  # type: ignore[index]
    assert shown(browser("administrator").get("/")).html["lang"] == "en"  # type: ignore[index]
    assert own.post("/account/language", data={"language": "tlh"}).status_code == 422
    own.post("/account/language", data={"language": ""})
    assert shown(own.get("/", headers={"accept-language": "en-US"})).html["lang"] == "en"  # type: ignore[index]
    assert shown(nobody.get("/sign-in", headers=GERMAN)).h1.get_text() == "Anmelden"  # type: ignore[union-attr]


@pytest.mark.usefixtures("cases")
def test_what_a_person_is_refused_is_told_in_german(browser: Maker) -> None:
    own = browser()
    given = {"agrees": "yes", "diagnosis": "MEL", "action": "discharge"}
    page = shown(own.post("/cases/1/decision", data=given, headers=GERMAN))
    assert (
        "Sie diagnostizieren: Melanom, und schließen den Fall ab."
        in page.select_one("#contradiction").get_text()
    )  # type: ignore[union-attr]
    part = own.get("/worklist/rows?after=x", headers={**GERMAN, "hx-request": "true"}).json()
    assert part["detail"] == "Diese Seite gibt es nicht; beginnen Sie mit der ersten."
    sent = own.post(
        "/upload", files={"photographs": ("a.txt", b"text")}, headers={**GERMAN, "accept": "application/json"}
    )
    assert sent.json()[0]["problem"].startswith("Keine Fotografie")


@pytest.mark.usefixtures("cases")
def test_a_filled_in_checklist_is_german_on_the_case_and_in_print(browser: Maker) -> None:
    own = browser()
    filled = {"asymmetry": "2", "border": "5", "colours": ["light-brown", "blue-grey"], "structures": "dots"}
    given = {"agrees": "yes", "diagnosis": "MEL", "action": "biopsy", "seven_point": "regression", **filled}
    own.post("/cases/1/decision", data=given)
    for path, place in (("/cases/1", ".history"), ("/cases/1/print", "main")):
        told = shown(own.get(path, headers=GERMAN)).select_one(place).get_text()  # type: ignore[union-attr]
        assert "Farben hellbraun, blaugrau, Strukturen Punkte" in told
        assert "7-Punkte-Checkliste 1: nicht melanomverdächtig: Regressions\u00adstrukturen" in told


@pytest.mark.usefixtures("cases")
def test_programs_get_english_and_utc(program: Maker) -> None:
    own = program("administrator")
    assert own.get("/api/cases/999", headers=GERMAN).json()["detail"] == "There is no case 999."
    case = own.get("/api/cases/1", headers=GERMAN).json()
    assert case["tier"] == "alert"
    assert case["received_at"].startswith("2026-07-01T22:30")


@pytest.mark.usefixtures("cases")
def test_days_of_the_filter_are_the_clinics(browser: Maker) -> None:
    own = browser()
    assert len(shown(own.get("/?since=2026-07-02&until=2026-07-02")).select("a.row")) == 1
    assert shown(own.get("/?until=2026-07-01")).select("a.row") == []
    for day in ("0001-01-01", "9999-12-31"):
        assert own.get(f"/?since={day}").status_code == 422


@pytest.mark.usefixtures("cases")
def test_scripts_have_their_words(browser: Maker) -> None:
    page = shown(browser().get("/", headers=GERMAN))
    [path] = [str(own["src"]) for own in page.select("script[src]") if "words.de" in str(own["src"])]
    words = browser().get(path)
    assert words.headers["content-type"].startswith("text/javascript")
    assert '"Stay signed in": "Angemeldet bleiben"' in words.text
    assert "Melanom" not in words.text  # of the scripts alone


@pytest.mark.usefixtures("cases")
def test_what_is_due_is_due_by_the_clinics_day(
    browser: Maker, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(engine) as session:
        session.execute(update(Case).where(Case.id == 1).values(follow_up_on=date(2026, 11, 27)))
    evening = datetime(2026, 11, 26, 23, 30, tzinfo=UTC)  # half past midnight in Berlin
    monkeypatch.setattr("dermsentry.clinic.web.rendering.now", lambda: evening)
    monkeypatch.setattr("dermsentry.clinic.worklist.worklist.now", lambda: evening)
    page = shown(browser().get("/?lane=follow-up"))
    assert texts(page, ".lane-follow-up .count") == ["1"]
    assert texts(page, ".in-lane.due") == ["27 Nov 2026"]
