"""Metadata is joined by image id, and collections into one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dermsentry.collection import join_collections, read_collection
from dermsentry.collection.groups import connected_groups
from dermsentry.collection.joins import join_labels, join_metadata
from dermsentry.errors import InputError
from dermsentry.image_files import HIDDEN, NotRead
from folders import put, rows


def test_metadata_beside_class_folders_or_given(tmp_path: Path) -> None:
    put(tmp_path, "nevus/a.jpg", "nevus/b.jpg")
    (tmp_path / "metadata.csv").write_text("isic_id,lesion_id,localization,Age_Approx\na.jpg,L1,back,40\n")
    (tmp_path / "more.csv").write_text("image,lesion_id,sex\na,L2,male\nb,L3,female\nb,L4,male\n")
    assert rows(read_collection(tmp_path), "lesion_id", "site", "age") == [("L1", "back", "40"), ("", "", "")]
    both = read_collection(tmp_path, metadata=tmp_path / "more.csv")
    assert rows(both, "lesion_id", "sex") == [("L1", "male"), ("", "")]
    assert both.left_alone == (
        "metadata.csv: 1 of 1 rows have a photograph here, 1 of 2 photographs a row; none: b",
        "more.csv: a table by image id; only --metadata joins it",
        "more.csv: 3 of 3 rows have a photograph here, 2 of 2 photographs a row",
        "more.csv: lesion_id: rows of 1 photograph contradict each other, which settles nothing: b (L3, L4)",
        "more.csv: lesion_id: the collection itself says something else of 1 photograph, which is kept: "
        "a (L1, not L2)",
        "more.csv: sex: rows of 1 photograph contradict each other, which settles nothing: b (female, male)",
    )
    (tmp_path / "more.csv").write_text("who,lesion_id\na,L2\n")
    with pytest.raises(InputError, match=r"columns who, lesion_id; expected image_id"):
        read_collection(tmp_path, metadata=tmp_path / "more.csv")


@pytest.mark.parametrize(
    "written",
    [
        "{}",
        " {} ",
        "{}.jpg",
        "{}.JPEG",
        "part_1/{}.jpg",
        "part_1\\{}.png",
        "/kaggle/input/{}.jpg ",
        "{}_downsampled",
        "{}_downsampled.jpg",
    ],
)
@pytest.mark.parametrize("change", [str, str.lower])
def test_an_id_is_a_photographs_however_it_is_written(
    tmp_path: Path, written: str, change: Callable[[str], str]
) -> None:
    names = ("ISIC_0000001", "ISIC_0000002")
    put(tmp_path, *(f"set/nevus/{name}.jpg" for name in names))
    table = tmp_path / "table.csv"
    lines = [f'"{change(written.format(name))}",L{number}' for number, name in enumerate(names)]
    table.write_text("\n".join(["Image_Name,lesion_id", *lines]))
    joined = read_collection(tmp_path / "set", metadata=table)
    assert rows(joined, "lesion_id") == [("L0",), ("L1",)]
    assert joined.left_alone == ("table.csv: 2 of 2 rows have a photograph here, 2 of 2 photographs a row",)


def test_a_table_that_matches_nothing_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "set/nevus/a.jpg")
    table = tmp_path / "table.csv"
    table.write_text("Image_Name,lesion_id\nISIC_1,L1\n")
    message = r"a row of none of the photographs \(1\): its column Image_Name has ids such as 'ISIC_1'.* 'a'"
    with pytest.raises(InputError, match=message):
        read_collection(tmp_path / "set", metadata=table)


def test_folders_tell_photographs_of_one_name_apart(tmp_path: Path) -> None:
    put(tmp_path, "set/nevus/P1/IMG_1.jpg", "set/nevus/P2/IMG_1.jpg", "set/nevus/P2/mole.jpg")
    put(tmp_path, "set/nevus/P3/mole.jpg")
    table = tmp_path / "table.csv"
    table.write_text("image,lesion_id\nP1/IMG_1.jpg,L1\nP2/IMG_1.jpg,L2\nmole,L3\nIMG_1,L4\n")
    joined = read_collection(tmp_path / "set", metadata=table)
    assert rows(joined, "lesion_id") == [("L1",), ("L2",), ("L3",), ("L3",)]
    assert joined.left_alone == (
        "table.csv: 3 of 4 rows have a photograph here (up to 2 each), 4 of 4 photographs a row",
        "table.csv: 1 row not used: a camera's number, such as IMG_1, that several photographs have",
    )


def test_rows_that_agree_complete_each_other(tmp_path: Path) -> None:
    put(tmp_path, "set/nevus/a.jpg")
    table = tmp_path / "table.csv"
    table.write_text("image;LESION_ID;Age\na;L1;45,5\na;;\na;L1;\n")
    joined = read_collection(tmp_path / "set", metadata=table)
    assert rows(joined, "lesion_id", "age") == [("L1", "45.5")]
    table.write_text("image;LESION_ID\na;L1\na;L2\n")
    joined = read_collection(tmp_path / "set", metadata=table)
    assert "table.csv: LESION_ID: rows of 1 photograph contradict" in joined.left_alone[1]
    table.write_text("image;colour\na;brown\n")
    assert rows(read_collection(tmp_path / "set", metadata=table), "colour") == [("brown",)]
    table.write_text("image;diagnosis\na;nevus\n")
    joined = read_collection(tmp_path / "set", metadata=table)
    assert "none of its columns (image, diagnosis) says anything" in joined.left_alone[1]


def test_collections_are_joined(tmp_path: Path) -> None:
    put(tmp_path, "one/set/nevus/a.jpg", "two/set/melanoma/a.jpg", "three/nevus/b.jpg")
    put(tmp_path, "three/.hidden.jpg")
    (tmp_path / "three" / "notes.txt").write_text("notes")
    parts = [read_collection(tmp_path / name) for name in ("one/set", "two/set", "three")]
    joined = join_collections(parts)
    assert joined.root == tmp_path
    assert rows(joined, "path", "source") == [
        ("one/set/nevus/a.jpg", "one/set"),
        ("three/nevus/b.jpg", "three"),
        ("two/set/melanoma/a.jpg", "two/set"),
    ]
    assert joined.left_alone == ("three: 1 other file (.txt)",)
    assert joined.not_read == (NotRead("three/.hidden.jpg", HIDDEN),)
    assert all(p.is_file() for p in joined.paths)
    with pytest.raises(InputError, match="Two of the collections hold the same 1 photograph"):
        join_collections([parts[0], parts[2], read_collection(tmp_path / "three")])
    with pytest.raises(InputError, match="no collection to join"):
        join_collections([])


def test_reference_labels_are_matched_like_any_id(tmp_path: Path) -> None:
    put(tmp_path, "nevus/ISIC_0000001.jpg", "nevus/ISIC_0000002.jpg", "nevus/copy of ISIC_0000003.jpg")
    collection = read_collection(tmp_path)
    labels = {
        "input/isic_0000001_downsampled": "MEL",
        "ISIC_0000002": "NV",
        "isic_0000002.jpg": "NV",
        "ISIC_0000003": "BCC",
    }
    known, told = join_labels(collection, labels, "truth.csv")
    assert known == {**labels, "ISIC_0000001": "MEL"}
    assert told == "truth.csv: 3 of 3 photographs have a reference label"
    with pytest.raises(
        InputError,
        match=r"truth.csv has a label of none of the photographs \(3\).* such as 'X', .* 'ISIC_0000001'",
    ):
        join_labels(collection, {"X": "MEL"}, "truth.csv")


def test_one_table_may_be_about_several_collections(tmp_path: Path) -> None:
    put(tmp_path, "Train/nevus/a.jpg", "Test/nevus/b.jpg")
    table = tmp_path / "table.csv"
    table.write_text("image,lesion_id\na,L1\nb,L1\n")
    joined = join_collections([read_collection(tmp_path / name) for name in ("Train", "Test")])
    found = join_metadata(joined, table)
    assert len(set(connected_groups(found.table, ()))) == 1
    assert rows(found, "source") == [("Test+Train",)] * 2
    assert found.left_alone[-1] == "table.csv: lesion_id: Test, Train share ids, and count as one source"
