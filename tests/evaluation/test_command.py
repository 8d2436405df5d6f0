"""`dermsentry evaluate` at the terminal: figures on stdout, notes on stderr, and the exit code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bundles import tiny_bundle
from dermsentry.cli import app
from dermsentry.errors import DermsentryError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split in ("Train", "Test"):
        for name, grey in {"melanoma": 10, "nevus": 220}.items():
            place = tmp_path / "set" / split / name
            place.mkdir(parents=True)
            for i in range(3):
                rng = np.random.default_rng([len(split), grey, i])
                small = Image.fromarray(rng.integers(grey, grey + 20, (5, 6, 3), dtype=np.uint8))
                small.resize((60, 50)).save(place / f"{split}_{name}_{i}.png")
    return tmp_path


def split_csv(folder: Path) -> Path:
    rows = ["path,image_id,diagnosis,group,part,reason"]
    for path in sorted((folder / "set").rglob("*.png")):
        part = "test" if "Test" in path.name else "train"
        code = "MEL" if "melanoma" in path.name else "NV"
        rows.append(f"{path.relative_to(folder / 'set').as_posix()},{path.stem},{code},{path.stem},{part},")
    (folder / "split.csv").write_text("\n".join(rows) + "\n")
    return folder / "split.csv"


def run(*arguments: object):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_figures_on_stdout_notes_on_stderr(folder):
    tiny_bundle(folder / "bundle")
    split, out = split_csv(folder), folder / "out"
    result = run(folder / "bundle", folder / "set", "--split", split, "--out", out, "--resamples", 50)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("melanoma sensitivity")
    assert "3 of 3 found; finding all 3 would prove 29 %" in lines[0]
    assert "chosen on calibration for 80 %, reached 94 % (85–98) there" in lines[2]
    assert lines[3].startswith("needed for 80 % here")
    assert lines[8].startswith("PPV at 2 % prevalence")
    assert "Note: Only 3 melanoma lesions" in result.stderr
    assert (out / "evaluation.html").is_file()


def test_an_unreadable_photograph_ends_with_3(folder):
    tiny_bundle(folder / "bundle")
    split = split_csv(folder)
    (folder / "set" / "Test" / "nevus" / "Test_nevus_1.png").write_bytes(b"broken")
    result = run(folder / "bundle", folder / "set", "--split", split, "--resamples", 50)
    assert result.exit_code == 3
    assert "1 photograph was unreadable" in result.stderr
    assert len(result.stdout.splitlines()) == 10


def test_a_prevalence_has_its_line(folder):
    tiny_bundle(folder / "bundle")
    split = split_csv(folder)
    result = run(
        folder / "bundle", folder / "set", "--split", split, "--resamples", 50, "--prevalence", 0.005
    )
    assert "at 0.5 % prevalence" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["bundle", "nowhere"], 2),
        (["nowhere", "set"], 6),
        (["bundle", "set", "--split", "missing.csv"], 2),
        (["bundle", "set", "--part", "validation"], 2),
        (["bundle", "set", "--prevalence", "2"], 2),
        (["bundle", "set", "--out", "bundle/card.json/inside"], 4),
    ],
)
def test_what_goes_wrong_has_its_exit_code(folder, arguments, code, monkeypatch):
    tiny_bundle(folder / "bundle")
    monkeypatch.chdir(folder)
    result = run(*arguments)
    assert isinstance(result.exception, DermsentryError)
    assert result.exception.exit_code == code
    assert "\n" not in str(result.exception)


def test_too_few_resamples_are_a_usage_error(folder):
    assert run("bundle", "set", "--resamples", 1).exit_code == 2
