"""`dermsentry audit` at the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from dermsentry.cli import app
from dermsentry.csv_tables import read_rows
from dermsentry.errors import InputError
from dermsentry.phantoms import Phantoms
from pictures import save, skin


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["audit", *map(str, arguments)])


def test_findings_that_corrupt_are_exit_code_1_and_a_summary(phantoms: Phantoms, tmp_path: Path) -> None:
    done = run(phantoms.root, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "!! Conflicting labels" in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        ".dermsentry.json", "audit.json", "audit.html", "index",
        "findings", "findings.html", "findings.csv", "findings.parquet",
    }  # fmt: skip
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


def test_what_was_not_seen_is_told_and_never_called_clean(tmp_path: Path) -> None:
    save(skin(1), tmp_path / "set" / "nevus" / "a1x.jpg")
    save(skin(2), tmp_path / "set" / "melanoma" / "b2x.jpg")
    save(skin(3), tmp_path / "set" / "melanoma" / ".c3x.jpg")
    done = run(tmp_path / "set", "--json")
    assert done.exit_code == 3
    assert [one["path"] for one in json.loads(done.stdout)["not_read"]] == ["melanoma/.c3x.jpg"]
    assert "Note: not read: melanoma/.c3x.jpg: hidden" in done.stderr
    table = tmp_path / "table.csv"
    table.write_text("path,diagnosis\nset\\nevus\\a1x.jpg,nevus\nset/melanoma/gone.jpg,melanoma\n")
    done = run(table)
    assert done.exit_code == 3
    assert "but 1 photograph could not be read or found: nothing is known of it" in done.stdout
    assert "1 of 2 paths lead to no file, such as set/melanoma/gone.jpg" in done.stderr


def test_a_table_about_one_of_two_collections_is_joined(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save(skin(len(name)), tmp_path / name / "nevus" / f"{name}x.jpg")
        save(skin(9), tmp_path / name / "melanoma" / f"{name}m.jpg")
    table = tmp_path / "table.csv"
    table.write_text("image,lesion_id\nonex,L1\n")
    done = run(tmp_path / "one", tmp_path / "two", "--metadata", table)
    assert "Note: table.csv: 1 of 1 rows have a photograph here, 1 of 4 photographs a row" in done.stderr


def test_lesions_of_published_tables_are_used_said_and_switched_off(tmp_path: Path) -> None:
    save(skin(1), tmp_path / "Train" / "nevus" / "ISIC_0027419.jpg")
    save(skin(2), tmp_path / "Train" / "melanoma" / "onex.jpg")
    save(skin(3), tmp_path / "Test" / "nevus" / "ISIC_0025030.jpg")
    done = run(tmp_path, "--json")
    found = json.loads(done.stdout)
    assert (found["lesions"]["published"], found["summary"]["shared_lesion_test_images"]) == (2, 1)
    said = " ".join(run(tmp_path).stdout.split())
    assert (
        "The lesion is known of 2 of 3 photographs by the published tables of HAM10000 and ISIC 2019" in said
    )
    without = json.loads(run(tmp_path, "--json", "--no-published-lesions").stdout)
    assert (without["lesions"]["published"], without["shared_lesions"]) == (0, [])


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


def test_nothing_good_is_said_of_what_could_not_be_read(tmp_path: Path) -> None:
    for i, name in enumerate(("nevus", "melanoma")):
        save(skin(i), tmp_path / name / f"a{i}x.jpg")
    (tmp_path / "nevus" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    done = run(tmp_path)
    assert done.exit_code == 3
    told = "nothing was found that corrupts a result, but 1 photograph could not be read or found"
    assert told in done.stdout
    for path in tmp_path.rglob("*.jpg"):
        path.write_bytes(b"\xff\xd8\xff\xe0 no more")
    done = run(tmp_path)
    assert done.exit_code == 3
    assert "none of them could be read, so nothing is known of them" in done.stdout


def test_what_is_not_understood_is_listed_and_can_be_said(tmp_path: Path) -> None:
    names = ["melanoma", "nevus", "wart", "wart", "corn"]
    for i in range(len(names)):
        save(skin(i), tmp_path / "set" / f"a{i}x.jpg")
    rows = "".join(f"a{i}x,{name}\n" for i, name in enumerate(names))
    (tmp_path / "set" / "labels.csv").write_text(f"image,diagnosis\n{rows}")
    done = run(tmp_path / "set", "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0
    assert "'wart' (2, kept as unknown); 'corn' (1, kept as unknown)" in done.stderr
    found = json.loads(done.stdout)
    assert found["unknown_diagnoses"] == [
        {"given": "wart", "photographs": 2, "read_as": ""},
        {"given": "corn", "photographs": 1, "read_as": ""},
    ]
    assert found["summary"]["unknown_diagnosis"] == 3
    assert "None of the nine: &#39;wart&#39; (2" in (tmp_path / "out" / "audit.html").read_text()
    draft = tmp_path / "out" / "diagnoses.csv"
    assert draft.read_text() == "given,diagnosis,photographs\nwart,,2\ncorn,,1\n"
    draft.write_text("given,diagnosis,photographs\nwart,benign,2\ncorn,,1\n")
    done = run(tmp_path / "set", "--diagnoses", draft, "--json")
    assert json.loads(done.stdout)["unknown_diagnoses"] == []
    assert json.loads(done.stdout)["classes"]["AK|DF|NV|PBK|SK|VASC"] == {"unsplit": 2}
    assert "none of the nine" not in done.stderr


def test_a_mapping_that_is_missing_is_written_to_be_filled_in(tmp_path: Path) -> None:
    """By any command, with what neither the table nor the reference makes understood."""
    for i in range(3):
        save(skin(i), tmp_path / "bilder" / f"a{i}x.jpg")
    (tmp_path / "praxis.csv").write_text(
        "Datei;Befund\nbilder/a0x.jpg;Nävus\nbilder/a1x.jpg;Melanom\nbilder/a2x.jpg;Nävus\n", encoding="utf-8"
    )
    (tmp_path / "histo.csv").write_text("image,Befund\na0x,Nävus\na1x,Spinaliom\n", encoding="utf-8")
    mapping = tmp_path / "diagnosen.csv"
    given = [
        tmp_path / "praxis.csv", "--column", "diagnosis=Befund", "--column", "path=Datei",
        "--labels", tmp_path / "histo.csv", "--diagnoses", mapping,
    ]  # fmt: skip
    done = CliRunner().invoke(app, ["split", *map(str, given), "--out", str(tmp_path / "split.csv")])
    assert isinstance(done.exception, InputError)
    assert f"{mapping} did not exist: it was written with the 3 diagnoses" in str(done.exception)
    assert "(5 rows)" in str(done.exception)
    draft = mapping.read_text(encoding="utf-8")
    assert draft == "given,diagnosis,photographs\nNävus,,3\nMelanom,,1\nSpinaliom,,1\n"
    assert not (tmp_path / "split.csv").exists()
    for code, name in (("NV", "Nävus"), ("MEL", "Melanom"), ("SCC", "Spinaliom")):
        draft = draft.replace(f"{name},,", f"{name},{code},")
    mapping.write_text(draft.replace(",", ";"), encoding="utf-8-sig")  # as a German Excel saves it
    done = run(*given, "--json")
    assert json.loads(done.stdout)["classes"] == {"MEL": {"unsplit": 1}, "NV": {"unsplit": 2}}
    done = run(*given[:-1], tmp_path / "other.csv")
    assert "other.csv did not exist" in str(done.exception)
    book = tmp_path / "diagnosen.xlsx"
    assert f"{book} did not exist" in str(run(*given[:-1], book).exception)
    assert list(read_rows(book)) == [
        (1, ["given", "diagnosis", "photographs"]),
        (2, ["Nävus", "", "3"]),
        (3, ["Melanom", "", "1"]),
        (4, ["Spinaliom", "", "1"]),
    ]
    (tmp_path / "praxis.csv").write_text("path,diagnosis\nbilder/a0x.jpg,nevus\n")
    done = run(tmp_path / "praxis.csv", "--diagnoses", tmp_path / "none.csv")
    assert "every diagnosis is understood without --diagnoses" in str(done.exception)
    assert not (tmp_path / "none.csv").exists()


def test_a_mapping_that_says_not_all_is_named(tmp_path: Path) -> None:
    for i, name in enumerate(("melanoma", "nevus", "wart")):
        save(skin(i), tmp_path / "set" / f"a{i}x.jpg")
        with (tmp_path / "set" / "labels.csv").open("a") as file:
            file.write(("image,diagnosis\n" if i == 0 else "") + f"a{i}x,{name}\n")
    mapping = tmp_path / "own.csv"
    mapping.write_text("given,diagnosis\ncorn,benign\n")
    told = run(tmp_path / "set", "--diagnoses", mapping).stderr
    assert f"'wart' (1, kept as unknown). To use them, add those that you know to {mapping}." in told
    assert "say what they are by --diagnoses FILE.csv" in run(tmp_path / "set").stderr


def test_a_draft_is_written_where_nothing_is_understood(tmp_path: Path) -> None:
    for i, name in enumerate(("melanoma", "Leberfleck")):
        save(skin(i), tmp_path / "set" / name / f"a{i}x.jpg")
    done = run(tmp_path / "set", "--out", tmp_path / "out")
    assert isinstance(done.exception, InputError)
    draft = tmp_path / "out" / "diagnoses.csv"
    assert draft.read_text() == "given,diagnosis,photographs\nLeberfleck,,1\n"
    draft.write_text("given,diagnosis\nLeberfleck,nevus\n")
    done = run(tmp_path / "set", "--diagnoses", draft, "--json")
    assert set(json.loads(done.stdout)["classes"]) == {"MEL", "NV"}
