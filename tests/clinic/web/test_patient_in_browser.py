"""A patient's page in a real browser: the body map by mouse and by keyboard, and axe."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from sqlalchemy import Engine, select

from clinic.cases import photograph
from clinic.web.test_browser import (  # noqa: F401 - fixtures
    address,
    check,
    chromium,
    first_visit,
    page_of,
    until,
)
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.store.database import reading
from dermsentry.clinic.store.tables import BodySite
from dermsentry.files import write_bytes
from dermsentry.phantoms.drawing import draw_phantom

if TYPE_CHECKING:
    from playwright.sync_api import Page

AddCase = Callable[..., int]


def sites(engine: Engine) -> list[BodySite]:
    with reading(engine) as session:
        return list(session.scalars(select(BodySite).order_by(BodySite.id)))


@pytest.mark.parametrize("width", [390, 1366])
def test_lesions_are_filed_by_mouse_and_by_keyboard(
    page_of: Callable[..., Page],  # noqa: F811 - the fixture
    engine: Engine,
    add_case: AddCase,
    draw: Callable[[str], None],
    width: int,
) -> None:
    digests = [f"{number:064x}" for number in range(3)]
    for digest, lesion in zip(digests, ("L1", "l1", "L2"), strict=True):
        add_case(patient="S-1", lesion=lesion, sha256=digest, site="forearm, left")
        draw(digest)
    add_case(patient="s-1", lesion="L1", taken="2024-03-04")
    page = page_of(viewport={"width": width, "height": 900})
    first_visit(page)
    page.goto("/cases/1/patient")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    check(page)

    page.click("[data-region='chest, left']")
    assert page.locator("[data-aim]").inner_text() == "At: left chest"
    assert page.evaluate("document.activeElement.id") == "lesion"
    check(page)
    page.select_option("#lesion", "L2")
    assert page.locator("#named").is_hidden()
    page.click("form.file [type=submit]")
    page.wait_for_selector(".mark:not(.presumed)")
    placed = sites(engine)[0]
    assert (placed.lesion, placed.region, placed.view) == ("L2", "chest, left", "front")
    assert 100 < placed.x < 141
    assert 84 < placed.y < 146

    # By keyboard alone: a mark leads to its lesion, the form files one.
    page.locator(".mark").first.focus()
    page.keyboard.press("Enter")
    assert "#lesion-" in page.url
    page.focus("#region")
    page.keyboard.type("right sole")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("x")
    page.keyboard.press("Enter")
    until(page, lambda: len(sites(engine)) == 2)
    assert (sites(engine)[1].lesion, sites(engine)[1].region) == ("x", "sole, right")

    page.click("text=The same patient")
    page.wait_for_selector("text=also written")
    check(page)
    page.click("form[action$=undo] button:has-text('s-1')")
    page.wait_for_selector("text=The same patient")


def test_two_photographs_are_compared_and_one_is_looked_at_closely(
    page_of: Callable[..., Page],  # noqa: F811 - the fixture
    clinic: ServedClinic,
    add_case: AddCase,
) -> None:
    for number in range(2):
        data = io.BytesIO()
        picture = Image.fromarray(draw_phantom("MEL", 1, (1100, 825))).rotate(3 * number)
        picture.save(data, "JPEG", quality=90 + number)
        digest = clinic.pictures.keep(data.getvalue())
        for kind in ("view", "thumbnail"):
            write_bytes(clinic.pictures.drawn(digest, kind), data.getvalue())  # type: ignore[arg-type]
        write_bytes(clinic.pictures.drawn(digest, "saliency"), photograph(kind="PNG", size=(64, 64)))
        about = {"patient": "P", "lesion": "A", "taken": f"202{number}-01-01"}
        add_case(
            sha256=digest, format="JPEG", width=1100, height=825, **about, dicom={"spacing": [0.01, 0.01]}
        )
    page = page_of(viewport={"width": 1366, "height": 900})
    first_visit(page)
    page.goto("/cases/2/compare/1", timeout=90_000)  # where the processor is shared
    clip = "getComputedStyle(document.querySelector('.over')).clipPath"
    assert "50%" in page.evaluate(clip)
    page.focus("#slide")
    page.keyboard.press("ArrowRight")
    assert "51%" in page.evaluate(clip)
    check(page)
    page.click("button[data-mode=flicker]")
    page.click("[data-turn]")
    assert page.locator("[data-shown]").inner_text() == "Earlier"
    assert page.evaluate("getComputedStyle(document.querySelector('.over')).visibility") == "hidden"
    page.click("[data-run]")
    until(
        page,
        lambda: page.evaluate("getComputedStyle(document.querySelector('.over')).visibility") == "visible",
    )
    page.click("[data-run]")
    check(page)
    page.click("button[data-mode=beside]")
    page.keyboard.press("+")
    moved = "[...document.querySelectorAll('.layers')].map(own => own.style.transform)"
    scales = [own.rpartition(" ")[2] for own in page.evaluate(moved)]
    assert scales == ["scale(1.5)"] * 2  # both together
    check(page)

    page.goto("/cases/2/closely")
    page.wait_for_selector("#deep canvas")
    page.click("[data-measure]")
    for _ in range(2):
        page.click("[data-point=add]")
    read = page.locator("[data-read]")
    assert re.fullmatch(r"Length \d+ px \([\d.]+ mm\)\.", read.inner_text())
    before = read.inner_text()
    page.focus(".measure circle:last-of-type")
    page.keyboard.press("Shift+ArrowRight")
    assert read.inner_text() != before
    page.click(".openseadragon-canvas", position={"x": 600, "y": 200})
    until(page, lambda: read.inner_text().startswith("Area"))
    assert " mm²)" in read.inner_text()
    page.fill("#opacity", "60")
    assert page.evaluate("document.querySelector('.saliency').style.opacity") == "0.6"
    assert page.evaluate("document.querySelector('.saliency').getBoundingClientRect().width") > 300
    check(page)
