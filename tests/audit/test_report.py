"""The page stands alone, shows each finding, and takes file names for what they are: foreign text."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from browser import running_chromium
from dermsentry.audit import Audit, audit_collection, write_audit
from dermsentry.audit.content import Content, ContentFinding
from dermsentry.audit.leaks import PhotographGroup
from dermsentry.audit.leaks import place as place_of
from dermsentry.collection import Collection, read_collection
from dermsentry.errors import OutputError
from dermsentry.files import read_json
from pictures import save, skin


@pytest.fixture(scope="module")
def page(phantom_collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("audit")
    write_audit(audit_collection(phantom_collection), phantom_collection, out)
    assert read_json(out / "audit.json")["synthetic"] is True
    return (out / "audit.html").read_text(encoding="utf-8")


def test_the_page_fetches_nothing(page: str) -> None:
    targets = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(target.startswith(("data:", "findings.html#")) for target in targets)
    assert "http" not in page.replace("http-equiv", "")


def test_the_page_says_that_phantoms_are_synthetic(page: str) -> None:
    assert "Synthetic photographs" in page


def test_the_page_says_what_each_finding_means(page: str) -> None:
    assert page.count("For training.") >= 5
    assert page.count("For reported figures.") >= 5
    assert page.count('class="pair"') >= 5
    assert page.count("<figure>") > 9


def test_a_name_that_is_no_utf8_is_linked_to(tmp_path: Path) -> None:
    path = os.fsdecode(b"nevus/caf\xe9.jpg")
    save(skin(1), tmp_path / "set" / path)
    collection = read_collection(tmp_path / "set")
    found = ContentFinding(path, "NV", "out of focus", "out of focus")
    content = Content("a model", 1, None, 0, 0, 0, 0, (found,))
    write_audit(replace(audit_collection(collection), content=content), collection, tmp_path / "out")
    assert 'href="../set/nevus/caf%E9.jpg"' in (tmp_path / "out" / "audit.html").read_text("utf-8")


def test_a_hostile_file_name_is_text(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>.jpg"
    save(skin(1), tmp_path / "set" / "nevus" / name)
    (tmp_path / "set" / "melanoma").mkdir()
    shutil.copy(tmp_path / "set" / "nevus" / name, tmp_path / "set" / "melanoma" / name)
    collection = read_collection(tmp_path / "set")
    write_audit(audit_collection(collection), collection, tmp_path / "out")
    html = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    assert "<img src=x" not in html
    assert "&lt;img src=x" in html


def test_one_photograph_or_none_readable_still_has_a_page(tmp_path: Path) -> None:
    save(skin(1), tmp_path / "one" / "nevus" / "a.jpg")
    (tmp_path / "none" / "nevus").mkdir(parents=True)
    (tmp_path / "none" / "nevus" / "a.jpg").write_bytes(b"")
    for name in ("one", "none"):
        collection = read_collection(tmp_path / name)
        write_audit(audit_collection(collection), collection, tmp_path / f"{name}-out")
        assert (tmp_path / f"{name}-out" / "audit.html").is_file()


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    save(skin(1), tmp_path / "nevus" / "a.jpg")
    (tmp_path / "file").write_text("")
    collection = read_collection(tmp_path)
    with pytest.raises(OutputError, match="Cannot write"):
        write_audit(audit_collection(collection), collection, tmp_path / "file" / "out")


def listed(out: Path) -> dict[str, Any]:
    """What `findings.html` lists."""
    page = (out / "findings.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    told: dict[str, Any] = json.loads(found[1])
    return told


@pytest.fixture
def many(tmp_path: Path) -> tuple[Audit, Collection]:
    """An audit with 300 conflicts, of 600 files that are few pictures."""
    for number in range(300):
        for part, name in (("train", "nevus"), ("test", "melanoma")):
            place = tmp_path / "set" / part / name / f"{number:03}.jpg"
            if number < 3:
                save(skin(number), place)
            else:
                place.hardlink_to(place.with_name(f"{number % 3:03}.jpg"))
    collection = read_collection(tmp_path / "set")
    small = tmp_path / "small"
    save(skin(9), small / "nevus" / "a.jpg")
    placed = place_of(collection.table)
    groups = tuple(
        PhotographGroup(tuple(placed[f"{part}/{number:03}.jpg"] for part in ("test/melanoma", "train/nevus")))
        for number in range(300)
    )
    return replace(audit_collection(read_collection(small)), conflicts=groups), collection


def test_many_conflicts_are_a_small_page_and_a_list_with_pictures_beside_it(
    many: tuple[Audit, Collection], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for _ in range(2):  # another time the old pictures go
        write_audit(*many, out)
        assert len(list((out / "findings").iterdir())) == 600
        (out / "findings" / "9999.jpg").write_bytes(b"old")
    html = (out / "audit.html").read_text(encoding="utf-8")
    assert html.count('class="pair"') == 12
    assert 'href="findings.html#conflicts">All 300' in html
    data = listed(out)
    assert len(data["findings"]) == 300
    for kind, _, members in data["findings"]:
        assert kind == "conflicts"
        assert [data["photographs"][own][1:] for own in members] == [
            ["MEL", "test", True],
            ["NV", "train", True],
        ]


def test_the_tables_have_a_row_for_each_photograph_of_a_finding(
    many: tuple[Audit, Collection], tmp_path: Path
) -> None:
    write_audit(*many, tmp_path / "out")
    csv = pd.read_csv(tmp_path / "out" / "findings.csv", keep_default_na=False)
    assert list(csv.columns) == ["finding", "kind", "told", "path", "diagnosis", "split"]
    assert list(csv["finding"]) == [number for number in range(1, 301) for _ in range(2)]
    pd.testing.assert_frame_equal(
        csv, pd.read_parquet(tmp_path / "out" / "findings.parquet"), check_dtype=False
    )


def test_every_kind_of_finding_is_listed(phantom_collection: Collection, tmp_path: Path) -> None:
    audit = audit_collection(phantom_collection)
    write_audit(audit, phantom_collection, tmp_path)
    counts = Counter(kind for kind, _, _ in listed(tmp_path)["findings"])
    assert counts["conflicts"] == len(audit.conflicts) > 0
    assert counts["leaks"] == len(audit.leaks) > 0
    assert counts["near"] + counts["identical"] == len(audit.duplicates) > 0
    assert counts["unreadable"] == len(audit.unreadable) + len(audit.not_read) > 0
    assert counts["shared_lesions"] == len(audit.shared_lesions)


def test_pictures_beyond_the_most_are_told_of(
    many: tuple[Audit, Collection], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dermsentry.audit.findings_page.MOST_PICTURES", 100)
    write_audit(*many, tmp_path / "out")
    page = (tmp_path / "out" / "findings.html").read_text(encoding="utf-8")
    assert "500 photographs of the last findings are named without a picture" in page
    assert sum(drawn for *_, drawn in listed(tmp_path / "out")["photographs"]) == 100


@pytest.mark.slow
def test_findings_are_filtered_and_paged_in_a_browser(many: tuple[Audit, Collection], tmp_path: Path) -> None:
    write_audit(*many, tmp_path / "out")
    with running_chromium() as chromium:
        page = chromium.new_page()
        page.goto((tmp_path / "out" / "findings.html").as_uri() + "#conflicts")
        assert page.input_value("[name=kind]") == "conflicts"
        assert page.inner_text("#where") == "1 to 24 of 300 findings"
        page.click("#pages [data-step='1']")
        assert page.inner_text("#where") == "25 to 48 of 300 findings"
        assert page.get_attribute("#list", "start") == "25"
        page.wait_for_function("[...document.images].every(own => own.complete && own.naturalWidth)")
        assert page.evaluate("document.images.length") == 48
        page.fill("[name=text]", "/01")
        assert page.inner_text("#where") == "1 to 10 of 10 findings"
        page.select_option("[name=label]", "MEL")
        assert page.inner_text("#where") == "1 to 10 of 10 findings"
        page.fill("[name=text]", "nowhere")
        assert page.inner_text("#where") == "No finding fits."
