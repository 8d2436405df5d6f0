"""Every published layout is read as it unpacks: its labels, splits, groups and what it knows of patients."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dermsentry.cli import app
from dermsentry.collection import COLUMNS, Collection, read_collection
from dermsentry.collection.layouts import LAYOUTS
from dermsentry.collection.layouts.photographs import NO_ROW
from dermsentry.csv_tables import read_table
from dermsentry.diagnoses import BENIGN, CODES, MALIGNANT, NOT_MELANOMA
from dermsentry.errors import InputError
from dermsentry.images import read_photograph
from dermsentry.model import read_network
from dermsentry.stats.numbers import percent
from published import LAYOUTS as PUBLISHED
from published import isic2018, isic2020, isic2024_kaggle, milk10k, pad_ufes_20, ph2, photograph, table

ANY_BENIGN, ANY_MALIGNANT, OTHER = "|".join(BENIGN), "|".join(MALIGNANT), "|".join(NOT_MELANOMA)
THREE = {"BCC": 16, "MEL": 16, "NV": 16}

# Photographs of each label and in each split, lesions and patients, and the other columns that are filled.
EXPECTED: dict[str, tuple[dict[str, int], dict[str, int], dict[str, int], set[str]]] = {
    "nine_class": (dict.fromkeys(CODES, 8), {"train": 63, "test": 9}, {}, set()),
    "ham10000_kaggle": (THREE, {}, {"lesion_id": 36}, {"age", "sex", "site", "diagnosis_confirm_type"}),
    "ham10000_dataverse": (
        THREE, {"train": 36, "test": 12}, {"lesion_id": 36}, {"age", "sex", "site", "diagnosis_confirm_type"},
    ),
    "isic2016": ({"MEL": 16, OTHER: 32}, {"train": 36, "test": 12}, {}, set()),
    "isic2017": (
        {"MEL": 16, "NV": 16, "SK": 16}, {"train": 24, "validation": 12, "test": 12}, {}, {"age", "sex"},
    ),
    "isic2018": (
        THREE, {"train": 24, "validation": 12, "test": 12}, {"lesion_id": 36}, {"diagnosis_confirm_type"},
    ),
    "isic2019": (THREE, {"train": 36, "test": 12}, {"lesion_id": 27}, {"age", "sex", "site"}),
    "isic2020_kaggle": (
        {"MEL": 16, "NV": 8, "SK": 15, ANY_BENIGN: 9, "": 4}, {"train": 48, "test": 4}, {"patient_id": 37},
        {"age", "sex", "site"},
    ),
    "isic2020": (
        {"MEL": 16, "NV": 16, ANY_BENIGN: 16, "": 2}, {"train": 48, "test": 2},
        {"lesion_id": 37, "patient_id": 38}, {"age", "sex", "site"},
    ),
    "isic2024_kaggle": (
        {"MEL": 16, "BCC": 16, ANY_BENIGN: 16}, {}, {"lesion_id": 36, "patient_id": 36},
        {"age", "sex", "site", "image_type", "copyright_license", "attribution"},
    ),
    "isic2024": (
        {"MEL": 16, "BCC": 16, ANY_BENIGN: 16}, {}, {"lesion_id": 36}, {"copyright_license", "attribution"},
    ),
    "milk10k": (
        {"MEL": 24, "NV": 24, "BCC": 20, ANY_BENIGN: 2, "": 2}, {"train": 72}, {"lesion_id": 36},
        {"age", "sex", "site", "image_type", "copyright_license", "attribution"},
    ),
    "bcn20000": ({**THREE, "": 1}, {"train": 48, "test": 1}, {"lesion_id": 37}, {"age", "sex", "site"}),
    "isic_archive": (
        {"MEL": 16, "BCC": 16, "NV": 15, ANY_BENIGN: 1}, {}, {"lesion_id": 36, "patient_id": 36},
        {"age", "sex", "site", "skin_type", "diagnosis_confirm_type", "image_type", "copyright_license",
         "attribution"},
    ),
    "pad_ufes_20": (
        {"MEL": 16, "NV": 16, "AK": 16}, {}, {"lesion_id": 36, "patient_id": 36},
        {"age", "sex", "site", "skin_type", "diagnosis_confirm_type", "image_type"},
    ),
    "derm7pt": (
        {"MEL": 24, "NV": 24, "SK": 22, "": 2}, {"train": 36, "validation": 18, "test": 18},
        {"lesion_id": 36},
        {"sex", "site", "diagnosis_confirm_type", "image_type"},
    ),
    "ph2": ({"MEL": 12, "NV": 12}, {}, {}, {"diagnosis_confirm_type", "image_type"}),
    "fitzpatrick17k": (
        {"MEL": 16, "BCC": 16, "NV": 13, ANY_BENIGN: 1, "": 2}, {}, {}, {"skin_type", "image_type"},
    ),
    "ddi": (
        {"MEL": 16, "BCC": 16, "NV": 15, ANY_BENIGN: 1}, {}, {},
        {"skin_type", "diagnosis_confirm_type", "image_type"},
    ),
    "melanoma_10000": ({"MEL": 12, ANY_BENIGN: 12}, {"train": 18, "test": 6}, {}, set()),
    "benign_malignant": ({ANY_MALIGNANT: 12, ANY_BENIGN: 12}, {"train": 18, "test": 6}, {}, set()),
    "label_table": (THREE, {}, {"lesion_id": 36}, {"age"}),
}  # fmt: skip
UNKNOWN = {
    "isic2020_kaggle": {"lentigo NOS": ANY_BENIGN},
    "milk10k": {"BEN_OTH": ANY_BENIGN, "MAL_OTH": ""},
    "isic_archive": {"Neurofibroma": ANY_BENIGN},
    "derm7pt": {"lentigo": ""},
    "fitzpatrick17k": {"psoriasis": "", "lipoma": ANY_BENIGN},
    "ddi": {"folliculitis": ANY_BENIGN},
}
"""What is not understood, and what it is read as."""


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a published layout, written once."""
    top = tmp_path_factory.mktemp("published")

    def folder(name: str) -> Path:
        if not (top / name).exists():
            (top / name).mkdir()
            PUBLISHED[name](top / name)
        return top / name

    return folder


