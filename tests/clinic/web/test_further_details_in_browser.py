"""What a decision may hold beside diagnosis and action, in a real browser: by keyboard, and with axe."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine

from clinic.web.test_browser import (
    address,  # noqa: F401
    check,
    chromium,  # noqa: F401
    first_visit,
    opened,
    page_of,  # noqa: F401
    photograph,
    screened,
    send,
    until,
)
from dermsentry.clinic.checklists import Abcd, SevenPoint
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.database import reading
from dermsentry.clinic.store.tables import Read

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTHS = (390, 820, 1366, 1920)


@pytest.mark.parametrize("settings", [Settings()])
def test_checklists_by_keyboard_alone_their_scores_as_they_are_filled_in_and_axe(
    page_of: Callable[..., Page],  # noqa: F811
    engine: Engine,
) -> None:
    page = page_of(viewport={"width": 1366, "height": 768})
    first_visit(page)
    send(page, photograph(170, 1))
    screened(page, engine, 1)
    page.goto("/cases/1")
    opened(page, ".panel.decide")
    assert page.is_hidden("#asymmetry")
    page.focus(".further:not(.checklists) summary")
    page.keyboard.press("Enter")
    page.select_option("#certainty", "high")
    page.focus(".checklists summary")
    page.keyboard.press("Enter")
    asked = "one => one.getBoundingClientRect().top - one.closest('.asked').getBoundingClientRect().top"
    until(page, lambda: abs(page.eval_on_selector(".checklists summary", asked)) < 3)
    for pressed in ("Tab", "2", "Tab", "4", "Tab", "Space"):  # white
        page.keyboard.press(pressed)
    page.wait_for_selector(".scores span:has-text('structures still to be filled in')")
    page.focus("input[value=network]")
    page.keyboard.press("Space")
    page.wait_for_selector(".scores span:has-text('ABCD rule 4.0: benign')")
    for own in ("atypical-network", "regression"):
        page.focus(f"input[value={own}]")
        page.keyboard.press("Space")
    page.wait_for_selector(".scores span:has-text('7-point checklist 3: suspicious')")
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        check(page)
    page.wait_for_selector("[data-draft-state]:has-text('Draft kept')")
    page.goto("/cases/1")  # the draft has them
    opened(page, ".checklists[open] .scores span >> nth=1")
    page.check("input[name=agrees][value=yes]")
    page.check("input[name=action][value=biopsy]")
    page.click("[data-decide] .primary")
    opened(page, ".banner")
    with reading(engine) as session:
        read = session.query(Read).one()
        assert read.abcd == Abcd(2, 4, ("white",), ("network",))
        assert read.seven_point == SevenPoint(("atypical-network", "regression"))
        assert read.certainty == "high"


@pytest.mark.parametrize("settings", [Settings()])
def test_axe_finds_nothing_among_open_alerts(
    page_of: Callable[..., Page],  # noqa: F811
    engine: Engine,
) -> None:
    page = page_of()
    first_visit(page)
    send(page, photograph(170, 1), photograph(160, 2), lesion="")
    screened(page, engine, 2)
    page.goto("/alerts")
    assert page.locator(".alerts .tier-alert").count() == 2
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        check(page)
