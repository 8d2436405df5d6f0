"""What makes a reader's work fast, in a real browser: what is on the screen, and what a key does at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine

from clinic.web.test_browser import (  # noqa: F401
    address,
    check,
    chromium,
    first_visit,
    keys,
    opened,
    page_of,
    photograph,
    screened,
    send,
    until,
)
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.database import reading
from dermsentry.clinic.store.tables import Read

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.parametrize("settings", [Settings()])

WINDOWS = [(1366, 768), (1920, 1080)]


def box(page: Page, selector: str) -> dict[str, float]:
    found = page.locator(selector).first.bounding_box()
    assert found is not None
    return dict(found)


def test_decision_and_photograph_are_side_by_side_above_the_fold(
    page_of: Callable[..., Page],  # noqa: F811
    engine: Engine,
) -> None:
    page = page_of()
    first_visit(page)
    send(page, *[photograph(170, seed) for seed in (1, 2)])
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
        page.wait_for_selector("[data-draft-state]:has-text('Draft kept')")
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
