"""`dermsentry evaluate` at the terminal: figures on stdout, notes on stderr, and the exit code."""

from __future__ import annotations

import json
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
    assert len(lines) == 13
    assert lines[0].startswith("melanoma sensitivity")
    assert "3 of 3 found; finding all 3 would prove 29 %" in lines[0]
    assert "chosen on calibration for 80 %, reached 94 % (85–98) there" in lines[2]
    assert lines[3].startswith("needed for 80 % here")
    assert lines[8].startswith("PPV at 2 % prevalence")
    assert "Note: Only 3 distinct melanoma photographs" in result.stderr
    assert (out / "evaluation.html").is_file()


def test_an_unreadable_photograph_ends_with_3(folder):
    tiny_bundle(folder / "bundle")
    split = split_csv(folder)
    (folder / "set" / "Test" / "nevus" / "Test_nevus_1.png").write_bytes(b"broken")
    result = run(folder / "bundle", folder / "set", "--split", split, "--resamples", 50)
    assert result.exit_code == 3
    assert "1 photograph was unreadable" in result.stderr
    assert len(result.stdout.splitlines()) == 13


def test_a_prevalence_has_its_line(folder):
    tiny_bundle(folder / "bundle")
    split = split_csv(folder)
    result = run(
        folder / "bundle", folder / "set", "--split", split, "--resamples", 50, "--prevalence", 0.005
    )
    assert "at 0.5 % prevalence" in result.stdout


@pytest.fixture
def hospitals(folder: Path) -> Path:
    """A table that says which hospital each photograph is from."""
    stems = sorted(path.stem for path in (folder / "set").rglob("*.png"))
    rows = [f"{stem},{('Graz', 'Wien')[i % 2]}\n" for i, stem in enumerate(stems)]
    (folder / "hospitals.csv").write_text("image_id,hospital\n" + "".join(rows))
    tiny_bundle(folder / "bundle")
    return folder / "hospitals.csv"


def test_figures_by_a_column_of_metadata(folder, hospitals):
    options = ("--split", split_csv(folder), "--metadata", hospitals, "--resamples", 50)
    result = run(folder / "bundle", folder / "set", *options, "--by", "hospital", "--out", folder / "out")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[13] == "melanoma AUROC by hospital:"
    assert [line.split()[0] for line in lines[14:]] == ["Graz", "Wien"]
    assert "2 melanomas in 3, fewer than 10 distinct photographs of melanoma or of others" in lines[14]
    found = json.loads((folder / "out" / "evaluation.json").read_text())["subgroups"]
    assert [(group["name"], len(group["subgroups"])) for group in found] == [("hospital", 2)]
    assert "By hospital" in (folder / "out" / "evaluation.html").read_text()
    wrong = run(folder / "bundle", folder / "set", *options, "--by", "clinic")
    assert "no column 'clinic'; its columns with values are hospital (2 values)" in str(wrong.exception)


def test_one_value_of_a_column_is_evaluated(folder, hospitals):
    options = ("--split", split_csv(folder), "--metadata", hospitals, "--resamples", 50)
    (folder / "split.csv").write_text((folder / "split.csv").read_text().replace(",test,", ",train,"))
    for path in (folder / "set").rglob("*.png"):  # the class folders alone: no Test that stays aside
        place = folder / "plain" / path.parent.name
        place.mkdir(parents=True, exist_ok=True)
        path.rename(place / path.name)
    rows = (folder / "split.csv").read_text().replace("Train/", "").replace("Test/", "")
    (folder / "split.csv").write_text(rows)
    only = ("--leave-out", "hospital=Graz", "--by", "hospital")
    result = run(folder / "bundle", folder / "plain", *options, *only)
    assert result.exit_code == 0, result.output
    assert "hospital=Graz: 6 photographs to learn from, 6 left out to evaluate on" in result.stderr
    assert "6 photographs" in result.stdout
    assert (
        "Note: Among these photographs the column hospital has fewer than two known values" in result.stderr
    )
    for wrong in ("hospital", "hospital=Linz"):
        refused = run(folder / "bundle", folder / "plain", *options, "--leave-out", wrong)
        assert "expected COLUMN=VALUE" in str(refused.exception) or "it has Graz (6), Wien (6)" in str(
            refused.exception
        )
    unsplit = run(folder / "bundle", folder / "plain", "--leave-out", "hospital=Graz")
    assert "without --split; expected COLUMN=VALUE" in str(unsplit.exception)


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
