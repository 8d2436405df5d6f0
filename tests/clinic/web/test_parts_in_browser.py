"""A case of several photographs, in a browser: one row and one form, and each photograph in full."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, select

from clinic.web.test_browser import (  # noqa: F401 - fixtures
    address,
    check,
    chromium,
    first_visit,
    opened,
    page_of,
    photograph,
    screened,
    send,
)
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.database import reading
from dermsentry.clinic.store.tables import Case, Read

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.mark.parametrize("settings", [Settings()])
def test_photographs_of_a_lesion_are_seen_together_decided_once_and_separated(
    page_of: Callable[..., Page],  # noqa: F811
    engine: Engine,
) -> None:
    page = page_of(viewport={"width": 1366, "height": 768})
    first_visit(page)
    page.goto("/upload")
    page.select_option("#technique", "overview")
    for name, text in (("#patient", "P-1"), ("#lesion", "A")):
        page.fill(name, text)
    page.set_input_files("#photographs", [photograph(170, 1)])
    page.click("form.upload [type=submit]")
    page.locator(".progress .kept").wait_for()
    send(page, photograph(160, 2), photograph(150, 3))
    screened(page, engine, 3)
    with reading(engine) as session:
        lead = session.scalars(select(Case).where(Case.part_of.is_(None))).one()
    assert lead.technique == ""

    page.goto("/")
    assert page.locator("#list .cases > li").count() == 1
    assert "3 photographs" in page.locator("#list .cases > li").inner_text()
    page.locator("#list a.row").click()
    opened(page, ".panel.decide")
    assert "for 3 photographs" in page.locator("#decide-title").inner_text()
    for width in (390, 820, 1366, 1920):
        page.set_viewport_size({"width": width, "height": 768})
        check(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        photographs = page.locator(".parts img")
        assert photographs.count() == 2
        assert all(photographs.nth(own).bounding_box()["width"] > 100 for own in range(2))  # type: ignore[index]
    page.set_viewport_size({"width": 1366, "height": 768})

    page.locator(".parts").get_by_role("link", name="Overview").click()
    assert f"part of case {lead.id}" in page.locator(".notice.draft").inner_text()
    assert page.locator(".panel.decide").count() == 0
    check(page)
    page.get_by_role("button", name="Make it a case of its own").click()
    page.get_by_role("button", name="Put it back with its lesion and day").click()
    page.wait_for_url(f"**/cases/{lead.id}**")
    opened(page, ".panel.decide")
    page.locator(".parts button").first.focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Put it back with its lesion and day").wait_for()
    page.goto(f"/cases/{lead.id}")
    assert "for 2 photographs" in page.locator("#decide-title").inner_text()
    for own in ("[name=agrees][value=yes]", "[name=diagnosis][value=MEL]", "[name=action][value=biopsy]"):
        page.check(f".decide {own}")
    page.click(".decide .primary")
    opened(page, ".banner")
    with reading(engine) as session:
        assert session.scalars(select(Read.case_id)).all() == [lead.id]
