"""Every page in a real browser: nothing fetched, nothing broken, nothing wider than window or paper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe

from browser import running_chromium
from dermsentry import adopt, compare_models
from dermsentry.collection import Collection
from dermsentry.demo import demo
from dermsentry.diagnoses import CODES
from dermsentry.evaluation.comparison_report import write_comparison
from dermsentry.evaluation.cross_validation.figures import FoldPredictions, LeftOut, summarise
from dermsentry.evaluation.cross_validation.report import write_cross_validation
from dermsentry.evaluation.predictions import evaluate_predictions
from dermsentry.nine_class.pipeline import study
from dermsentry.split import Fold, Split
from dermsentry.split.table import COLUMNS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PAGES = [
    "demo/demo.html",
    "demo/audit/audit.html",
    "demo/audit/findings.html",
    "demo/evaluation/evaluation.html",
    "study/study.html",
    "adoption/adoption.html",
    "comparison.html",
    "cross_validation.html",
]
A4 = 695
"""What an A4 page is wide between the margins of `base.html`, in CSS pixels."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser of the tests."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(phantom_collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each kind of page."""
    folder = tmp_path_factory.mktemp("pages")
    finished = study(phantom_collection, folder / "study", fast=True, size=48)
    demo(phantom_collection.root, folder / "demo")
    known = phantom_collection.table[["image_id", "diagnosis"]].drop_duplicates("image_id")
    known.to_csv(folder / "known.csv", index=False)
    photographs = phantom_collection.root / "Train"
    adopt(finished.bundle, photographs, labels=folder / "known.csv", out=folder / "adoption")
    labels = list(phantom_collection.table["diagnosis"])
    groups = list(phantom_collection.table["path"])
    rng = np.random.default_rng(0)
    models = {
        name: evaluate_predictions(labels, rng.dirichlet(np.ones(9), len(labels)), groups, resamples=50)
        for name in ("the model of a hospital with a long name", "another", "third")
    }
    models = {name: replace(one, about={"left_out": 0}) for name, one in models.items()}
    write_comparison(models, compare_models(models), folder)
    write_cross_validation(
        summarise(
            "source",
            [
                _fold(name, labels)
                for name in ("Medical University of Vienna", "Hospital Clínic de Barcelona")
            ],
            resamples=50,
            seed=0,
            warnings=["Beware."],
            about={"synthetic": True, "configuration": {"leave_out": "source"}},
        ),
        folder,
    )
    return folder


def _fold(name: str, labels: list[str]) -> FoldPredictions:
    """A fold with two seeds of predictions that know nothing."""
    table = pd.DataFrame({column: ["x"] for column in COLUMNS}).assign(part="train")
    groups = tuple(f"{name} {i}" for i in range(len(labels)))
    runs = []
    for seed in range(2):
        probability = np.random.default_rng(seed).dirichlet(np.ones(9), len(labels))
        alert = probability[:, CODES.index("MEL")] > 0.1
        runs.append(LeftOut(tuple(labels), probability, groups, alert))
    folders = tuple(Path(f"source-{name}/seed-{seed}") for seed in range(2))
    return FoldPredictions(
        Fold(name, Split(table), across=3, across_groups=1, unknown=2), (0, 1), folders, tuple(runs)
    )


CUT = """() => [...document.body.querySelectorAll('*')].filter(one => {
  if (!one.getClientRects().length) return false;
  const inside = one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX !== 'visible';
  return inside || one.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
}).map(one => `${one.tagName} ${one.className}: ${one.textContent.trim().slice(0, 50)}`)"""


def opened(chromium: Browser, page: Path, width: int, faults: list[str]) -> Page:
    shown = chromium.new_page(viewport={"width": width, "height": 900})
    shown.on("pageerror", lambda error: faults.append(str(error)))
    shown.on("console", lambda told: faults.append(told.text) if told.type == "error" else None)
    shown.goto(page.as_uri())
    return shown


@pytest.mark.slow
@pytest.mark.parametrize("width", [1366, 390])
@pytest.mark.parametrize("page", PAGES)
def test_page_in_a_browser(chromium: Browser, pages: Path, page: str, width: int) -> None:
    faults: list[str] = []
    shown = opened(chromium, pages / page, width, faults)
    assert "Dermsentry" in shown.content()
    broken = "[...document.images].filter(i => !i.complete || i.naturalWidth === 0).map(i => i.alt)"
    assert shown.evaluate(broken) == []
    fetched = "performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'))"
    own = (pages / page).parent.joinpath("findings").as_uri()
    assert [name for name in shown.evaluate(fetched) if not name.startswith(own)] == []
    assert shown.evaluate("[...document.images].filter(i => !i.alt).length") == 0
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert shown.evaluate(wide) <= 1
    links = shown.evaluate("[...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href'))")
    for link in links:
        if link.startswith("#"):
            assert shown.locator(link).count() == 1, link
        elif "seed-" not in link:  # the folds' own pages are not made here
            assert (pages / page).parent.joinpath(link.partition("#")[0]).is_file(), link
    assert faults == []
    found = Axe().run(shown, options={"resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()
    shown.close()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_cut_on_paper(chromium: Browser, pages: Path, page: str) -> None:
    """In print nothing scrolls: what is wider than its place, or than the paper, is lost."""
    faults: list[str] = []
    shown = opened(chromium, pages / page, A4, faults)
    landscape = "size: A4 landscape" in shown.content()
    if landscape:
        shown.set_viewport_size({"width": round((297 - 26) / 25.4 * 96), "height": 700})
    shown.emulate_media(media="print")
    assert shown.evaluate(CUT) == []
    shown.close()


@pytest.mark.slow
def test_no_column_of_the_study_is_out_of_sight_on_a_laptop(chromium: Browser, pages: Path) -> None:
    shown = opened(chromium, pages / "study" / "study.html", 1366, [])
    assert shown.evaluate(CUT) == []
    shown.close()


@pytest.mark.slow
def test_a_phone_shows_pairs_side_by_side_and_readable_panels(chromium: Browser, pages: Path) -> None:
    shown = opened(chromium, pages / "demo/audit/audit.html", 390, [])
    tops = "one => [...one.querySelectorAll('figure')].slice(0, 2).map(f => f.getBoundingClientRect().top)"
    first, second = shown.locator(".pair").first.evaluate(tops)
    assert first == second
    shown.goto((pages / "demo/evaluation/evaluation.html").as_uri())
    for panels in shown.locator(".panels img").all():
        assert panels.evaluate("one => one.clientWidth") >= 600
    shown.close()


@pytest.mark.slow
def test_the_study_links_the_audit_and_explains_its_words(pages: Path) -> None:
    page = (pages / "study" / "study.html").read_text(encoding="utf-8")
    assert 'href="audit.html"' in page
    words = page.split('id="words"')[1]
    for word in (
        "Honest",
        "Leak",
        "Balanced accuracy",
        "AUROC",
        "Overfitting",
        "quarantined",
        "MEL melanoma",
    ):
        assert word.lower() in words.lower(), word
