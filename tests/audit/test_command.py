"""`dermsentry audit` at the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from dermsentry.cli import app
from dermsentry.errors import InputError
from dermsentry.phantoms import Phantoms
from pictures import save, skin


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["audit", *map(str, arguments)])


def test_findings_that_corrupt_are_exit_code_1_and_a_summary(phantoms: Phantoms, tmp_path: Path) -> None:
    done = run(phantoms.root, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "!! Conflicting labels" in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"audit.json", "audit.html", "index.npz"}
    assert "audit.html" in done.stderr


def test_json_is_all_there_is_on_stdout(phantoms: Phantoms, tmp_path: Path) -> None:
    done = run(phantoms.root, "--json", "--out", tmp_path)
    assert done.exit_code == 1
    assert json.loads(done.stdout) == json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))


def test_a_clean_collection_is_exit_code_0(tmp_path: Path) -> None:
    save(skin(1), tmp_path / "nevus" / "a1x.jpg")
    save(skin(2), tmp_path / "melanoma" / "b2x.jpg")
    done = run(tmp_path)
    assert done.exit_code == 0
    assert "nothing was found that corrupts a result" in done.stdout


def test_a_reference_table_is_compared(tmp_path: Path) -> None:
    save(skin(1), tmp_path / "set" / "nevus" / "ISIC_0000001.jpg")
    labels = tmp_path / "labels.csv"
    labels.write_text("image_id,diagnosis\nISIC_0000001,melanoma\n")
    done = run(tmp_path / "set", "--labels", labels)
    assert done.exit_code == 1
    assert "contradicts 1" in done.stdout


def test_a_missing_folder_is_the_users_error(tmp_path: Path) -> None:
    done = run(tmp_path / "nowhere")
    assert isinstance(done.exception, InputError)
    assert done.exception.exit_code == 2


@pytest.mark.parametrize("option", ["--nothing", "--seed=x"])
def test_an_option_that_cannot_be_used_is_exit_code_2(option: str, phantoms: Phantoms) -> None:
    assert run(phantoms.root, option).exit_code == 2
