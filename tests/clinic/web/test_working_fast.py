"""What makes a reader's work fast, in a real browser: what is on the screen, and what a key does at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, select

from bundles import tiny_card
from clinic.cases import screened as screened_case
from clinic.web.test_browser import (  # noqa: F401
    add_account,
    address,
    check,
    chromium,
    first_visit,
    in_view,
    keys,
    opened,
    page_of,
    photograph,
    screened,
    send,
    sign_in_first,
    submit,
    until,
)
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.database import reading, writing
from dermsentry.clinic.store.tables import Case, Model, Read
from dermsentry.files import plain

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.parametrize("settings", [Settings()])

WINDOWS = [(1366, 768), (1920, 1080)]


def box(page: Page, selector: str) -> dict[str, float]:
    found = page.locator(selector).first.bounding_box()
    assert found is not None
    return dict(found)


@pytest.mark.parametrize(("locale", "kept"), [("en-GB", "Draft kept"), ("de-DE", "Entwurf gespeichert")])
def test_decision_and_photograph_are_side_by_side_above_the_fold(
    page_of: Callable[..., Page],  # noqa: F811
    engine: Engine,
    locale: str,
    kept: str,
) -> None:
    page = page_of(locale=locale)
    first_visit(page)
    send(page, *[photograph(170, seed) for seed in (1, 2)], lesion="")
    screened(page, engine, 2)
    for number, (width, height) in enumerate(WINDOWS, 1):
        page.set_viewport_size({"width": width, "height": height})
        page.goto(f"/cases/{number}")
        opened(page, ".panel.decide")
        picture, form, save = (
            box(page, own) for own in (".viewer", "[data-decide]", "[data-decide] .primary")
        )
        assert picture["x"] + picture["width"] <= form["x"]
        assert form["y"] + form["height"] <= height
        assert save["y"] + save["height"] <= height
        assert picture["y"] + 300 < height
        right = max(own["x"] + own["width"] for own in (form, box(page, ".found")))
        assert width - right < width / 8  # nothing of a wide window is left empty
        check(page)
        # Once a draft is kept everything is where it was: each key acts at the first press.
        keys(page, "a4b")
        page.wait_for_selector(f"[data-draft-state]:has-text('{kept}')")
        assert page.evaluate("scrollY") == 0
        assert box(page, "[data-decide] .primary") == save
        keys(page, "s")
        page.wait_for_selector(f".banner a[href^='/cases/{number}?']")
    with reading(engine) as session:
        assert session.query(Read).count() == len(WINDOWS)


def test_on_a_phone_one_decides_before_the_details_and_takes_a_photograph_before_the_fields(
    page_of: Callable[..., Page],  # noqa: F811
    engine: Engine,
) -> None:
    page = page_of()
    first_visit(page)
    send(page, photograph(170, 1))
    screened(page, engine, 1)
    phone = page_of(
        viewport={"width": 390, "height": 844},
        has_touch=True,
        is_mobile=True,
        storage_state=page.context.storage_state(),
    )
    phone.goto("/cases/1")
    opened(phone, ".panel.decide")
    order = [box(phone, own)["y"] for own in (".viewer", ".panel.decide", ".found", ".after")]
    assert order == sorted(order)
    check(phone)
    phone.goto("/upload")
    assert phone.is_visible("[data-camera]")
    assert box(phone, "[data-camera]")["y"] < box(phone, "#photographs")["y"] < box(phone, "#patient")["y"]
    phone.set_input_files("[data-camera] input", [photograph(20, 7)])
    assert phone.evaluate("document.querySelector('#photographs').files.length") == 1
    check(phone)
    page.goto("/upload")
    assert page.is_hidden("[data-camera]")  # a desktop has no camera to offer


def test_several_routine_cases_are_chosen_by_key_and_taken_back(
    page_of: Callable[..., Page],  # noqa: F811
    engine: Engine,
) -> None:
    page = page_of(viewport={"width": 1366, "height": 768})
    first_visit(page)
    with writing(engine) as session:
        card = tiny_card()
        session.add(Model(digest="a" * 64, name=card.name, card=plain(card)))
        session.flush()
        shares = [("alert", 0.9), *(("routine", 0.01) for _ in range(3))]
        session.add_all([screened_case(tier, share) for tier, share in shares])
    page.clock.install()
    page.goto("/")
    opened(page, "#lanes")
    assert page.is_hidden("#routine")
    keys(page, "jm")  # an alert has nothing to choose
    assert page.locator("input.choose:checked").count() == 0
    keys(page, "jmjm")
    assert page.locator("input.choose:checked").count() == 2
    page.clock.run_for(21_000)  # the list renews itself; what was chosen stays chosen
    until(page, lambda: "renewed at" in page.inner_text("#renewed"))
    assert page.locator("input.choose:checked").count() == 2
    for path in ("/", "/?view=gallery"):
        for width in (390, 820, 1366, 1920):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(path)
            page.click(".views a >> nth=0" if path == "/" else ".views a >> nth=1")
            page.locator("input.choose").first.check()
            check(page)
    page.click("[data-choose-all]")
    page.click("#routine .primary")
    opened(page, "h1:has-text('Discharge 3 routine cases')")
    check(page)
    page.click(".together .primary")
    opened(page, ".banner:has-text('3 routine cases discharged')")
    check(page)
    keys(page, "z")
    opened(page, "#list .tier-routine")
    with reading(engine) as session:
        assert {case.stage for case in session.scalars(select(Case))} == {"unread"}


def test_two_people_see_each_other_and_neither_overwrites_the_other(
    page_of: Callable[..., Page],  # noqa: F811
    engine: Engine,
) -> None:
    anna = page_of()
    first_visit(anna)
    add_account(anna, "bea")
    send(anna, photograph(170, 1), photograph(20, 2), lesion="")
    screened(anna, engine, 2)
    bea = page_of()
    sign_in_first(bea, "bea")
    anna.goto("/cases/1")
    bea.goto("/")
    bea.wait_for_selector(".held:has-text('Dr Anna Berg is reading')")
    check(bea)
    bea.goto("/cases/1")
    bea.wait_for_selector(".lock:has-text('Dr Anna Berg')")
    check(bea)
    bea.click(".lock button")
    opened(bea, "[data-decide]")
    bea.fill("#add", "teaching")
    submit(bea, "/cases/1/tags?lane=suspicion")
    opened(bea, ".tags li")
    bea.fill("#comment", "grew since spring")
    submit(bea, "/cases/1/comments?lane=suspicion")
    opened(bea, ".said")
    for width in (390, 820, 1366, 1920):
        bea.set_viewport_size({"width": width, "height": 800})
        check(bea)
    in_view(anna)
    keys(anna, "a4bs")
    opened(anna, ".problem:has-text('Dr Bea is reading this case')")
    assert anna.is_checked("input[name=diagnosis][value=MEL]")  # what was filled in is there still
    bea.goto("/")  # and once it is left, it is free
    opened(bea, "#lanes")
    anna.goto("/cases/1")
    opened(anna, "[data-decide]")