def counts(collection: Collection, column: str) -> dict[str, int]:
    return {str(value): int(n) for value, n in collection.table[column].value_counts().items()}


def test_every_published_layout_has_its_expectation() -> None:
    assert EXPECTED.keys() == PUBLISHED.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_layout_is_read_as_it_comes(name: str, published: Callable[[str], Path]) -> None:
    collection = read_collection(published(name))
    labels, splits, groups, known = EXPECTED[name]
    assert counts(collection, "diagnosis") == labels
    assert {split: n for split, n in counts(collection, "split").items() if split} == splits
    filled = {column for column in COLUMNS[4:] if (collection.table[column] != "").any()} - {"source"}
    assert filled == {*groups, *known}
    for column, number in groups.items():
        assert collection.table.loc[collection.table[column] != "", column].nunique() == number
    assert {one.given: one.read_as for one in collection.unknown_diagnoses} == UNKNOWN.get(name, {})
    assert read_photograph(collection.paths[0], root=collection.root).width == 96


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_layout_is_audited_and_split(name: str, published: Callable[[str], Path], tmp_path: Path) -> None:
    run = CliRunner()
    audited = run.invoke(app, ["audit", str(published(name)), "--json", "--out", str(tmp_path)])
    assert audited.exit_code == 0, audited.output
    found = json.loads(audited.stdout)
    assert found["images"] == sum(EXPECTED[name][0].values())
    assert {one["given"] for one in found["unknown_diagnoses"]} == set(UNKNOWN.get(name, {}))
    assert (tmp_path / "diagnoses.csv").exists() == (name in UNKNOWN)
    done = run.invoke(app, ["split", str(published(name)), "--out", str(tmp_path / "split.csv")])
    assert done.exit_code == 0, done.output
    parts = dict(line.split() for line in done.stdout.splitlines())
    assert {"train", "validation", "test"} <= parts.keys()
    assert int(parts.get("quarantined", 0)) == EXPECTED[name][0].get("", 0)
    for given in UNKNOWN.get(name, {}):
        assert repr(given) in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_layout_goes_all_the_way(name: str, published: Callable[[str], Path], tmp_path: Path) -> None:
    run, data = CliRunner(), str(published(name))
    made = str(tmp_path / "split.csv")
    steps = [
        ["split", data, "--out", made, "--fractions", "0.5,0.25,0.25,0.25"],
        ["train", data, "--split", made, "--size", "64", "--network", "cnn", "--epochs", "1",
         "--out", str(tmp_path / "run")],
        ["evaluate", str(tmp_path / "run" / "bundle"), data, "--split", made, "--resamples", "20",
         "--out", str(tmp_path / "evaluation")],
    ]  # fmt: skip
    told = {}
    for step in steps:
        done = run.invoke(app, step)
        assert done.exit_code == 0, (step[0], done.output, done.exception)
        told[step[0]] = done.stdout
    thresholds = read_network(tmp_path / "run" / "bundle")[0].thresholds
    for cut in ("alert", "refer"):
        point = f"{cut.capitalize()} from a melanoma probability of {percent(thresholds[cut].value)}"
        assert f"{point}: chosen on " in told["train"]
    evaluation = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    if name == "benign_malignant":
        assert evaluation["melanoma"]["photographs"] == 0
        assert any("not known whether" in sentence for sentence in evaluation["warnings"])
    else:
        assert evaluation["melanoma"]["photographs"] > 0
        assert evaluation["melanoma"]["roc_auc"] is not None
    parts = read_table(Path(made))
    coarse = parts.loc[parts["part"] == "test", "diagnosis"].str.contains("|", regex=False).any()
    assert any("nine diagnoses cannot be measured" in w for w in evaluation["warnings"]) == coarse
    if name.endswith("kaggle") and "2024" in name:
        return  # its photographs are inside a file, which screening does not look into
    shown = run.invoke(app, ["screen", data, "--model", str(tmp_path / "run" / "bundle"), "--format", "json"])
    assert shown.exit_code == 0, shown.output
    assert len(shown.stdout.splitlines()) >= sum(EXPECTED[name][0].values())


