"""Phantoms look as intended, are what they say, and give nothing away that is not the lesion."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import f_oneway

from dermsentry.collection import Collection, read_collection
from dermsentry.diagnoses import CODES, name_of
from dermsentry.errors import InputError, OutputError
from dermsentry.images import Unreadable, read_photograph
from dermsentry.phantoms import Phantoms, draw_phantom, draw_phantoms, is_synthetic


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("code", CODES)
def test_a_phantom_is_a_seeded_picture(code: str) -> None:
    first = draw_phantom(code, 3, size=(120, 90))
    assert first.shape == (90, 120, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, draw_phantom(code, 3, size=(120, 90)))
    assert not np.array_equal(first, draw_phantom(code, 4, size=(120, 90)))
    assert first.std() > 8


def test_a_lesion_is_darker_than_its_skin_on_every_skin_type() -> None:
    for skin_type in range(1, 7):
        drawn = [draw_phantom("NV", seed, skin_type=skin_type).astype(float) for seed in range(5)]
        lesion = np.median([p[80:100, 110:130].mean() for p in drawn])
        skin = np.median([p[80:100, 35:50].mean() for p in drawn])
        assert lesion < 0.9 * skin


def test_an_unknown_code_is_an_input_error() -> None:
    with pytest.raises(InputError, match="expected one of AK"):
        draw_phantom("XX", 0)


def test_the_same_arguments_give_the_same_files(tmp_path: Path) -> None:
    first = draw_phantoms(tmp_path / "a", per_class=2, test_per_class=1, seed=5, size=(64, 48))
    second = draw_phantoms(tmp_path / "b", per_class=2, test_per_class=1, seed=5, size=(64, 48))
    files = sorted(p.relative_to(first.root) for p in first.root.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(second.root) for p in second.root.rglob("*") if p.is_file())
    assert all(digest(first.root / f) == digest(second.root / f) for f in files)


def test_the_collection_has_the_assignments_layout(
    phantoms: Phantoms, phantom_collection: Collection
) -> None:
    names = {name_of(code) for code in CODES}
    for split in ("Train", "Test"):
        assert {p.name for p in (phantoms.root / split).iterdir()} == names
    assert len(phantom_collection) == phantoms.photographs
    assert set(phantom_collection.table["diagnosis"]) == set(CODES)
    assert set(phantom_collection.table["split"]) == {"train", "test"}
    assert all(line.startswith("metadata.csv: ") for line in phantom_collection.left_alone)
    known = phantom_collection.table[["lesion_id", "patient_id", "age", "sex", "site", "skin_type"]]
    assert (known != "").all(axis=None)


def test_planted_defects_are_what_they_are_called(phantoms: Phantoms, phantom_collection: Collection) -> None:
    table = phantom_collection.table.set_index("path")
    root = phantoms.root
    kinds = ("identical", "near", "conflicts", "leaks", "shared_lesions", "unreadable")
    assert all(getattr(phantoms, kind) for kind in kinds)
    for first, second in phantoms.identical:
        assert digest(root / first) == digest(root / second)
    for first, second in phantoms.near:
        assert read_photograph(root / first).width > read_photograph(root / second).width
    for first, second in phantoms.conflicts:
        assert table.loc[first, "diagnosis"] != table.loc[second, "diagnosis"]
    for first, second in (*phantoms.leaks, *phantoms.shared_lesions):
        assert (table.loc[first, "split"], table.loc[second, "split"]) == ("train", "test")
    for first, second in phantoms.shared_lesions:
        assert table.loc[first, "lesion_id"] == table.loc[second, "lesion_id"]
        assert digest(root / first) != digest(root / second)
    for path in phantoms.unreadable:
        with pytest.raises(Unreadable):
            read_photograph(root / path)


def test_no_other_lesion_or_file_is_shared(phantoms: Phantoms, phantom_collection: Collection) -> None:
    table = phantom_collection.table
    copies = {path for pair in phantoms.identical for path in pair}
    others = [digest(phantoms.root / p) for p in table["path"] if p not in copies]
    assert len(set(others)) == len(others)
    sides = table.groupby("lesion_id")["split"].nunique()
    assert (sides > 1).sum() == len(phantoms.shared_lesions)


def test_every_file_says_that_it_is_synthetic(phantoms: Phantoms) -> None:
    with (phantoms.root / "metadata.csv").open() as handle:
        assert {row["synthetic"] for row in csv.DictReader(handle)} == {"true"}
    for path in (phantoms.root / "Train").rglob("*.jpg"):
        if path.relative_to(phantoms.root).as_posix() not in phantoms.unreadable:
            with Image.open(path) as image:
                assert image.getexif()[0x010E].startswith("Synthetic")
    assert is_synthetic(phantoms.root)
    assert is_synthetic(phantoms.root / "Train")


def test_real_folders_are_not_synthetic(tmp_path: Path) -> None:
    (tmp_path / "Train").mkdir()
    assert not is_synthetic(tmp_path / "Train")


def test_a_small_collection_has_the_defects_that_it_can_hold(tmp_path: Path) -> None:
    alone = draw_phantoms(tmp_path / "alone", per_class={"MEL": 4}, test_per_class=0, size=(48, 36))
    assert alone.conflicts == alone.leaks == alone.shared_lesions == ()
    clean = draw_phantoms(tmp_path / "clean", per_class=1, test_per_class=1, defects=False, size=(48, 36))
    assert clean.photographs == 18
    assert clean.identical == clean.unreadable == ()
    assert len(read_collection(clean.root)) == 18
    with pytest.raises(InputError, match="XX"):
        draw_phantoms(tmp_path / "unknown", per_class={"XX": 1})


def test_the_number_of_an_image_does_not_give_the_class_away(phantom_collection: Collection) -> None:
    train = phantom_collection.table[phantom_collection.table["split"] == "train"]
    number = train["image_id"].str[-7:].astype(int)
    assert f_oneway(*(numbers for _, numbers in number.groupby(train["diagnosis"]))).pvalue > 0.001
    in_order = number.sort_values().set_axis(sorted(train["diagnosis"]))  # what it must not be
    assert f_oneway(*(numbers for _, numbers in in_order.groupby(level=0))).pvalue < 1e-6


def test_the_rim_does_not_give_the_class_away() -> None:
    """Class means of what is not the lesion differ no more than chance lets them."""
    per_class = 24
    rims = np.array(
        [
            [np.r_[p[:6].reshape(-1, 3).mean(0), p[-6:].reshape(-1, 3).mean(0)] for p in drawn]
            for drawn in ([draw_phantom(c, s, size=(80, 60)) for s in range(per_class)] for c in CODES)
        ]
    )
    between = per_class * rims.mean(axis=1).var(axis=0, ddof=1)
    within = rims.var(axis=1, ddof=1).mean(axis=0)
    # An F statistic with 8 and 207 degrees of freedom; 3.3 is its 99.9 % quantile.
    assert (between / within).max() < 3.3


def test_a_folder_of_other_files_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("image_id,lesion_id\na,L1\n")
    with pytest.raises(OutputError, match="holds other files"):
        draw_phantoms(tmp_path, per_class=1)
    assert [path.name for path in tmp_path.iterdir()] == ["metadata.csv"]
