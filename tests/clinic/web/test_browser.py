"""A photograph's journey through a real server and a real browser, by keyboard; and axe on every page."""

from __future__ import annotations

import io
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyotp
import pytest
from fastapi import FastAPI
from PIL import Image
from sqlalchemy import Engine, select

from browser import running_chromium
from bundles import lesion, tiny_card
from clinic.cases import screened as screened_case
from clinic.web_app import FIRST_TOKEN, PASSWORD
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.audit_trail import Trail, verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import Alert, Case, Event, Model
from dermsentry.clinic.worker.screener import Screener
from dermsentry.clinic.worker.worker import work
from dermsentry.files import plain

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
OWN = "a password of one's own"
COLOURS = ["color-contrast", "link-in-text-block"]
"""Axe's rules about colours: what alone is different by night."""

pytestmark = pytest.mark.parametrize("settings", [Settings(readers=2)])


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser of the tests."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def address(app: FastAPI, clinic: ServedClinic) -> Iterator[str]:
    """Where the clinic is served: a real server, with a worker beside it."""
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    stopped = threading.Event()

    def screens() -> None:
        with Screener(clinic.bundle) as screener:
            work(clinic, screener, clinic.card, stopped.is_set)

    threads = [
        threading.Thread(target=server.run, kwargs={"sockets": [listening]}),
        threading.Thread(target=screens),
    ]
    for thread in threads:
        thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    stopped.set()
    for thread in threads:
        thread.join(30)
    listening.close()