def test_every_layout_says_what_it_is() -> None:
    names = [layout.ABOUT.name for layout in LAYOUTS]
    assert len(names) == len(set(names))
    for layout in LAYOUTS:
        about = layout.ABOUT
        assert all((about.name, about.published, about.licence, about.recognised))
        assert set(about.gives) <= set(COLUMNS)


def test_a_later_ground_truth_may_be_missing(tmp_path: Path) -> None:
    isic2018(tmp_path)
    shutil.rmtree(tmp_path / "ISIC2018_Task3_Test_GroundTruth")
    collection = read_collection(tmp_path)
    assert counts(collection, "split") == {"train": 24, "validation": 12}
    assert [one.reason for one in collection.not_read] == [NO_ROW] * 12


def test_a_second_set_beside_the_first_is_named_and_counted(tmp_path: Path) -> None:
    isic2018(tmp_path / "one")
    pad_ufes_20(tmp_path / "two")
    collection = read_collection(tmp_path)
    alone = read_collection(tmp_path / "one")
    assert len(collection) == len(alone)
    others = [one for one in collection.not_read if one.reason == NO_ROW]
    assert len(others) == len(read_collection(tmp_path / "two"))
    assert any("read as ISIC 2018" in line and "PAD-UFES-20" in line for line in collection.left_alone)
    assert not any("here too" in line for line in alone.left_alone)


def test_a_table_beside_those_of_a_layout_is_named(tmp_path: Path) -> None:
    isic2018(tmp_path)
    assert not any("joins it" in line for line in read_collection(tmp_path).left_alone)
    (tmp_path / "labels_by_hand.csv").write_text("image_name,melanoma\nISIC_7000000,1\n")
    told = "labels_by_hand.csv: a table by image id; only --metadata joins it"
    assert told in read_collection(tmp_path).left_alone


def test_two_copies_of_a_table_that_differ_are_refused(tmp_path: Path) -> None:
    isic2018(tmp_path)
    name = "ISIC2018_Task3_Test_GroundTruth"
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / name / f"{name}.csv", tmp_path / "other")
    assert len(read_collection(tmp_path)) == 48
    with (tmp_path / "other" / f"{name}.csv").open("a") as file:
        file.write("ISIC_9999999,0,1,0,0,0,0,0\n")
    with pytest.raises(InputError, match=r"several tables of one kind that differ: .*, other/ISIC2018"):
        read_collection(tmp_path)


