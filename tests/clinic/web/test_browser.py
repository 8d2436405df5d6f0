"""A photograph's journey through a real server and a real browser, by keyboard; and axe on every page.

Needs Chromium (`DERMSENTRY_CHROMIUM`, or `chromium` on the path) and Playwright; else it is skipped.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from sqlalchemy import Engine, select

from bundles import lesion
from clinic.web_app import FIRST_TOKEN, PASSWORD
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.audit_trail import Trail, verify
from dermsentry.clinic.store.database import reading
from dermsentry.clinic.store.tables import Case, Event
from dermsentry.clinic.web.app import create_app
from dermsentry.clinic.worker.screener import Screener
from dermsentry.clinic.worker.worker import work

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = os.environ.get("DERMSENTRY_CHROMIUM") or shutil.which("chromium")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.skipif(find_spec("playwright") is None, reason="Playwright is not installed"),
    pytest.mark.parametrize("settings", [Settings(readers=2)]),
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a screen."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@dataclass(frozen=True)
class Served:
    """Where the clinic is served."""

    address: str


@pytest.fixture
def served(clinic: ServedClinic) -> Iterator[Served]:
    """The clinic behind a real server, with a worker beside it."""
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(clinic), log_level="warning", lifespan="off"))
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
    yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}")
    server.should_exit = True
    stopped.set()
    for thread in threads:
        thread.join(30)
    listening.close()


@pytest.fixture
def page_of(chromium: Browser, served: Served) -> Iterator[Callable[..., Page]]:
    """Opens a browser of its own; whatever its console calls an error fails the test."""
    faults: list[str] = []
    contexts = []

    def make(**options: Any) -> Page:
        context = chromium.new_context(base_url=served.address, **options)
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


def first_visit(page: Page) -> None:
    page.goto(f"/first-visit?token={FIRST_TOKEN}")
    page.fill("#name", "anna")
    page.fill("#full_name", "Dr Anna Berg")
    page.fill("#password", PASSWORD)
    page.fill("#again", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('Worklist')")


def sign_in(page: Page, name: str) -> None:
    page.goto("/sign-in")
    page.fill("#name", name)
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('Worklist')")


def add_account(page: Page, name: str, role: str = "dermatologist") -> None:
    page.goto("/accounts")
    page.fill("#name", name)
    page.fill("#full_name", f"Dr {name.title()}")
    page.select_option("#role", role)
    page.fill("#password", PASSWORD)
    page.click("text=Make the account")
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
    page.click("button:has-text('Send')")
    page.locator(".progress .kept, .progress .refused").nth(len(files) - 1).wait_for()


def screened(page: Page, engine: Engine, number: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with reading(engine) as session:
            if len(session.scalars(select(Case.id).where(Case.state == "screened")).all()) == number:
                return
        page.wait_for_timeout(100)
    raise AssertionError("the photographs were not screened in a minute")


def check(page: Page) -> None:
    """Axe finds nothing on the page as it stands."""
    import axe_playwright_python

    source = Path(axe_playwright_python.__file__).parent / "axe.min.js"
    page.evaluate(source.read_text(encoding="utf-8") + "\n;0")
    assert page.evaluate("tags => tags.every(tag => axe.getRules([tag]).length)", RULES)
    found = page.evaluate("tags => axe.run(document, {runOnly: tags})", RULES)
    told = [
        f"{own['id']}: {own['help']}: {node['html'][:160]}"
        for own in found["violations"]
        for node in own["nodes"]
    ]
    assert told == [], page.url


def test_the_journey_of_a_photograph(
    page_of: Callable[..., Page], engine: Engine, trail: Trail, settings: Settings
) -> None:
    anna = page_of()
    anna.goto("/")
    assert anna.url.endswith("/first-visit")
    first_visit(anna)
    for name in ("bea", "cleo"):
        add_account(anna, name)

    send(anna, photograph(170, 1))
    send(anna, photograph(20, 2), {**photograph(0, 3), "buffer": b"no photograph"})
    assert "was refused: Not a photograph" in anna.inner_text(".progress")
    screened(anna, engine, 2)
    anna.wait_for_selector("#mine >> text=In the worklist.")

    # By keyboard alone: the first of the list, the heat map, the decision.
    anna.goto("/")
    anna.keyboard.press("j")
    assert "Alert" in str(anna.evaluate("document.activeElement.textContent"))
    anna.keyboard.press("o")
    anna.wait_for_selector("h1:has-text('Case 1')")
    assert anna.is_hidden(".heat")
    anna.keyboard.press("h")
    assert anna.is_visible(".heat")
    anna.keyboard.press("+")
    assert "scale(1.5)" in str(anna.get_attribute(".canvas", "style"))
    anna.keyboard.press("0")
    anna.keyboard.press("a")
    assert anna.is_checked("input[name=diagnosis][value=MEL]")
    anna.keyboard.press("b")
    anna.keyboard.press("s")
    anna.wait_for_selector(".banner:has-text('Case 1 is kept: melanoma, biopsy.')")
    anna.keyboard.press("z")
    anna.wait_for_selector("h1:has-text('Case 1')")
    anna.keyboard.press("a")
    anna.keyboard.press("b")
    anna.keyboard.press("s")
    anna.wait_for_selector(".banner")

    bea = page_of()
    sign_in(bea, "bea")
    bea.keyboard.press("j")
    bea.keyboard.press("o")
    bea.wait_for_selector("h2:has-text('Second read')")
    assert "Berg" not in bea.inner_text("main")
    bea.keyboard.press("5")
    bea.check("input[name=agrees][value=no]")
    bea.keyboard.press("f")
    bea.keyboard.press("s")
    bea.wait_for_selector(".banner")

    cleo = page_of()
    sign_in(cleo, "cleo")
    cleo.goto("/cases/1")
    assert "Adjudicate" in cleo.inner_text(".decide h2")
    assert "First reader Dr Anna Berg: melanoma" in cleo.inner_text(".history")
    assert "Second reader Dr Bea: nevus" in cleo.inner_text(".history")
    for key in ("a", "b", "s"):
        cleo.keyboard.press(key)
    cleo.wait_for_selector(".banner")

    anna.goto("/alerts?all=true")
    assert "acknowledged" in anna.inner_text("table")
    anna.goto("/outcomes")
    anna.click("a:has-text('Enter')")
    anna.select_option("#diagnosis", "MEL")
    anna.click("text=Keep the outcome")
    anna.wait_for_selector(".banner")
    anna.goto("/performance")
    anna.wait_for_selector("#figures h2")
    assert "1 of 1" in anna.inner_text(".ranges >> nth=0")
    anna.goto("/audit")
    anna.click("text=Verify the chain")
    anna.wait_for_selector("#verdict >> text=The chain holds")
    with anna.expect_download() as download:
        anna.click("text=Export as CSV")
    assert re.fullmatch(r"audit-\d{4}-\d\d-\d\d\.csv", download.value.suggested_filename)
    anna.click("text=Sign out")
    anna.wait_for_selector("h1:has-text('Sign in')")
    anna.go_back()
    assert "Verify the chain" not in anna.inner_text("body")
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    page_of: Callable[..., Page], engine: Engine, settings: Settings, scheme: str
) -> None:
    page = page_of(color_scheme=scheme)
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
    page.keyboard.press("h")
    check(page)
    for key in ("a", "b", "s"):
        page.keyboard.press(key)
    page.wait_for_selector(".banner")
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
        "/alerts?all=true",
        "/outcomes?case=1",
        "/performance",
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
    page.click("text=Make the token")
    page.wait_for_selector(".secret")
    check(page)
    page.click("text=Sign out")
    page.wait_for_selector("h1:has-text('Sign in')")
    check(page)


@pytest.mark.parametrize("width", [320, 420, 800, 1280])
def test_no_page_is_wider_than_its_window(
    page_of: Callable[..., Page], engine: Engine, settings: Settings, width: int
) -> None:
    """WCAG 2.2, 1.4.10: at 320 pixels nothing must be scrolled sideways but tables and pictures."""
    page = page_of(viewport={"width": width, "height": 800}, has_touch=width < 1000)
    first_visit(page)
    send(page, photograph(170, 1), patient="P" * 60, lesion="W" * 30)
    screened(page, engine, 1)
    for path in (
        "/",
        "/upload",
        "/cases/1",
        "/alerts",
        "/outcomes",
        "/performance",
        "/audit",
        "/account",
        "/accounts",
    ):
        page.goto(path)
        if path == "/performance":
            page.wait_for_selector("#figures h2")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, (path, width, wide)
    if width < 1080:
        page.click(".menu")
        page.click("nav >> text=Outcomes")
        page.wait_for_selector("h1:has-text('Outcomes')")


def test_single_keys_can_be_turned_off_and_never_act_while_one_writes(
    page_of: Callable[..., Page], engine: Engine, settings: Settings
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
    page.keyboard.press("?")
    page.click("text=Single keys act")
    page.click("dialog >> text=Close")
    page.keyboard.press("5")
    assert page.locator("input[type=radio]:checked").count() == 0
    page.reload()
    page.keyboard.press("5")
    assert page.locator("input[type=radio]:checked").count() == 0


def test_a_service_that_is_away_is_said_and_nothing_typed_is_lost(
    page_of: Callable[..., Page], settings: Settings
) -> None:
    page = page_of()
    first_visit(page)
    page.goto("/upload")
    page.fill("#patient", "P-9")
    page.context.set_offline(True)
    page.set_input_files("#photographs", [photograph(170, 1)])
    page.click("button:has-text('Send')")
    page.wait_for_selector(".progress .failed >> text=cannot be reached")
    page.context.set_offline(False)
    page.click("text=Send again")
    page.wait_for_selector(".progress .kept >> text=is case 1.")
    assert page.input_value("#patient") == "P-9"
