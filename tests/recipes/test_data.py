"""The sets of the bundled model: read whole, split so that no Test is connected with what is learned from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermoscopic import draw_sets
from dermsentry.collection import Collection
from dermsentry.errors import InputError
from dermsentry.split import Split, check_split
from recipes.dermoscopy.data import (
    HOSPITALS,
    MELANOMAS,
    drawing_weights,
    hospital_of,
    photographs,
    published_masks,
    read_dermoscopy,
    split_dermoscopy,
)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_sets(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def collection(sets: Path) -> Collection:
    return read_dermoscopy(sets)


@pytest.fixture(scope="module")
def split(sets: Path, collection: Collection) -> Split:
    return split_dermoscopy(collection, sets)


def part_of(split: Split, path: str) -> str:
    return str(split.table.set_index("path").loc[path, "part"])


def test_crops_are_further_files_of_their_photographs(collection: Collection) -> None:
    crops = collection.table[collection.table["source"] == "crops224"]
    assert len(crops) == 56
    assert set(crops["image_id"]) <= set(
        collection.table.loc[collection.table["source"] == "ham10000", "image_id"]
    )


def test_no_part_shares_a_group(split: Split) -> None:
    check_split(split)
    assert {"train", "validation", "calibration", "test"} <= set(split.table["part"])


def test_what_is_connected_with_a_test_is_quarantined(split: Split) -> None:
    # The photograph of the nine-class Test, another of its lesion, and the copy of ISIC 2017's test.
    for name in ("ISIC_0100000", "ISIC_0100001", "ISIC_0100002", "ISIC_0100003"):
        assert part_of(split, f"ham10000/images/{name}.jpg") == "quarantined"
    assert not split.table["path"].str.contains("/Test/|isic2017/test").any()


def test_what_is_connected_with_isic_2017s_validation_only_chooses(split: Split) -> None:
    assert part_of(split, "isic2017/val/ISIC_0002900.jpg") == "validation"
    assert part_of(split, "ham10000/images/ISIC_0100004.jpg") == "validation"


def test_the_test_is_of_ham10000s_lesions(split: Split) -> None:
    test = split.table[split.table["part"] == "test"]
    assert len(test)
    for _, own in test.groupby("group"):
        assert own["path"].str.startswith("ham10000/").any()


def test_photographs_have_all_their_files_under_one_label(split: Split, collection: Collection) -> None:
    table = photographs(split, collection)
    ids = [{collection.table["image_id"].iloc[row] for row in rows} for rows in table["rows"]]
    assert all(len(own) == 1 for own in ids)
    assert table["photograph"].is_unique
    assert {len(rows) for rows in table["rows"]} == {1, 2}
    first = [collection.table["path"].iloc[rows[0]] for rows in table["rows"]]
    assert not any("crops224" in path for path in first)


def test_hospitals_are_told_by_where_a_photograph_is_in_any_set(split: Split, collection: Collection) -> None:
    table = photographs(split, collection).set_index("photograph")["hospital"]
    assert set(table) == set(HOSPITALS)
    assert table["ISIC_0005000"] == HOSPITALS[2]
    assert table["ISIC_0003000"] == HOSPITALS[1]
    assert hospital_of(["isic9/Train/a.jpg", "ham10000/images/a.jpg"]) == HOSPITALS[0]


def test_no_hospital_says_anything_of_melanoma() -> None:
    labels = ["MEL"] * 2 + ["NV"] * 18 + ["MEL"] * 20 + ["NV"] * 16 + ["DF"] * 4
    hospitals = ["one"] * 20 + ["other"] * 40
    weights = drawing_weights(labels, hospitals)
    table = pd.DataFrame({"label": labels, "hospital": hospitals, "weight": weights})
    assert weights.sum() == pytest.approx(1)
    by_hospital = table.groupby("hospital")["weight"].sum()
    of_melanoma = table[table["label"] == "MEL"].groupby("hospital")["weight"].sum()
    np.testing.assert_allclose(of_melanoma / by_hospital, MELANOMAS)
    assert by_hospital["other"] / by_hospital["one"] == pytest.approx(2**0.5)
    other = table[table["hospital"] == "other"].groupby("label")["weight"].sum()
    assert other["NV"] / other["DF"] == pytest.approx(2)


def test_a_crop_has_the_middle_of_its_frames_mask(collection: Collection) -> None:
    masks = published_masks(collection)
    assert {aspect for _, aspect in masks.values()} == {"crop", "squash"}
    for row, (path, aspect) in masks.items():
        name = collection.table["path"].iloc[row]
        assert path.name.startswith(collection.table["image_id"].iloc[row])
        assert (aspect == "crop") == ("crops224" in name)


def test_a_missing_set_is_named(sets: Path, tmp_path: Path) -> None:
    shutil.copytree(sets / "isic9", tmp_path / "isic9")
    with pytest.raises(InputError, match=r"has no ham10000, isic2017, isic-archive, isic2019-84, labels"):
        read_dermoscopy(tmp_path)