@pytest.fixture
def page_of(chromium: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Opens a browser of its own; whatever its console calls an error fails the test."""
    faults: list[str] = []
    contexts = []

    def make(**options: Any) -> Page:
        context = chromium.new_context(base_url=address, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: faults.append(f"{page.url}: {error}"))
        page.on(
            "console",
            lambda told: (
                faults.append(f"{page.url}: {told.text}")
                if told.type == "error"
                and not re.search("status of 4|ERR_INTERNET_DISCONNECTED|htmx:(after|send)", told.text)
                else None
            ),
        )
        return page

    yield make
    for context in contexts:
        context.close()
    assert faults == []


def opened(page: Page, selector: str) -> None:
    """Waits until a page shows this and its scripts listen."""
    page.wait_for_selector(selector)
    page.wait_for_load_state()


def keys(page: Page, pressed: str) -> None:
    for key in pressed:
        page.keyboard.press(key)


def in_view(page: Page) -> None:
    """The whole form to decide is on the screen: a key acts on nothing else."""
    page.evaluate("document.querySelector('.panel.decide').scrollIntoView({block: 'start'})")
    page.wait_for_timeout(100)


def until(page: Page, holds: Callable[[], bool]) -> None:
    """Waits for what no selector says; the pages' policy lets no string be evaluated in them."""
    for _ in range(200):
        if holds():
            return
        page.wait_for_timeout(100)
    raise AssertionError("it did not come to be")


def submit(page: Page, action: str) -> None:
    page.click(f"form[action='{action}'][method=post] [type=submit]")


def first_visit(page: Page) -> None:
    page.goto(f"/first-visit?token={FIRST_TOKEN}")
    page.fill("#name", "anna")
    page.fill("#full_name", "Dr Anna Berg")
    page.fill("#password", PASSWORD)
    page.fill("#again", PASSWORD)
    page.keyboard.press("Enter")
    opened(page, "#lanes")


def sign_in_first(page: Page, name: str) -> None:
    """Sign in with the password that an administrator gave, and choose another one."""
    page.goto("/sign-in")
    page.fill("#name", name)
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    opened(page, "#again")
    check(page)
    for field in ("#password", "#again"):
        page.fill(field, OWN)
    page.keyboard.press("Enter")
    opened(page, "#lanes")


def add_account(page: Page, name: str) -> None:
    page.goto("/accounts")
    page.fill("#name", name)
    page.fill("#full_name", f"Dr {name.title()}")
    page.select_option("#role", "dermatologist")
    page.fill("#password", PASSWORD)
    submit(page, "/accounts")
    page.wait_for_selector(f"summary:has-text('{name}')")


def photograph(darkness: int, seed: int) -> dict[str, Any]:
    """A photograph that the tiny model finds the more suspicious the darker it is."""
    buffer = io.BytesIO()
    Image.fromarray(lesion(darkness, seed)).save(buffer, "PNG")
    return {"name": f"lesion-{seed}.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


def send(page: Page, *files: dict[str, Any], patient: str = "P-1", lesion: str = "A") -> None:
    page.goto("/upload")
    page.fill("#patient", patient)
    page.fill("#lesion", lesion)
    page.set_input_files("#photographs", list(files))
    submit(page, "/upload")
    page.locator(".progress .kept, .progress .refused").nth(len(files) - 1).wait_for()


def screened(page: Page, engine: Engine, number: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with reading(engine) as session:
            if len(session.scalars(select(Case.id).where(Case.state == "screened")).all()) == number:
                return
        page.wait_for_timeout(100)
    raise AssertionError("the photographs were not screened in a minute")


def check(page: Page, *, wholly: bool = False) -> None:
    """Axe finds nothing on the page as it is shown, by day and by night; `wholly`: every rule by night and
    on paper too."""
    import axe_playwright_python

    source = Path(axe_playwright_python.__file__).parent / "axe.min.js"
    page.evaluate(source.read_text(encoding="utf-8") + "\n;0")
    assert page.evaluate("tags => tags.every(tag => axe.getRules([tag]).length)", RULES)
    told = []
    night: object = RULES if wholly else {"type": "rule", "values": COLOURS}
    shown = [({"color_scheme": "light"}, RULES), ({"color_scheme": "dark"}, night)]
    shown += [({"color_scheme": "light", "media": "print"}, RULES)] if wholly else []
    for media, only in shown:
        page.emulate_media(**media)
        found = page.evaluate("only => axe.run(document, {runOnly: only})", only)
        told += [
            f"{media}: {own['id']}: {own['help']}: {node['html'][:160]}"
            for own in found["violations"]
            for node in own["nodes"]
        ]
    if wholly:
        page.emulate_media(media="screen")
    assert told == [], page.url


def test_the_journey_of_a_photograph(page_of: Callable[..., Page], engine: Engine, trail: Trail) -> None:
    anna = page_of()
    anna.goto("/")
    assert anna.url.endswith("/first-visit")
    first_visit(anna)
    for name in ("bea", "cleo"):
        add_account(anna, name)

    send(anna, photograph(170, 1))
    send(anna, photograph(20, 2), {**photograph(0, 3), "buffer": b"no photograph"})
    assert anna.locator(".progress .kept").count() == anna.locator(".progress .refused").count() == 1
    screened(anna, engine, 2)
    anna.wait_for_selector("#mine li:nth-child(2) img")

    # By keyboard alone: the first of the list, the saliency map, the decision.
    anna.goto("/")
    keys(anna, "j")
    assert anna.evaluate("document.activeElement.querySelector('.tier-alert') !== null")
    keys(anna, "o")
    opened(anna, "h1:has-text('Case 1')")
    assert anna.is_hidden(".saliency")
    keys(anna, "h")
    anna.wait_for_selector(".saliency", state="visible")
    keys(anna, "+")
    assert "scale(1.5)" in str(anna.get_attribute(".canvas", "style"))
    keys(anna, "0")
    in_view(anna)
    keys(anna, "a")
    assert anna.is_checked("input[name=diagnosis][value=MEL]")
    keys(anna, "n")
    assert anna.locator("input[name=diagnosis]:checked").count() == 0  # what agreeing chose goes with it
    keys(anna, "a")
    keys(anna, "bs")
    opened(anna, ".banner a[href^='/cases/1?']")
    keys(anna, "z")
    opened(anna, "h1:has-text('Case 1')")
    in_view(anna)
    keys(anna, "abs")
    opened(anna, ".banner")

    bea = page_of()
    sign_in_first(bea, "bea")
    keys(bea, "jo")
    opened(bea, "h1:has-text('Case 1')")
    shown = bea.inner_text(".after .history") + bea.inner_text(".panel.decide")
    assert "Berg" not in shown  # whom it could be assigned to is no secret
    in_view(bea)
    keys(bea, "n5fs")
    opened(bea, ".banner")

    cleo = page_of()
    sign_in_first(cleo, "cleo")
    cleo.goto("/cases/1")
    read = cleo.locator(".history li:has(strong)").all_inner_texts()
    for text, reader, diagnosis in zip(read, ("Dr Anna Berg", "Dr Bea"), ("melanoma", "nevus"), strict=True):
        assert reader in text
        assert diagnosis in text
    in_view(cleo)
    keys(cleo, "abs")
    opened(cleo, ".banner")

    anna.goto("/alerts")
    assert anna.locator(".alerts li").count() == 0
    anna.goto("/alerts?all=true")
    assert anna.locator(".alerts li").count() == 1
    anna.goto("/outcomes")
    anna.click("table a[href='/outcomes?case=1']")
    anna.select_option("#diagnosis", "MEL")
    submit(anna, "/outcomes")
    opened(anna, ".banner")
    anna.goto("/performance")
    anna.wait_for_selector("#figures h2")
    assert "1 of 1" in anna.inner_text(".ranges >> nth=0")
    anna.goto("/audit")
    anna.click("[hx-post='/audit/verification']")
    anna.wait_for_selector("#verdict .banner")
    with anna.expect_download() as download:
        anna.click("[href='/audit.csv']")
    assert re.fullmatch(r"audit-\d{4}-\d\d-\d\d\.csv", download.value.suggested_filename)
    submit(anna, "/sign-out")
    opened(anna, "form[action='/sign-in']")
    anna.go_back()
    assert anna.locator("[hx-post='/audit/verification']").count() == 0
    with reading(engine) as session:
        assert verify(session, trail).problems == ()
        actions = set(session.scalars(select(Event.action)))
    assert {
        "received",
        "screened",
        "alert raised",
        "read",
        "read undone",
        "outcome recorded",
        "signed out",
    } <= actions


def test_axe_finds_nothing(page_of: Callable[..., Page], engine: Engine) -> None:
    page = page_of()
    page.goto("/first-visit")
    check(page)
    first_visit(page)
    check(page)
    add_account(page, "bea")
    send(page, photograph(170, 1))
    send(page, photograph(140, 2), photograph(20, 4), {**photograph(0, 3), "buffer": b"no"})
    check(page)
    screened(page, engine, 3)
    page.goto("/cases/1")
    keys(page, "h")
    check(page)
    in_view(page)
    keys(page, "ads")
    opened(page, "#contradiction")
    check(page)
    page.check("input[name=action][value=biopsy]")
    page.click("text=Save all the same")
    opened(page, ".banner")
    check(page)
    page.click("[data-opens=shortcuts]")
    check(page)
    for path in (
        "/",
        "/?lane=cannot-say",
        "/?lane=waiting",
        "/?lane=decided",
        "/?search=nothing",
        "/cases/1",
        "/cases/1/print",
        "/cases/1/correction",
        "/conflicts",
        "/?lane=withdrawn",
        "/alerts?all=true",
        "/outcomes?case=1",
        "/outcomes?search=p-1",
        "/performance",
        "/site-model",
        "/audit",
        "/account",
        "/accounts",
        "/status",
        "/nothing",
    ):
        page.goto(path)
        if path == "/performance":
            page.wait_for_selector("#figures h2")
        if path == "/accounts":
            page.click("summary >> nth=0")
        check(page)
    page.goto("/account")
    page.fill("#label", "Camera")
    page.check("input[value='cases:write']")
    submit(page, "/account/tokens")
    page.wait_for_selector(".secret")
    check(page)
    submit(page, "/sign-out")
    opened(page, "form[action='/sign-in']")
    check(page)


def test_a_second_factor_by_keyboard_alone(page_of: Callable[..., Page], engine: Engine) -> None:
    page = page_of(viewport={"width": 390, "height": 844})
    first_visit(page)
    page.goto("/account/second-factor")
    page.focus("summary")
    page.keyboard.press("Enter")
    check(page)
    secret = page.inner_text(".secret-text").replace(" ", "")
    page.focus("#password")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Tab")
    page.keyboard.type(pyotp.TOTP(secret).now())
    page.keyboard.press("Enter")
    opened(page, ".codes")
    check(page)
    code = page.inner_text(".codes li:nth-child(2)")
    page.focus("a.primary")
    page.keyboard.press("Enter")
    opened(page, "#factor-title")
    page.click("summary:has-text('Change')")
    check(page)
    page.goto("/accounts")
    page.click("summary >> nth=0")
    check(page)
    page.context.clear_cookies()
    page.goto("/sign-in")
    page.wait_for_selector("#name:focus")
    page.keyboard.type("anna")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    opened(page, "#code")
    check(page)
    page.wait_for_selector("#code:focus")
    page.keyboard.type(code)
    page.keyboard.press("Enter")
    opened(page, "#lanes")


@pytest.mark.parametrize("locale", ["en-GB", "de-DE"])
def test_no_page_is_wider_than_its_window(page_of: Callable[..., Page], engine: Engine, locale: str) -> None:
    """WCAG 2.2, 1.4.10: at 320 pixels nothing must be scrolled sideways but tables and pictures."""
    wide = page_of(viewport={"width": 1280, "height": 800}, locale=locale)
    first_visit(wide)
    send(wide, photograph(170, 1), patient="P" * 60, lesion="W" * 30)
    screened(wide, engine, 1)
    narrow = page_of(has_touch=True, storage_state=wide.context.storage_state(), locale=locale)
    found = []
    for page, width in ((narrow, 320), (narrow, 420), (narrow, 800), (wide, 1280)):
        page.set_viewport_size({"width": width, "height": 800})
        for path in (
            "/",
            "/upload",
            "/cases/1",
            "/alerts",
            "/outcomes",
            "/performance",
            "/site-model",
            "/audit",
            "/account",
            "/accounts",
        ):
            page.goto(path)
            if path == "/performance":
                page.wait_for_selector("#figures h2")
            page.evaluate("document.querySelectorAll('main details').forEach(one => { one.open = true })")
            root = "document.documentElement"
            beyond = page.evaluate(f"{root}.scrollWidth - {root}.clientWidth")
            if beyond > 0:
                found.append((path, width, beyond))
        if page is narrow:
            page.click(".menu")
            page.click("nav a[href='/outcomes']")
            opened(page, "form[action='/outcomes']")
    assert found == []


def test_single_keys_can_be_turned_off_and_never_act_while_one_writes(
    page_of: Callable[..., Page], engine: Engine
) -> None:
    """WCAG 2.2, 2.1.4."""
    page = page_of()
    first_visit(page)
    send(page, photograph(170, 1))
    screened(page, engine, 1)
    page.goto("/cases/1")
    page.fill("#note", "")
    page.type("#note", "bad 5")
    assert page.input_value("#note") == "bad 5"
    assert page.locator("input[type=radio]:checked").count() == 0
    page.keyboard.press("Escape")
    in_view(page)
    keys(page, "5")
    assert page.locator("input[type=radio]:checked").count() == 1
    page.reload()
    keys(page, "?")
    page.click("[data-keys-toggle]")
    page.click("dialog button")
    in_view(page)
    keys(page, "4")
    assert not page.is_checked("input[name=diagnosis][value=MEL]")
    page.reload()
    in_view(page)
    keys(page, "4")
    assert not page.is_checked("input[name=diagnosis][value=MEL]")


def test_what_one_writes_is_kept_and_the_end_of_a_session_is_said_before(
    page_of: Callable[..., Page], engine: Engine
) -> None:
    page = page_of()
    first_visit(page)
    send(page, photograph(170, 1))
    screened(page, engine, 1)
    page.clock.install()
    page.goto("/cases/1")
    page.type("#note", "ulcerated")
    page.check("input[name=action][value=biopsy]")
    page.clock.run_for(1000)
    page.wait_for_selector("[data-draft-state]:has-text('Draft kept')")
    page.reload()
    assert page.input_value("#note") == "ulcerated"
    assert page.is_checked("input[name=action][value=biopsy]")
    assert page.is_visible(".draft")
    check(page)
    assert page.locator("#session p").count() == 0
    page.clock.fast_forward("56:00")
    page.clock.run_for(6000)
    page.wait_for_selector("#session:has-text('signed out in 4 minutes')")
    check(page)
    page.click("#session button")
    page.clock.run_for(6000)
    page.wait_for_selector("#session p", state="detached")
    page.clock.fast_forward("01:01:00")
    page.clock.run_for(6000)
    page.wait_for_selector("#session a[href='/sign-in?next=%2Fcases%2F1']")


def test_the_list_renews_itself_and_does_not_move_what_is_read(
    page_of: Callable[..., Page], engine: Engine
) -> None:
    page = page_of(viewport={"width": 1000, "height": 400})
    first_visit(page)
    with writing(engine) as session:
        card = tiny_card()
        session.add(Model(digest="a" * 64, name=card.name, card=plain(card)))
        session.flush()
        session.add_all([screened_case("refer", 0.2 + i / 100) for i in range(12)])
    page.clock.install()
    page.goto("/")
    top = page.get_attribute("#list a.row >> nth=0", "href")
    with writing(engine) as session:
        session.add(screened_case("alert", 0.9))
    page.clock.run_for(21_000)
    page.wait_for_selector("#list .tier-alert")  # at the top one sees it come
    assert "renewed at" in page.inner_text("#renewed")
    assert page.inner_text("#lanes .lane-suspicion .count") == "13"
    keys(page, "jjjjj")
    read = page.evaluate("document.activeElement.getAttribute('href')")
    place = page.evaluate("document.activeElement.getBoundingClientRect().top")
    assert top != read
    with writing(engine) as session:
        session.add(screened_case("alert", 0.95))
        session.flush()
        session.add(Alert(case_id=14, rule="melanoma suspected"))
    page.clock.run_for(21_000)
    page.wait_for_selector("#list li:nth-child(2) .tier-alert")
    assert page.evaluate("document.activeElement.getAttribute('href')") == read
    assert abs(page.evaluate("document.activeElement.getBoundingClientRect().top") - place) < 2
    check(page)
    # What is being read leaves the list: nothing moves, and it is said.
    with writing(engine) as session:
        session.get_one(Case, int(str(read).split("/")[2].split("?")[0])).lane = "withdrawn"
    page.clock.run_for(21_000)
    page.wait_for_selector("#renewed .warn:has-text('has changed')")
    assert page.evaluate("document.activeElement.getAttribute('href')") == read
    page.context.set_offline(True)
    page.clock.run_for(21_000)
    page.wait_for_selector("#renewed .warn:has-text('Not renewed since')")
    page.context.set_offline(False)


def test_a_new_alert_shows_in_the_title_of_whatever_page(
    page_of: Callable[..., Page], engine: Engine
) -> None:
    page = page_of()
    first_visit(page)
    send(page, photograph(20, 2))
    screened(page, engine, 1)
    page.goto("/")
    until(page, lambda: page.evaluate("localStorage.getItem('alert') !== null"))
    page.clock.install()
    page.goto("/outcomes")
    page.wait_for_load_state("networkidle")
    assert page.title().startswith("Outcomes")
    with writing(engine) as session:
        session.add(Alert(case_id=1, rule="another rule"))
    page.clock.run_for(21_000)
    until(page, lambda: page.title().startswith("(1 new alert) Outcomes"))
    page.goto("/alerts")
    page.bring_to_front()
    page.clock.run_for(21_000)
    page.goto("/outcomes")
    page.wait_for_load_state("networkidle")
    assert page.title().startswith("Outcomes")


def test_no_key_acts_on_what_is_not_on_the_screen(page_of: Callable[..., Page], engine: Engine) -> None:
    page = page_of(viewport={"width": 1366, "height": 768})
    first_visit(page)
    send(page, photograph(170, 1))
    screened(page, engine, 1)
    page.goto("/cases/1")
    page.wait_for_load_state()
    page.evaluate("document.body.style.paddingTop = '2000px'; scrollTo(0, 0)")
    chosen = page.locator("input[type=radio]:checked")
    for key in "a5b":
        keys(page, key)
        assert chosen.count() == 0
        page.evaluate("scrollTo(0, 0)")
    keys(page, "s")
    assert page.url.endswith("/cases/1")
    keys(page, "5")  # where the last key brought it into view, one is enough
    page.evaluate("scrollTo(0, 0)")
    keys(page, "5")
    keys(page, "5")
    assert page.is_checked("input[name=diagnosis][value=NV]")


def test_a_service_that_is_away_is_said_and_nothing_typed_is_lost(
    page_of: Callable[..., Page], engine: Engine
) -> None:
    page = page_of()
    first_visit(page)
    page.goto("/upload")
    page.fill("#patient", "P-9")
    page.context.set_offline(True)
    page.set_input_files("#photographs", [photograph(170, 1)])
    submit(page, "/upload")
    page.wait_for_selector(".progress .failed")
    page.context.set_offline(False)
    assert page.input_value("#patient") == ""  # the next photographs are of somebody else
    assert "P-9" in page.inner_text(".progress .failed")
    page.click(".progress .failed button")
    page.wait_for_selector(".progress .kept")
    with reading(engine) as session:
        assert session.scalars(select(Case.patient)).all() == ["P-9"]


def test_a_phone_shows_the_whole_button_and_a_print_the_decision_first(
    page_of: Callable[..., Page], engine: Engine
) -> None:
    page = page_of(viewport={"width": 390, "height": 844}, has_touch=True)
    first_visit(page)
    send(page, photograph(170, 1), patient="P" * 60, lesion="W" * 30)
    screened(page, engine, 1)
    with writing(engine) as session:
        session.add(Alert(case_id=1, rule="r" * 40))
    page.goto("/alerts")
    box = page.locator("form[action='/cases/1/acknowledge'] button").first.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 794, "height": 1123})  # A4 at 96 pixels an inch
    page.goto("/cases/1/print")
    box = page.locator(".outcome").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 1123 / 2
