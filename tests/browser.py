"""Debian's Chromium, driven by Playwright: the one browser that pages are tested in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = os.environ.get("DERMSENTRY_CHROMIUM") or shutil.which("chromium")


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Chromium without a screen (`DERMSENTRY_CHROMIUM`, or `chromium` on the path).

    Skips where it or Playwright is missing; fails in CI. For a module, not a session: Playwright's event loop
    runs as long as the browser does.
    """
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have chromium")
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
