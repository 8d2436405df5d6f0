"""What published tables know of lesions is used where ISIC ids match, counted, and can be switched off."""

from __future__ import annotations

from pathlib import Path

import pytest

from dermsentry.audit.leaks import count_in_test, find_shared_lesions
from dermsentry.collection import join_collections, lesions, read_collection
from dermsentry.collection.groups import connected_groups, lesion_keys
from dermsentry.collection.lesions import PUBLISHED, isic_number, known_lesions
from dermsentry.errors import InputError
from folders import put, rows
from recipes.published_lesions import pack, read_lesions

ONE, OTHER = "ISIC_0027419", "ISIC_0025030"  # of HAM10000's lesion HAM_0000118
ALONE = "ISIC_0000000"  # which no table knows a lesion of


@pytest.mark.parametrize(
    "written",
    ["{}", "{}_downsampled", "isic_{number}", "{}_aug1", "{}_jpg.rf.0123456789abcdef01", "ISIC_{number} (2)"],
)
def test_photographs_of_one_published_lesion_belong_together(tmp_path: Path, written: str) -> None:
    name = written.format(OTHER, number=OTHER.removeprefix("ISIC_"))
    put(tmp_path, f"nevus/{ONE}.png", f"melanoma/{name}.png", f"nevus/{ALONE}.png")
    collection = read_collection(tmp_path)
    found = dict(rows(collection, "path", "published_lesion"))
    assert found == {
        f"nevus/{ONE}.png": "HAM_0000118",
        f"melanoma/{name}.png": "HAM_0000118",
        f"nevus/{ALONE}.png": "",
    }
    group = dict(zip(collection.table["path"], connected_groups(collection.table, ()), strict=True))
    assert group[f"nevus/{ONE}.png"] == group[f"melanoma/{name}.png"] != group[f"nevus/{ALONE}.png"]
    known = known_lesions(collection.table)
    assert (known.lesion, known.published, known.lesions, known.patient) == (2, 2, 1, 0)
    assert known.sentence == (
        "The lesion is known of 2 of 3 photographs by the published tables of HAM10000 and ISIC 2019, the "
        "patient of none. Of the others only copies can be told, not another photograph of the same lesion."
    )


@pytest.mark.parametrize("name", ["IMG_0027419", "0027419", "ISIC_00274190", f"{ONE}_{OTHER}", "ISIC_27419"])
def test_what_is_not_one_isic_id_is_no_published_lesion(tmp_path: Path, name: str) -> None:
    assert isic_number(name) is None
    put(tmp_path, f"nevus/{name}.png", "melanoma/a.png")
    collection = read_collection(tmp_path)
    assert "published_lesion" not in collection.table.columns
    assert known_lesions(collection.table).sentence == (
        "Of none of the 2 photographs the lesion or the patient is known: of related images only copies can "
        "be told."
    )


def test_they_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, f"nevus/{ONE}.png", f"nevus/{OTHER}.png")
    without = read_collection(tmp_path, published_lesions=False)
    assert len(set(connected_groups(without.table, ()))) == 2
    assert known_lesions(without.table).lesion == 0
    monkeypatch.setattr(lesions, "PUBLISHED", tmp_path / "taken out")
    assert read_collection(tmp_path).table.equals(without.table)


def test_a_lesion_is_one_in_every_set_whatever_each_calls_it(tmp_path: Path) -> None:
    put(tmp_path, f"a/nevus/{ONE}.png", "a/nevus/own.png", f"b/nevus/{OTHER}.png", "b/nevus/more.png")
    (tmp_path / "a/metadata.csv").write_text(f"image_id,lesion_id\n{ONE},L7\nown,L7\n")
    (tmp_path / "b/metadata.csv").write_text("image_id,lesion_id\nmore,L7\n")
    both = join_collections([read_collection(tmp_path / name) for name in "ab"])
    keys = dict(zip(both.table["image_id"], lesion_keys(both.table), strict=True))
    assert keys[ONE] == keys["own"] == keys[OTHER] != keys["more"]
    assert keys[ONE].rpartition("\0")[2] == "HAM_0000118"
    known = known_lesions(both.table)
    assert (known.lesion, known.published, known.lesions) == (4, 2, 2)
    assert known.sentence == (
        "The lesion is known of 4 of 4 photographs (2 of them are in the published tables of HAM10000 and "
        "ISIC 2019), the patient of none. Other lesions of the same patient cannot be told."
    )


def test_a_shared_lesion_is_named_as_published(tmp_path: Path) -> None:
    put(tmp_path, f"Train/nevus/{ONE}.png", f"Test/nevus/{OTHER}.png")
    (shared,) = find_shared_lesions(read_collection(tmp_path).table, ())
    assert (shared.of, shared.name) == ("lesion", "HAM_0000118")


def test_tables_are_joined_and_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("lesion_id,image_id\nHAM_0000001,ISIC_0000001\nHAM_0000001,ISIC_0000002\n")
    text = (
        "image,lesion_id\nISIC_0000002_downsampled,MSK4_0000009\nISIC_0000003,MSK4_0000009\nISIC_0000004,\n"
    )
    other.write_text(text + "ISIC_0000005,BCN_0000002\n")
    known = read_lesions([one, other])
    assert known == {1: "HAM_0000001", 2: "HAM_0000001", 3: "HAM_0000001", 5: "BCN_0000002"}
    kept = tmp_path / "kept.npz"
    kept.write_bytes(pack(known))
    monkeypatch.setattr(lesions, "PUBLISHED", kept)
    put(tmp_path, *(f"set/nevus/ISIC_000000{n}.png" for n in range(7)))
    found = [own for (own,) in rows(read_collection(tmp_path / "set"), "published_lesion")]
    assert found == ["", "HAM_0000001", "HAM_0000001", "HAM_0000001", "", "BCN_0000002", ""]
    other.write_text("image,lesion_id\nISIC_0000001,9\n")
    with pytest.raises(InputError, match="1 lesions are called '9'; expected HAM_0000118"):
        pack(read_lesions([other]))
    other.write_text("image,lesion_id\nIMG_1,BCN_0000002\n")
    with pytest.raises(InputError, match="1 ids are not ISIC ids, such as 'IMG_1'"):
        read_lesions([other])


@pytest.mark.real
def test_the_package_holds_what_the_published_tables_say(real_data: Path) -> None:
    tables = [real_data / "ham10000/metadata.csv", real_data / "labels/ISIC_2019_Training_Metadata.csv"]
    assert PUBLISHED.read_bytes() == pack(read_lesions(tables))


@pytest.mark.real
def test_the_nine_class_set_has_lesions_in_both_train_and_test(real_data: Path) -> None:
    collection = read_collection(real_data / "isic9")
    assert known_lesions(collection.table).published == 1514
    assert count_in_test(find_shared_lesions(collection.table, ())) == 26
