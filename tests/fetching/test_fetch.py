"""A set is rebuilt whole: photographs, licences, labels and checksums, as the archive has them."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import dermsentry
from dermsentry.audit import audit_collection
from dermsentry.cli import app
from dermsentry.collection import read_collection, read_labels
from dermsentry.diagnoses import DIAGNOSES
from dermsentry.errors import DataWarning, InputError
from dermsentry.fetching import sets
from dermsentry.fetching.sets import wanted
from fetching.archive_server import SIGNATURE, Server, names


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def nine_classes(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A small isic9: nine folders in Train and Test, the labels of some changed since, one id gone."""
    lines = ["folder,names"]
    number = 100
    for part in ("Train", "Test"):
        for diagnosis in DIAGNOSES:
            number += 1
            lines.append(f"{part}/{diagnosis.name},ISIC_{number:07}")
            server.add(f"ISIC_{number:07}", diagnosis.name, collection=9)
    lines[1] += " ISIC_0000104(1)"  # the melanoma again, as a copy in another folder
    lines[2] += " ISIC_0000002 ISIC_0000005 ISIC_0000006 ISIC_0999999"  # the last is not there
    server.add("ISIC_0000006", "", collection=9)
    (tmp_path / "isic9.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.setattr(sets, "ISIC9", tmp_path / "isic9.csv")
    return server


def test_a_collection_is_fetched_as_isic_cli_writes_it(server: Server, tmp_path: Path) -> None:
    fetched = dermsentry.fetch(7, tmp_path / "set")
    photographs = {f"{isic_id}.jpg" for isic_id in server.content}
    assert names(tmp_path / "set") == photographs | {
        "metadata.csv", "attribution.txt", "fetch.json", "SHA256SUMS"
    }  # fmt: skip
    for isic_id, content in server.content.items():
        assert (tmp_path / "set" / f"{isic_id}.jpg").read_bytes() == content
    assert (fetched.images, fetched.fetched, fetched.kept, fetched.complete) == (5, 5, 0, True)
    table = rows(tmp_path / "set" / "metadata.csv")
    assert list(table[0]) == [
        "isic_id", "attribution", "copyright_license", "diagnosis_1", "diagnosis_2", "diagnosis_3",
        "image_type", "lesion_id", "melanocytic", "pixels_x", "pixels_y",
    ]  # fmt: skip
    assert table[2]["attribution"] == 'Hospital "A", Barcelona'
    assert table[4]["melanocytic"] == "False"
    assert (tmp_path / "set" / "attribution.txt").read_text() == 'Hospital "A", Barcelona\n\nAnonymous\n'
    assert fetched.licences == {"CC-0": 3, "CC-BY-NC": 2}
    kept = json.loads((tmp_path / "set" / "fetch.json").read_text())
    assert (kept["set"], kept["title"]) == ("collection 7", "A Collection")
    assert (kept["fetched"], kept["failed"]) == (5, {})
    assert kept["finished"]


def test_the_sums_are_those_of_the_files(server: Server, tmp_path: Path) -> None:
    dermsentry.fetch(7, tmp_path)
    lines = [line.split("  ") for line in (tmp_path / "SHA256SUMS").read_text().splitlines()]
    assert {name: digest for digest, name in lines} == {
        f"{isic_id}.jpg": hashlib.sha256(content).hexdigest() for isic_id, content in server.content.items()
    }


def test_a_collection_is_read_back(server: Server, tmp_path: Path) -> None:
    dermsentry.fetch(7, tmp_path)
    table = read_collection(tmp_path).table.set_index("image_id")
    assert list(table["diagnosis"][:4]) == ["NV", "MEL", "NV", "BCC"]
    assert set(table["copyright_license"]) == {"CC-0", "CC-BY-NC"}
    assert table["lesion_id"].nunique() == 3


def test_all_pages_are_read(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dermsentry.fetching.archive.PAGE", 2)
    assert dermsentry.fetch(7, tmp_path).fetched == 5
    assert sum("/search/" in path for path in server.asked) == 3


def test_isic9_is_its_class_folders_again(nine_classes: Server, tmp_path: Path) -> None:
    fetched = dermsentry.fetch("isic9", tmp_path / "isic9")
    collection = read_collection(tmp_path / "isic9")
    assert len(collection) == 18 + 4
    assert dict(collection.table["split"].value_counts()) == {"train": 13, "test": 9}
    named = collection.table[~collection.table["path"].str.contains("(1)", regex=False)]
    assert set(named["copyright_license"]) == {"CC-0", "CC-BY-NC"}
    assert (named["lesion_id"] != "").all()
    copy = tmp_path / "isic9" / "Train" / DIAGNOSES[0].name / "ISIC_0000104(1).jpg"
    assert copy.read_bytes() == nine_classes.content["ISIC_0000104"]
    assert nine_classes.files_asked()["ISIC_0000104"] == 2  # once for two files, and redirected
    assert fetched.missing == ("ISIC_0999999",)
    assert (fetched.images, fetched.fetched, fetched.complete) == (22, 21, False)
    assert sum("/search/" in path for path in nine_classes.asked) == 1


def test_what_changed_is_told_and_shown_by_the_audit(nine_classes: Server, tmp_path: Path) -> None:
    fetched = dermsentry.fetch("isic9", tmp_path / "isic9")
    folder = tmp_path / "isic9"
    table = rows(folder / "changes.csv")
    assert [(row["image_id"], row["kind"], row["folder"], row["archive"]) for row in table] == [
        ("ISIC_0000104", "contradicted", "AK", "MEL"),
        ("ISIC_0000002", "contradicted", "BCC", "MEL"),
        ("ISIC_0000005", "contradicted", "BCC", "AK|DF|NV|PBK|SK|VASC"),
        ("ISIC_0000006", "undetermined", "BCC", ""),
        ("ISIC_0999999", "not in the archive", "BCC", ""),
    ]
    assert table[1]["path"] == "Train/basal cell carcinoma/ISIC_0000002.jpg"
    assert table[1]["archive_diagnosis"].startswith("Malignant > ")
    with pytest.warns(DataWarning, match="'Verruca'"):
        labels = read_labels(folder / "metadata.csv")
    audit = audit_collection(read_collection(folder), labels=labels)
    assert {(found.path, found.diagnosis, found.reference) for found in audit.label_disagreements} == {
        (row["path"], row["folder"], row["archive"]) for row in table if row["kind"] == "contradicted"
    }
    assert fetched.contradicted == 3


def test_the_command_tells_what_came_of_it(nine_classes: Server, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["fetch", "isic9", "--out", str(tmp_path / "isic9")])
    assert done.exit_code == 3
    assert "22 photographs of isic9: 21 fetched, 0 there already, 1 could not be fetched" in done.stdout
    assert "3 files contradicted, 1 files undetermined" in done.stdout
    assert "actinic keratosis by its folder, melanoma in the archive: 1" in done.stdout
    assert "ISIC_0999999: the archive has no public photograph of this id." in done.stderr
    assert "dermsentry audit" in done.stderr
    assert SIGNATURE not in done.output


def test_the_command_fetches_a_collection(server: Server, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["fetch", "collection", "7", "--out", str(tmp_path)])
    assert done.exit_code == 0
    assert "5 photographs of A Collection: 5 fetched" in done.stdout


@pytest.mark.parametrize("name", sets.COLLECTIONS)
def test_a_named_set_is_its_collection(server: Server, tmp_path: Path, name: str) -> None:
    server.collections[sets.COLLECTIONS[name]] = ["ISIC_0000001"]
    assert dermsentry.fetch(name, tmp_path).fetched == 1
    assert f"/api/v2/collections/{sets.COLLECTIONS[name]}/" in server.asked


@pytest.mark.parametrize("arguments", [["collection"], ["isic9", "7"], ["ham10000", "212"]])
def test_only_a_collection_has_a_number(arguments: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["fetch", *arguments, "--out", str(tmp_path / "new")])
    assert isinstance(done.exception, InputError)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("what", ["isic8", "", 0, -3])
def test_another_set_is_an_error(what: str | int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected"):
        dermsentry.fetch(what, tmp_path / "new")


def test_a_collection_that_is_not_there_is_an_error(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no public collection 99"):
        dermsentry.fetch(99, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_list_of_the_nine_classes_is_whole() -> None:
    places = wanted("isic9").places
    paths = [path for several in places.values() for path in several]
    assert (len(places), len(paths), len(set(paths))) == (2202, 2359, 2359)
    folders = {path.rpartition("/")[0] for path in paths}
    assert folders == {f"{part}/{diagnosis.name}" for part in ("Train", "Test") for diagnosis in DIAGNOSES}
    assert sets.ISIC9.stat().st_size < 40_000


@pytest.mark.real
def test_the_list_is_that_of_the_real_set(real_data: Path) -> None:
    found = {
        p.relative_to(real_data / "isic9").with_suffix("").as_posix() for p in real_data.glob("isic9/*/*/*")
    }
    assert {path for several in wanted("isic9").places.values() for path in several} == found
