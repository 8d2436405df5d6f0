"""The page stands alone, shows each finding, and takes file names for what they are: foreign text."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from dermsentry.audit import audit_collection, write_audit
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
    assert all(target.startswith("data:") for target in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert "http" not in page.replace("http-equiv", "")


def test_the_page_says_that_phantoms_are_synthetic(page: str) -> None:
    assert "Synthetic photographs" in page


def test_the_page_says_what_each_finding_means(page: str) -> None:
    assert page.count("For training.") >= 5
    assert page.count("For reported figures.") >= 5
    assert page.count('class="pair"') >= 5
    assert page.count("<figure>") > 9


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
