"""Take the pictures of the worklist that the docs show, of drawn photographs: `make pictures`.

Serves a clinic in a temporary folder with the model that `dermsentry demo` trained, uploads the demo's test
photographs, decides some cases, and takes pictures with Chromium (`DERMSENTRY_CHROMIUM`, or `chromium`).
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).parent / "pictures"
PASSWORD = "several words to keep"
SITES = ("back", "left arm", "face", "chest", "right leg")


@contextmanager
def served(folder: Path, bundle: Path) -> Iterator[tuple[str, str]]:
    """The address of a new clinic, and the token for its first account."""
    told = folder / "told"
    command = [sys.executable, "-m", "dermsentry.cli", "serve", "--port", "0", "--model", str(bundle)]
    with told.open("w") as out:
        environment = {**os.environ, "DERMSENTRY_HOME": str(folder / "clinic")}
        server = subprocess.Popen(command, env=environment, stderr=out)
    try:
        while not (found := re.search(r"first at (\S+) with: (\S+)", told.read_text())):
            if server.poll() is not None:
                sys.exit(told.read_text())
            time.sleep(0.1)
        yield found[1], found[2]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def first_account(page: Page, token: str) -> None:
    page.goto(f"/first-visit?token={token}")
    for field, text in (("name", "anna"), ("full_name", "Dr Anna Berg"), ("password", PASSWORD)):
        page.fill(f"#{field}", text)
    page.fill("#again", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector("#lanes")


def send(page: Page, photographs: list[Path]) -> None:
    """Three photographs of each patient, those of every other one of the same lesion, one after the other."""
    for i, photograph in enumerate(photographs):
        page.goto("/upload")
        page.fill("#patient", f"P-{1000 + i // 3}")
        page.fill("#lesion", "L1" if i // 3 % 2 else f"L{i % 3 + 1}")
        page.fill("#site", SITES[i // 3 % len(SITES)])
        page.set_input_files("#photographs", str(photograph))
        page.click("form[action='/upload'] [type=submit]")
        page.wait_for_selector(".progress .kept")
    while page.goto("/?lane=waiting") and page.query_selector("a[href^='/cases/']"):
        page.wait_for_timeout(500)


def decide(page: Page, number: int) -> None:
    """Decide the first cases of the list by keyboard, and enter what the biopsies showed."""
    choice = random.Random(1)
    page.goto("/")
    page.keyboard.press("j")
    page.keyboard.press("o")
    for _ in range(number):
        page.wait_for_selector("h1:has-text('Case ')")
        page.wait_for_load_state()
        title = page.inner_text("h1")
        # A key acts on what is on the screen alone.
        page.evaluate("document.querySelector('.panel.decide').scrollIntoView({block: 'start'})")
        page.wait_for_timeout(100)
        if choice.random() < 0.8:
            page.keyboard.press("a")
            if page.query_selector("input[name=diagnosis]:checked") is None:  # the likeliest does not fit
                page.keyboard.press("x")
            page.keyboard.press(choice.choice("bbbf"))
        else:
            page.check("input[name=agrees][value=no]")
            page.keyboard.press("5")
            page.keyboard.press(choice.choice("df"))
        page.click("form[data-decide] .primary")
        changed = "title => document.querySelector('h1').innerText !== title"
        page.wait_for_function(f"{changed} || document.querySelector('#contradiction')", arg=title)
        if page.query_selector("#contradiction"):
            page.click("form[data-decide] .primary")
            page.wait_for_function(changed, arg=title)
    page.goto("/outcomes")
    links = [link.get_attribute("href") for link in page.query_selector_all("td a[href^='/outcomes?case=']")]
    for link in links:
        page.goto(str(link))
        page.select_option("#diagnosis", choice.choice(("MEL", "MEL", "NV", "SK")))
        page.click("form[action='/outcomes'][method=post] [type=submit]")
        page.wait_for_selector(".banner")


def keep(page: Page, name: str) -> None:
    """A picture of what the window shows, of few colours, so that it is small."""
    page.wait_for_load_state("networkidle")
    page.screenshot(path=HERE / f"{name}.png")
    with Image.open(HERE / f"{name}.png") as taken:
        taken.convert("RGB").quantize(128).save(HERE / f"{name}.png", optimize=True)


def take(browser: Browser, address: str, token: str, photographs: list[Path]) -> None:
    context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 860})
    page = context.new_page()
    first_account(page, token)
    send(page, photographs)
    page.goto("/")
    keep(page, "worklist")
    page.keyboard.press("j")
    page.keyboard.press("o")
    page.wait_for_selector("h1:has-text('Case ')")
    page.wait_for_load_state()
    page.keyboard.press("h")
    page.set_viewport_size({"width": 1280, "height": 1180})
    keep(page, "case")
    decide(page, 24)
    page.goto("/performance")
    page.wait_for_selector("#figures h2")
    keep(page, "performance")
    page.goto("/site-model?sensitivity=60&confidence=80")  # so few outcomes promise no more
    keep(page, "site-model")
    state = context.storage_state()
    dark = browser.new_context(
        base_url=address, viewport={"width": 800, "height": 1180}, color_scheme="dark", storage_state=state
    )
    page = dark.new_page()
    page.goto("/")
    page.click("a[href^='/cases/'] >> nth=0")
    page.wait_for_selector("h1:has-text('Case ')")
    keep(page, "case-dark")


def main() -> None:
    HERE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        demo = Path(place) / "demo"
        subprocess.run([sys.executable, "-m", "dermsentry.cli", "demo", "--out", str(demo)], check=True)
        photographs = sorted((demo / "photographs" / "Test").rglob("*.jpg"))
        random.Random(3).shuffle(photographs)
        with (
            served(Path(place), demo / "run" / "bundle") as (address, token),
            sync_playwright() as playwright,
        ):
            chromium = os.environ.get("DERMSENTRY_CHROMIUM") or shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            take(browser, address, token, photographs[:60])
            browser.close()


if __name__ == "__main__":
    main()
