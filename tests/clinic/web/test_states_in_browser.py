"""States of pages that few people see, by axe, in the dark and on paper; tiers without colour; one whole
session by keyboard alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, select, update

from clinic.cases import photograph as phantom
from clinic.web.test_browser import (  # noqa: F401 - fixtures
    address,
    check,
    chromium,
    keys,
    opened,
    page_of,
    photograph,
    screened,
    until,
)
from clinic.web_app import PASSWORD
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.intake.admission import About, receive
from dermsentry.clinic.settings import OpenId, OpenIdRoles, Settings
from dermsentry.clinic.store.accounts import MAY, Person, add_account
from dermsentry.clinic.store.audit_trail import Trail, hold, verify
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import Account, Alert, Case, Draft, Event, Outcome, Read, now
from dermsentry.clinic.worklist.corrections import withdraw
from dermsentry.clinic.worklist.matches import keep_match

if TYPE_CHECKING:
    from playwright.sync_api import FileChooser, Page

AddCase = Callable[..., int]
Pages = Callable[..., "Page"]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """With a provider, whose button the sign-in page has; nobody presses it."""
    monkeypatch.setenv("DERMSENTRY_OPENID_SECRET", "the client's secret")
    roles = OpenIdRoles(dermatologist=("derm",))
    openid = OpenId(issuer="http://127.0.0.1:9", client_id="x", name="the hospital", roles=roles)
    return Settings(openid=openid, link="http://127.0.0.1:9/")


@pytest.fixture(autouse=True)
def anna(engine: Engine) -> Person:
    """The administrator who works here."""
    with writing(engine) as session:
        account = add_account(session, "anna", "Dr Anna Berg", "administrator", PASSWORD)
        session.flush()
        return Person(account.id, "anna", account.full_name, account.role, MAY[account.role], "", now())


def signed_in(pages: Pages, **options: object) -> Page:
    page = pages(**options)
    page.goto("/sign-in")
    check(page)  # with the provider's button
    assert page.is_visible("a.button[href^='/sign-in/openid']")
    page.fill("#name", "anna")
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    opened(page, "#lanes")
    return page


def test_axe_finds_nothing_in_the_dark_and_on_paper_with_a_conflict_and_a_match(
    page_of: Pages,  # noqa: F811
    clinic: ServedClinic,
    add_case: AddCase,
    draw: Callable[[str], None],
) -> None:
    digests = [f"{number:064x}" for number in range(2)]
    cases = [
        add_case(patient=patient, sha256=digest)
        for patient, digest in zip(("P-1", "P-2"), digests, strict=True)
    ]
    for digest in digests:
        draw(digest)
    with writing(clinic.engine) as session:
        hold(session)
        first, second = (session.get_one(Case, number) for number in cases)
        assert keep_match(session, clinic, first, second, 0.75, True) is not None
    for patient in ("P-8", "P-9"):
        receive(clinic, phantom(), About(patient=patient), source="api", actor="camera")
    page = signed_in(page_of)
    for path, shows in (
        ("/conflicts", "form[action='/conflicts/matches'] [name=reason]"),
        ("/cases/2", ".notice a[href='/conflicts#case-2']"),
        ("/cases/2/print", ".paper"),
    ):
        page.goto(path)
        assert page.is_visible(shows), path
        if path == "/conflicts":
            assert page.is_visible(".conflict .differs")
        check(page, wholly=True)


def test_axe_finds_nothing_in_states_that_come_seldom(
    page_of: Pages,  # noqa: F811
    clinic: ServedClinic,
    add_case: AddCase,
    anna: Person,
) -> None:
    add_case("alert", 0.9, patient="P-1")
    add_case("", follow_up_on=None)  # waits to be screened
    add_case("refer", 0.3, stage="decided", decided_at=now(), follow_up_on=now().date())
    routine = [add_case("routine", 0.01) for _ in range(2)]
    withdrawn = add_case("routine", 0.01)
    with writing(clinic.engine) as session:
        withdraw(session, clinic, withdrawn, anna, "of a colleague's cat")
        session.add_all(Alert(case_id=number, rule="melanoma") for number in (1, *routine))
    page = signed_in(page_of)
    for path, shows in (
        (f"/models/{clinic.card.digest}", "main table"),
        ("/?lane=follow-up", ".in-lane.due"),
        ("/cases/3", ".notice.due"),
        ("/cases/2", ".stage.none[hx-get]"),
        ("/?lane=waiting", "a.row[href^='/cases/2']"),
        ("/?lane=withdrawn", f"a.row[href^='/cases/{withdrawn}']"),
        (f"/cases/{withdrawn}", ".problem"),
        (f"/cases/{withdrawn}/correction", "[name=reason]"),
    ):
        page.goto(path)
        assert page.locator(shows).first.is_visible(), path
        check(page)

    # Of those that are chosen one changes, or a colleague is first with it, before it is confirmed.
    page.goto("/")
    for box in page.locator("input.choose").all():
        box.check()
    page.click("#routine .primary")
    opened(page, "h1:has-text('Discharge 2')")
    with writing(clinic.engine) as session:
        session.get_one(Case, routine[0]).revision += 1
    page.click(".together .primary")
    opened(page, "h1:has-text('1 case discharged')")
    check(page)

    page.goto("/alerts")
    page.click(f"li:has(a[href='/cases/{routine[0]}']) input.choose")
    page.click("li:has(a[href='/cases/1']) input.choose")
    page.click("#acknowledge .primary")
    opened(page, "h1:has-text('Acknowledge 2 alerts')")
    with writing(clinic.engine) as session:
        session.execute(update(Alert).where(Alert.case_id == routine[0]).values(acknowledged_at=now()))
    page.click(".together .primary")
    opened(page, "h1:has-text('1 alert acknowledged')")
    check(page)

    # A colleague was first, then the form is too old.
    page.goto("/cases/1")
    page.click(".further >> nth=0 >> summary")
    page.fill("#other", "Merkel cell carcinoma")
    with writing(clinic.engine) as session:
        session.get_one(Case, 1).stage = "decided"
    page.check("input[name=agrees][value=no]")
    page.check("input[name=diagnosis][value='']")
    page.check("input[name=action][value=biopsy]")
    page.click("[data-decide] .primary")
    opened(page, "#written textarea")
    check(page)
    page.fill("#comment", "grew since spring")
    until(page, lambda: _begun(clinic.engine) == "grew since spring")
    page.evaluate("document.querySelector('#together [action*=comments] [name=csrf]').value = 'old'")
    page.click("[action*=comments] [type=submit]")
    opened(page, "h1:has-text('has expired')")
    assert page.input_value("main textarea") == "grew since spring"
    check(page)
    page.goto("/cases/1")
    assert page.input_value("#comment") == "grew since spring"
    check(page)


def _begun(engine: Engine) -> str:
    with reading(engine) as session:
        draft = session.scalars(select(Draft)).first()
        return str(draft.fields.get("text", "")) if draft is not None else ""


@pytest.mark.parametrize("locale", ["en-GB", "de-DE"])
def test_alerts_are_acknowledged_together_by_mouse_and_by_key(
    page_of: Pages,  # noqa: F811
    engine: Engine,
    add_case: AddCase,
    locale: str,
) -> None:
    with writing(engine) as session:
        session.add_all(Alert(case_id=add_case("alert", share), rule="melanoma") for share in (0.9, 0.8, 0.7))
    page = signed_in(page_of, locale=locale, viewport={"width": 1366, "height": 768})

    def still_open() -> list[int]:
        with reading(engine) as session:
            query = select(Alert.case_id).where(Alert.acknowledged_at.is_(None)).order_by(Alert.case_id)
            return list(session.scalars(query))

    page.goto("/alerts")
    opened(page, ".alerts")
    assert page.is_hidden("#acknowledge")
    keys(page, "jmjm")
    assert page.locator("input.choose:checked").count() == 2
    for width in (390, 820, 1366, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.is_visible("#acknowledge")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        check(page)
    page.click("#acknowledge .primary")
    opened(page, ".gallery")
    for width in (390, 1366):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        check(page)
    assert still_open() == [1, 2, 3]
    page.click(".together .primary")
    opened(page, ".banner")
    assert still_open() == [3]
    check(page)
    keys(page, "z")
    opened(page, ".alerts li:nth-child(3)")
    assert still_open() == [1, 2, 3]
    page.locator("input.choose").first.click()
    page.click("[data-choose-none]", force=True)
    assert page.locator("input.choose:checked").count() == 0
    page.locator("input.choose").first.click()
    page.click("[data-choose-all]")
    page.click("#acknowledge .primary")
    opened(page, ".gallery li:nth-child(3)")
    page.click(".together .primary")
    opened(page, ".empty")
    assert still_open() == []


TIERS = ("alert", "refer", "routine", "cannot-say", "unreadable")


def test_tiers_differ_in_shape_or_text_and_not_in_colour_alone(
    page_of: Pages,  # noqa: F811
    engine: Engine,
    add_case: AddCase,
) -> None:
    sites = ("chest, left", "abdomen, right", "thigh, front, left", "face", "hand, right")
    for tier, site in zip(TIERS, sites, strict=True):
        number = add_case(tier, 0.4, patient="P-1", lesion=tier, site=site)
        with writing(engine) as session:
            session.add(Alert(case_id=number, rule="melanoma"))
    page = signed_in(page_of)
    page.emulate_media(
        forced_colors="active"
    )  # no colours of the page's own: what is left are shapes and text
    for paths in (
        ("/", "/?lane=cannot-say"),
        ("/?view=gallery", "/?lane=cannot-say&view=gallery"),
        ("/alerts",),
    ):
        seen = {}
        for path in paths:
            page.goto(path)
            for tier in TIERS:
                for own in page.locator(f".cases .tier-{tier}").all()[:1]:
                    before = own.evaluate("own => getComputedStyle(own, '::before').content")
                    seen[tier] = (own.inner_text(), before, own.screenshot())
        assert set(seen) == set(TIERS), paths
        for part in range(3):
            assert len({own[part] for own in seen.values()}) == len(TIERS), (paths, part)
    page.goto("/cases/1/patient")
    page.locator(".map .mark text").evaluate_all("all => all.forEach(own => own.remove())")
    drawn = {}
    for tier in TIERS:
        legend = page.locator(f".shapes .mark-{tier}")
        drawn[tier] = legend.screenshot()
        mark = page.locator(f"a.mark-{tier} .shape")
        outline = "own => own.outerHTML.replace(/-?[0-9.]+/g, '')"
        assert mark.evaluate(outline) == legend.locator(".shape").evaluate(outline)
        assert mark.bounding_box() is not None
    assert all(drawn[one] != drawn[other] for one, other in combinations(TIERS, 2))
    page.emulate_media(forced_colors="none")
    check(page)


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the focus is there; what has it is on the screen, wherever it comes by."""
    for _ in range(120):
        page.keyboard.press("Tab")
        told = page.evaluate(
            """selector => {
              const own = document.activeElement, box = own.getBoundingClientRect();
              const top = document.querySelector('.top').getBoundingClientRect().bottom;
              const over = own.closest('.top, .skip') || box.bottom > top;
              const seen = box.width > 0 && box.top < innerHeight && over;
              return [own.matches(selector), seen || own === document.body, own.outerHTML.slice(0, 120)];
            }""",
            selector,
        )
        assert told[1], f"{page.url}: the focus cannot be seen: {told[2]}"
        if told[0]:
            return
    raise AssertionError(f"{page.url}: no Tab leads to {selector}")


