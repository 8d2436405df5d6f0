"""Every page in a real browser: nothing fetched, nothing broken, nothing wider than the window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from browser import running_chromium
from dermsentry.audit import audit_collection, write_audit
from dermsentry.collection import Collection
from dermsentry.evaluation.predictions import evaluate_predictions
from dermsentry.evaluation.report import write_page
from dermsentry.nine_class.pipeline import study

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser of the tests."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(phantom_collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each kind of page."""
    folder = tmp_path_factory.mktemp("pages")
    study(phantom_collection, folder, fast=True, size=48)
    write_audit(audit_collection(phantom_collection), phantom_collection, folder)
    labels = list(phantom_collection.table["diagnosis"])
    probability = np.random.default_rng(0).dirichlet(np.ones(9), len(labels))
    judged = evaluate_predictions(labels, probability, list(phantom_collection.table["path"]), resamples=50)
    write_page(folder / "evaluation.html", judged)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("page", ["audit.html", "study.html", "evaluation.html"])
def test_page_in_a_browser(chromium: Browser, pages: Path, page: str, width: int) -> None:
    faults: list[str] = []
    opened = chromium.new_page(viewport={"width": width, "height": 900})
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda told: faults.append(told.text) if told.type == "error" else None)
    opened.goto((pages / page).as_uri())
    assert opened.title().endswith("Dermsentry")
    broken = "[...document.images].filter(i => !i.complete || i.naturalWidth === 0).map(i => i.alt)"
    assert opened.evaluate(broken) == []
    fetched = "performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'))"
    assert opened.evaluate(fetched) == []
    assert opened.evaluate("[...document.images].filter(i => !i.alt).length") == 0
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert opened.evaluate(wide) <= 1
    assert faults == []
    opened.close()
