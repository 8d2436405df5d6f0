"""Metadata is joined by image id, and collections into one."""

from __future__ import annotations

from pathlib import Path

import pytest

from dermsentry.collection import join_collections, read_collection
from dermsentry.errors import InputError
from folders import put, rows


def test_metadata_beside_class_folders_or_given(tmp_path: Path) -> None:
    put(tmp_path, "nevus/a.jpg", "nevus/b.jpg")
    (tmp_path / "metadata.csv").write_text("isic_id,lesion_id,localization,Age_Approx\na.jpg,L1,back,40\n")
    (tmp_path / "more.csv").write_text("image,lesion_id,sex\na,L2,male\nb,L3,female\nb,L4,male\n")
    assert rows(read_collection(tmp_path), "lesion_id", "site", "age") == [("L1", "back", "40"), ("", "", "")]
    both = read_collection(tmp_path, metadata=tmp_path / "more.csv")
    assert rows(both, "lesion_id", "sex") == [("L1", "male"), ("L3", "female")]
    (tmp_path / "more.csv").write_text("who,lesion_id\na,L2\n")
    with pytest.raises(InputError, match=r"columns who, lesion_id; expected image_id"):
        read_collection(tmp_path, metadata=tmp_path / "more.csv")


def test_collections_are_joined(tmp_path: Path) -> None:
    put(tmp_path, "one/set/nevus/a.jpg", "two/set/melanoma/a.jpg", "three/nevus/b.jpg", "three/notes.txt")
    parts = [read_collection(tmp_path / name) for name in ("one/set", "two/set", "three")]
    joined = join_collections(parts)
    assert joined.root == tmp_path
    assert rows(joined, "path", "source") == [
        ("one/set/nevus/a.jpg", "one/set"),
        ("three/nevus/b.jpg", "three"),
        ("two/set/melanoma/a.jpg", "two/set"),
    ]
    assert joined.left_alone == ("three: 1 other files (.txt)",)
    assert all(p.is_file() for p in joined.paths)
    with pytest.raises(InputError, match="1 photographs are in two of the collections"):
        join_collections([parts[0], parts[2], read_collection(tmp_path / "three")])
    with pytest.raises(InputError, match="no collection to join"):
        join_collections([])
