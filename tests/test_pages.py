"""Every page in a real browser: nothing fetched, nothing broken, nothing wider than the window."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from dermsentry.audit import audit_collection, write_audit
from dermsentry.collection import Collection
from dermsentry.evaluation.predictions import evaluate_predictions
from dermsentry.evaluation.report import write_page
from dermsentry.nine_class.study import study

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    """Chromium, as Debian packages it."""
    driver, program = shutil.which("chromedriver"), shutil.which("chromium")
    if not driver or not program:
        if os.environ.get("CI"):
            pytest.fail("CI must have chromium and chromium-driver")
        pytest.skip("no chromium and chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


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
def test_page_in_a_browser(browser: webdriver.Chrome, pages: Path, page: str, width: int) -> None:
    browser.set_window_size(width, 900)
    browser.get((pages / page).as_uri())
    assert browser.title.endswith("Dermsentry")
    broken = browser.execute_script(
        "return [...document.images].filter(i => !i.complete || i.naturalWidth === 0).map(i => i.alt)"
    )
    assert broken == []
    fetched = browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'))"
    )
    assert fetched == []
    nameless = browser.execute_script("return [...document.images].filter(i => !i.alt).length")
    assert nameless == 0
    shown, available = browser.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert shown <= available + 1
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
