"""The demo goes the whole path, and leaves alone what is not its own."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from dermsentry.demo import demo
from dermsentry.errors import InputError
from dermsentry.phantoms import Phantoms


def test_it_leaves_other_folders_alone(tmp_path: Path, phantoms: Phantoms) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="no demo made it; choose another folder with --out"):
        demo(phantoms.root, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_its_input_is_checked_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        demo(tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_it_goes_the_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dermsentry.demo._DRAWN", {"MEL": 12, "NV": 12, "BCC": 10})
    monkeypatch.setattr("dermsentry.demo._DRAWN_TEST", 4)
    said: list[str] = []
    out = tmp_path / "demo"
    made = demo(out=out, say=said.append)
    assert [line.split()[0] for line in said] == [
        "Drew",
        "Audited",
        "Split",
        "Trained",
        "Evaluated",
        "Screened",
    ]
    pages = (
        "audit/audit.html",
        "evaluation/evaluation.html",
        "screen/predictions.csv",
        "run/bundle/model.onnx",
    )
    for name in pages:
        assert (out / name).is_file(), name
    findings = [json.loads(line) for line in (out / "screen" / "findings.jsonl").read_text().splitlines()]
    with (out / "split.csv").open() as handle:
        tested = {row["image_id"] for row in csv.DictReader(handle) if row["part"] == "test"}
    assert {finding["image"] for finding in findings} == tested
    page = made.page.read_text(encoding="utf-8")
    assert "Synthetic photographs." in page
    assert 'src="http' not in page
    assert sum(finding.tier == "alert" for finding in made.findings) == sum(
        f["tier"] == "alert" for f in findings
    )
    # An earlier demo's folder is used again; that training repeats itself is tested where it trains.
    kept = shutil.copytree(out / "run", tmp_path / "run")
    monkeypatch.setattr("dermsentry.demo.train", lambda *_, **__: SimpleNamespace(bundle=kept / "bundle"))
    (out / "screen" / "left.txt").write_text("of the earlier one")
    again = demo(out=out)
    assert [f.image for f in again.findings] == [f.image for f in made.findings]
    assert not (out / "screen" / "left.txt").exists()