def test_duplicates_that_a_challenge_names_are_of_one_lesion(tmp_path: Path) -> None:
    isic2020(tmp_path)
    (tmp_path / "ISIC_2020_Training_GroundTruth_v2.csv").unlink()
    table(
        tmp_path / "ISIC_2020_Training_Duplicates.csv",
        "image_name_1,image_name_2",
        ["ISIC_7000000,ISIC_7000350"],
    )
    known = read_collection(tmp_path).table.set_index("image_id")["lesion_id"]
    assert known["ISIC_7000000"] == known["ISIC_7000350"] != ""
    assert (known == "").sum() == len(known) - 2


def test_files_come_before_the_hdf5_that_holds_them_too(tmp_path: Path) -> None:
    isic2024_kaggle(tmp_path)
    photograph(tmp_path / "train-image" / "image" / "ISIC_7000000.jpg", 1)
    paths = list(read_collection(tmp_path).table["path"])
    assert paths.count("train-image/image/ISIC_7000000.jpg") == 1
    assert sum(path.startswith("train-image.hdf5/") for path in paths) == 47


def test_a_photograph_that_an_hdf5_file_lacks_is_unreadable(tmp_path: Path) -> None:
    import h5py

    isic2024_kaggle(tmp_path)
    with h5py.File(tmp_path / "train-image.hdf5", "a") as file:
        del file["ISIC_7000000"]
    done = CliRunner().invoke(app, ["audit", str(tmp_path), "--json"])
    assert done.exit_code == 3
    assert [file["path"] for file in json.loads(done.stdout)["unreadable"]] == [
        "train-image.hdf5/ISIC_7000000"
    ]


def test_a_lesion_of_two_diagnoses_settles_nothing(tmp_path: Path) -> None:
    milk10k(tmp_path)
    with (tmp_path / "MILK10k_Training_GroundTruth.csv").open("a") as file:
        file.write("IL_0000000,0,0,0,0,0,0,0,0,1,0,0\n")
    collection = read_collection(tmp_path)
    lesion = collection.table[collection.table["lesion_id"] == "IL_0000000"]
    assert set(lesion["diagnosis"]) == {""}
    assert any("two values, such as IL_0000000; kept as unknown" in line for line in collection.left_alone)


def test_ph2_is_read_from_its_text_as_well(tmp_path: Path) -> None:
    ph2(tmp_path)
    top = tmp_path / "PH2Dataset"
    (top / "PH2_dataset.xlsx").unlink()
    rows = [
        f"|| IMD{i:03d} || {'Melanoma' if i < 12 else ''} || {2 if i < 12 else i % 2} || 0 ||"
        for i in range(24)
    ]
    head = "||   Name || Histological Diagnosis || Clinical Diagnosis || Asymmetry ||"
    (top / "PH2_dataset.txt").write_text("\n".join([head, *rows, "_" * 20, "Legends:", "0 - Common Nevus;"]))
    collection = read_collection(tmp_path)
    assert counts(collection, "diagnosis") == {"MEL": 12, "NV": 12}
    assert counts(collection, "diagnosis_confirm_type") == {"histopathology": 12, "": 12}


def test_a_folder_of_no_known_layout_names_its_tables(tmp_path: Path) -> None:
    photograph(tmp_path / "pictures" / "a.jpg", 1)
    table(tmp_path / "results.csv", "name,outcome", ["a,good"])
    with pytest.raises(InputError, match=r"'pictures' \(1 photograph\).*results.csv \(name, outcome\)"):
        read_collection(tmp_path)
    table(tmp_path / "one.csv", "image,diagnosis", ["a,melanoma"])
    table(tmp_path / "two.csv", "image,dx", ["a,nevus"])
    with pytest.raises(InputError, match=r"several label tables: one.csv, two.csv"):
        read_collection(tmp_path)
    assert counts(read_collection(tmp_path / "one.csv"), "diagnosis") == {"MEL": 1}
