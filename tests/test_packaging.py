"""What the source distribution holds, and what a base install brings."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder

ROOT = Path(__file__).resolve().parents[1]

# A base install, which screens, has to stay under 220 MB without bytecode. Before a name is added here:
# install it into a fresh environment, measure `site-packages`, and put the size in README and docs/start.md.
BASE = {
    "jinja2", "lazy-loader", "msgspec", "numpy", "onnxruntime", "pillow", "pillow-heif", "rich", "typer",
}  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files under version control, and what their owner keeps beside them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no checkout of git")
    copy = tmp_path_factory.mktemp("checkout")
    for name in filter(None, listed.stdout.split("\0")):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, copy / name)
    for own in ("photographs/patient.jpg", "env/bin/python", "notes.txt", "findings.jsonl"):
        (copy / own).parent.mkdir(parents=True, exist_ok=True)
        (copy / own).write_text("mine")
    return copy


def test_the_sdist_has_what_is_under_version_control_and_nothing_of_its_owner(checkout: Path) -> None:
    packed = {
        Path(file.path).relative_to(checkout).as_posix()
        for file in SdistBuilder(str(checkout)).recurse_included_files()
    }
    here = {path.relative_to(checkout).as_posix() for path in checkout.rglob("*") if path.is_file()}
    assert here - packed == {"photographs/patient.jpg", "env/bin/python", "notes.txt", "findings.jsonl"}
    assert packed <= here


def test_the_base_install_brings_only_what_screening_needs() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert {re.split(r"[^\w-]", line)[0].replace("_", "-") for line in listed} == BASE
