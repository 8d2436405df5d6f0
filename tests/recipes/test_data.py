"""The sets of the bundled model: read whole, split so that no Test is connected with what is learned from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from dermoscopic import draw_sets
from dermsentry.collection import Collection
from dermsentry.errors import InputError
from dermsentry.split import Split, check_split
from dermsentry.training.pixels import DecodedPhotographs
from recipes.dermoscopy.data import read_dermoscopy, split_dermoscopy, views


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


def test_views_are_all_files_of_a_photograph_under_one_label(
    sets: Path, split: Split, collection: Collection
) -> None:
    pixels = np.zeros((len(collection), 8, 8, 3), np.uint8)
    decoded = DecodedPhotographs(pixels, {}, 8, "squash")
    seen = views(split, "train", collection, decoded)
    ids = [{collection.table["image_id"].iloc[row] for row in rows} for rows in seen.rows]
    assert all(len(own) == 1 for own in ids)
    assert len(seen) == len({next(iter(own)) for own in ids})
    assert any(len(rows) == 2 for rows in seen.rows)
    assert seen.weights.sum() == pytest.approx(1)


def test_a_missing_set_is_named(sets: Path, tmp_path: Path) -> None:
    shutil.copytree(sets / "isic9", tmp_path / "isic9")
    with pytest.raises(InputError, match=r"has no ham10000, isic2017, isic-archive, labels"):
        read_dermoscopy(tmp_path)