def press(page: Page, selector: str) -> None:
    tab_to(page, selector)
    page.keyboard.press("Enter")


def test_a_whole_session_by_keyboard_alone(
    page_of: Pages,  # noqa: F811
    engine: Engine,
    trail: Trail,
) -> None:
    page = page_of(viewport={"width": 1366, "height": 768})
    asked: list[FileChooser] = []
    page.on(
        "filechooser", lambda own: asked.append(own)
    )  # from the start: the browser is told so while it does other things
    page.goto("/")
    opened(page, "#name")
    tab_to(page, "#name")
    page.keyboard.type("anna")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    opened(page, "#lanes")

    press(page, "a[href='/upload']")
    opened(page, "#photographs")
    tab_to(page, "#photographs")
    page.keyboard.press("Enter")
    until(page, lambda: bool(asked))
    asked[0].set_files([photograph(170, 1), photograph(160, 2)])  # in the system's own window
    tab_to(page, "#patient")
    page.keyboard.type("P-1")
    press(page, "form[action='/upload'] [type=submit]")
    page.locator(".progress .kept").nth(1).wait_for()
    screened(page, engine, 2)

    press(page, ".brand")
    opened(page, "#list .tier-alert")
    keys(page, "jo")
    opened(page, "[data-decide]")
    keys(page, "a4b")
    tab_to(page, "#note")
    page.keyboard.type("ulcerated, 4 mm")
    page.keyboard.press("Escape")
    keys(page, "s")
    opened(page, ".banner")

    press(page, "nav a[href='/alerts']")
    opened(page, ".alerts")
    keys(page, "jm")
    press(page, "#acknowledge .primary")
    opened(page, ".gallery")
    press(page, ".together .primary")
    opened(page, ".banner")

    press(page, "nav a[href='/outcomes']")
    opened(page, "#find")
    press(page, "main table a[href^='/outcomes?case=']")
    opened(page, "#diagnosis")
    tab_to(page, "#diagnosis")
    page.keyboard.type("mel")
    press(page, "form[action='/outcomes'][method=post] [type=submit]")
    opened(page, ".banner")

    press(page, "form[action='/sign-out'] button")
    opened(page, "form[action='/sign-in']")
    with reading(engine) as session:
        [read] = session.scalars(select(Read))
        assert (read.diagnosis, read.action, read.note) == ("MEL", "biopsy", "ulcerated, 4 mm")
        assert [own.diagnosis for own in session.scalars(select(Outcome))] == ["MEL"]
        assert None not in session.scalars(select(Alert.acknowledged_at)).all()
        assert {own.patient for own in session.scalars(select(Case))} == {"P-1"}
        assert session.scalars(select(Account.name)).all() == ["anna"]
        assert verify(session, trail).problems == ()
        actions = session.scalars(select(Event.action).order_by(Event.id)).all()
    assert actions[0] == "signed in"
    assert actions[-1] == "signed out"
