"""A model looks at a collection: what it finds, by what probabilities, and the gallery to decide in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageFilter

from browser import running_chromium
from bundles import REFUSING, lesion, tiny_bundle
from dermsentry.audit import Audit, audit_collection, write_audit
from dermsentry.audit.decisions import Decision, read_decisions
from dermsentry.collection import Collection, read_collection
from dermsentry.errors import InputError
from dermsentry.evaluation.contamination import learned_from
from dermsentry.evaluation.content import audit_content
from dermsentry.images import Pixels
from dermsentry.model import Bundle
from pictures import save as save_picture

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WRONG = {"melanoma/n3x.jpg", "nevus/m5x.jpg"}


def save(pixels: np.ndarray, path: Path) -> None:
    save_picture(Image.fromarray(pixels.astype(np.uint8)), path)


def blurred(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(6)))


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Dark lesions are melanomas and light ones nevi, but for two; one is blurred, one dark, one is blue."""
    root = tmp_path_factory.mktemp("content") / "set"
    for i in range(24):
        save(lesion(150, i), root / ("nevus" if i == 5 else "melanoma") / f"m{i}x.jpg")
        save(lesion(40, 100 + i), root / ("melanoma" if i == 3 else "nevus") / f"n{i}x.jpg")
    save(blurred(lesion(60, 300)), root / "nevus" / "blurredx.jpg")
    save(lesion(60, 301) // 6, root / "nevus" / "darkx.jpg")
    blue = np.clip(lesion(60, 302) + np.array([-60, -40, 90]), 0, 255)
    save(blue, root / "nevus" / "bluex.jpg")
    return read_collection(root)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle", no_lesion=REFUSING)


@pytest.fixture(scope="module")
def audited(collection: Collection) -> Audit:
    return audit_collection(collection)


def found(audit: Audit) -> dict[str, set[str]]:
    assert audit.content is not None
    kinds: dict[str, set[str]] = {}
    for finding in audit.content.findings:
        kinds.setdefault(finding.kind, set()).add(finding.path)
    return kinds


def test_wrong_labels_and_poor_photographs_are_found(
    audited: Audit, collection: Collection, bundle: Bundle
) -> None:
    audit = audit_content(audited, collection, bundle)
    kinds = found(audit)
    assert kinds["label"] == WRONG
    assert kinds["out of focus"] == {"nevus/blurredx.jpg"}
    assert kinds["light"] == {"nevus/darkx.jpg"}
    assert "nevus/bluex.jpg" in kinds.get("no lesion", set()) | kinds.get("false colours", set())
    content = audit.content
    assert content is not None
    # The bundle does not record what it learned from: its own probabilities are used for nothing.
    assert (content.learned, content.by_model) == (None, 0)
    poor = {path for kind, paths in kinds.items() if kind not in ("label", "outlier") for path in paths}
    assert content.by_probe == len(collection) - len(poor)
    assert content.agreeing == content.by_probe - 2
    suggested = {f.path: f.suggested for f in content.findings if f.kind == "label"}
    assert suggested == {"melanoma/n3x.jpg": "NV", "nevus/m5x.jpg": "MEL"}
    assert "does not record which photographs it learned from" in audit.to_frame()["found"].str.cat()


def test_what_was_learned_from_is_never_judged_by_the_model_itself(
    audited: Audit, collection: Collection, bundle: Bundle
) -> None:
    some = collection.table.iloc[:10]
    knowing = replace(bundle, learned_from=learned_from(some, []))
    content = audit_content(audited, collection, knowing).content
    assert content is not None
    assert content.learned == 10
    assert content.by_probe == 10
    assert content.by_model > 20
    learned = {finding.path for finding in content.findings if finding.learned}
    assert learned <= set(some["path"])
    nothing = replace(bundle, learned_from=learned_from(collection.table.iloc[:0], []))
    content = audit_content(audited, collection, nothing).content
    assert content is not None
    assert (content.learned, content.by_probe) == (0, 0)
    assert found(replace(audited, content=content))["label"] == WRONG


def test_only_an_audit_is_taken(collection: Collection, audited: Audit) -> None:
    with pytest.raises(InputError, match="expected a Audit"):
        audit_content("audit.json", collection)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected a Collection"):
        audit_content(audited, "photographs")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


def test_one_of_several_may_be_the_new_label(
    audited: Audit, collection: Collection, bundle: Bundle, chromium: Browser, tmp_path: Path
) -> None:
    """As it is suggested, where a set does not distinguish two diagnoses."""
    content = audit_content(audited, collection, bundle).content
    assert content is not None
    findings = tuple(
        replace(one, suggested="PBK|SK") if one.path == "nevus/m5x.jpg" else one for one in content.findings
    )
    write_audit(replace(audited, content=replace(content, findings=findings)), collection, tmp_path)
    page = chromium.new_page(accept_downloads=True)
    page.goto((tmp_path / "audit.html").as_uri())
    card = page.locator("figure[data-path='nevus/m5x.jpg']")
    chosen = card.locator("select option:checked").inner_text()
    assert chosen == "pigmented benign keratosis or seborrheic keratosis"
    card.get_by_label("Relabel as").check()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save decisions.csv").click()
    download.value.save_as(tmp_path / "decisions.csv")
    assert read_decisions(tmp_path / "decisions.csv") == {"nevus/m5x.jpg": Decision("relabel", "PBK|SK")}
    page.close()


def test_decisions_are_made_kept_filtered_and_saved(
    audited: Audit, collection: Collection, bundle: Bundle, chromium: Browser, tmp_path: Path
) -> None:
    write_audit(audit_content(audited, collection, bundle), collection, tmp_path)
    page = chromium.new_page(viewport={"width": 390, "height": 800}, accept_downloads=True)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.goto((tmp_path / "audit.html").as_uri())
    card = page.locator("figure[data-path='nevus/m5x.jpg']")
    assert card.locator("select").input_value() == "MEL"  # as suggested
    href = card.locator("a").get_attribute("href") or ""
    assert (tmp_path / unquote(href)).samefile(collection.root / "nevus/m5x.jpg")
    assert card.locator("img").evaluate("one => one.naturalWidth") == 320  # sharp at twice the pixels
    card.get_by_label("Relabel as").check()
    page.locator("figure[data-path='nevus/darkx.jpg']").get_by_label("Leave out").check()
    page.locator("figure[data-path='nevus/blurredx.jpg']").get_by_label("Relabel as").check()  # as what?
    assert " 2 of " in page.locator("#decided").inner_text()
    page.reload()
    assert " 2 of " in page.locator("#decided").inner_text()
    page.locator("#show-kind").select_option("label")
    assert page.locator("#decided").inner_text().startswith("2 shown")
    page.locator("#show-open").check()
    assert page.locator("#decided").inner_text().startswith("1 shown")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save decisions.csv").click()
    assert download.value.suggested_filename == "decisions.csv"
    download.value.save_as(tmp_path / "decisions.csv")
    assert read_decisions(tmp_path / "decisions.csv", collection) == {
        "nevus/m5x.jpg": Decision("relabel", "MEL"),
        "nevus/darkx.jpg": Decision("leave out"),
    }
    assert problems == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    results = Axe().run(page, options={"resultTypes": ["violations"]})
    assert results.violations_count == 0, results.generate_report()
    page.close()
