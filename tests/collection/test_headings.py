"""Tables whose headings are the user's own, and photographs that lie elsewhere."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest
from typer.testing import CliRunner

from dermsentry.cli import app
from dermsentry.collection import read_collection, read_labels
from dermsentry.collection.columns import own_names, read_headings
from dermsentry.errors import InputError
from pictures import save, skin

HEADINGS = {"image_id": "Bild-Nr.", "diagnosis": "Befund (Histo)", "patient_id": "pat nr"}


@pytest.fixture
def surgery(tmp_path: Path) -> Path:
    """A table of a surgery, its photographs in another folder."""
    book = openpyxl.Workbook()
    book.active.append(["Bild-Nr.", "Diagnosis", "Befund (Histo)", "Pat-Nr"])  # type: ignore[union-attr]
    for row in (
        ("a1x", "Muttermal", "melanoma", "P1"),
        ("b2x", "", "nevus", "P1"),
        ("c3x", "", "nevus", "P2"),
    ):
        book.active.append(row)  # type: ignore[union-attr]
    (tmp_path / "tables").mkdir()
    book.save(tmp_path / "tables" / "surgery.xlsx")
    for number, name in enumerate(("a1x", "b2x", "c3x", "d4x")):
        save(skin(number), tmp_path / "pictures" / "2024" / f"{name}.jpg")
    return tmp_path


def test_headings_that_are_not_known_are_told(tmp_path: Path) -> None:
    save(skin(1), tmp_path / "a.jpg")
    (tmp_path / "table.csv").write_text("path,diagnosis,Alter,sex,Lokalisation\na.jpg,nevus,44,female,arm\n")
    found = read_collection(tmp_path / "table.csv")
    [told] = found.left_alone
    assert told.startswith("table.csv: Alter, Lokalisation kept under their own names")
    assert found.table["Alter"].tolist() == ["44"]


def test_a_table_is_read_by_its_own_headings(surgery: Path) -> None:
    table = surgery / "tables" / "surgery.xlsx"
    found = read_collection(table, columns=HEADINGS, images=surgery / "pictures")
    assert list(found.table["path"]) == ["2024/a1x.jpg", "2024/b2x.jpg", "2024/c3x.jpg"]
    assert list(found.table["diagnosis"]) == ["MEL", "NV", "NV"]
    assert list(found.table["patient_id"]) == ["P1", "P1", "P2"]
    assert list(found.table["Diagnosis"]) == ["Muttermal", "", ""]
    assert [one.path for one in found.not_read] == ["2024/d4x.jpg"]


def test_the_users_heading_comes_before_ours() -> None:
    assert own_names(["diagnosis", "Befund", "dx"], headings={"diagnosis": "befund"}) == [
        "diagnosis (as given)", "diagnosis", "dx",
    ]  # fmt: skip
    assert own_names(["image", "Datum"], headings={"acquisition_date": "Datum"}) == [
        "image_id", "acquisition_date",
    ]  # fmt: skip


def test_a_table_of_paths_is_relative_to_the_photographs(surgery: Path) -> None:
    table = surgery / "tables" / "paths.csv"
    table.write_text("Datei;Befund\n2024/a1x.jpg;melanoma\nC:\\alt\\2024\\b2x.jpg;nevus\n", encoding="utf-8")
    columns = {"path": "Datei", "diagnosis": "Befund"}
    found = read_collection(table, columns=columns, images=surgery / "pictures")
    assert list(found.table["path"]) == ["2024/a1x.jpg", "2024/b2x.jpg"]
    assert [one.path for one in found.not_read] == ["2024/c3x.jpg", "2024/d4x.jpg"]


def test_headings_hold_for_reference_labels(surgery: Path) -> None:
    table = surgery / "tables" / "surgery.xlsx"
    assert read_labels(table, columns=HEADINGS) == {"a1x": "MEL", "b2x": "NV", "c3x": "NV"}


def test_levels_give_way_to_the_users_diagnosis(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("isic_id,diagnosis_1,Histo\nISIC_0000001,Benign,melanoma\n", encoding="utf-8")
    assert read_labels(table, columns={"diagnosis": "Histo"}) == {"ISIC_0000001": "MEL"}


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["diagnosis"], "expected NAME=HEADING"),
        (["befund=Histo"], "where NAME is one of path, image_id"),
        (["diagnosis=a", "dx=b"], "besides another for the same"),
        (["diagnosis=a", "site=a"], "besides another for the same"),
    ],
)
def test_a_heading_that_says_nothing_is_refused(texts: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_headings(texts)
    assert read_headings(["patient=Pat-Nr", "diagnosis= Befund = x"]) == {
        "patient_id": "Pat-Nr", "diagnosis": "Befund = x",
    }  # fmt: skip


def test_a_heading_that_no_table_has_is_refused_with_those_there_are(surgery: Path) -> None:
    table = surgery / "tables" / "surgery.xlsx"
    with pytest.raises(InputError, match=r"diagnosis=Histo, but no table has .*Bild-Nr., Diagnosis, Befund"):
        read_collection(table, columns={"diagnosis": "Histo"}, images=surgery / "pictures")
    for given in (None, {"diagnosis": "Befund (Histo)"}):  # what is there or named is not asked for
        with pytest.raises(InputError, match=r"expected image_id or path\. Say with --column"):
            read_collection(table, columns=given, images=surgery / "pictures")
    with pytest.raises(InputError, match="which is not a table"):
        read_collection(surgery / "pictures", images=surgery / "pictures")


@pytest.mark.parametrize("command", ["audit", "split"])
def test_commands_share_the_options(surgery: Path, command: str) -> None:
    out = surgery / ("out" if command == "audit" else "split.csv")
    columns = [f"--column={name}={heading}" for name, heading in HEADINGS.items()]
    table, images = surgery / "tables" / "surgery.xlsx", surgery / "pictures"
    done = CliRunner().invoke(
        app, [command, str(table), "--images", str(images), *columns, "--out", str(out)]
    )
    assert done.exit_code == (3 if command == "audit" else 0), done.output
    assert out.exists()


def test_several_tables_about_one_folder_are_joined(surgery: Path) -> None:
    for name, rows in (("one", "a1x,melanoma\n"), ("two", "b2x,nevus\nc3x,nevus\nd4x,nevus\n")):
        (surgery / f"{name}.csv").write_text(f"image,dx\n{rows}", encoding="utf-8")
    tables = [str(surgery / "one.csv"), str(surgery / "two.csv")]
    done = CliRunner().invoke(app, ["audit", *tables, "--images", str(surgery / "pictures")])
    assert done.exit_code == 0, done.output
    assert "4 photographs" in done.stdout
