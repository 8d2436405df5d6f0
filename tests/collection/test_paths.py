"""A table that was written elsewhere leads to the photographs here, or says which are missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermsentry.collection import read_collection
from dermsentry.collection.paths import find_files
from folders import put, rows


@pytest.mark.parametrize(
    "written",
    [
        "imgs\\a.jpg",
        "C:\\Users\\me\\set\\imgs\\a.jpg",
        "\\\\server\\share\\imgs\\a.jpg",
        "/kaggle/input/set/imgs/a.jpg",
        "set/imgs/a.jpg",
        "imgs/a.jpeg",
        "imgs/a",
        "Imgs/A.JPG",
        "/elsewhere/imgs/../imgs/a.png",
    ],
)
def test_paths_of_another_machine_are_found_by_their_end(tmp_path: Path, written: str) -> None:
    put(tmp_path, "imgs/a.jpg", "imgs/b.jpg", "other/imgs2/a.jpg")
    table = tmp_path / "table.csv"
    table.write_text(f"path,diagnosis\n{written},MEL\nimgs/b.jpg,NV\n")
    collection = read_collection(table)
    assert rows(collection, "path") == [("imgs/a.jpg",), ("imgs/b.jpg",)]
    assert len(collection.left_alone) == 1
    assert "1 of 2 paths were found by their end, such as " in collection.left_alone[0]


def test_what_is_missing_keeps_its_row_and_is_told(tmp_path: Path) -> None:
    put(tmp_path, "imgs/a.jpg", "imgs/c.jpg", "imgs/c.png")
    table = tmp_path / "table.csv"
    table.write_text("path,diagnosis\nimgs/a.jpg,MEL\n/far/away/b.jpg,NV\nimgs/c.bmp,NV\n")
    collection = read_collection(table)
    assert rows(collection, "path") == [("far/away/b.jpg",), ("imgs/a.jpg",), ("imgs/c.bmp",)]
    assert collection.left_alone == ("table.csv: 2 of 3 paths lead to no file, such as /far/away/b.jpg",)


def test_the_longest_end_decides(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "x/a.jpg", "y/x/a.jpg")
    for written, expected in (
        ("/z/y/x/a.jpg", "y/x/a.jpg"),
        ("/z/x/a.jpg", "x/a.jpg"),
        ("/z/a.jpg", "a.jpg"),
    ):
        assert find_files(tmp_path, [written]).paths == [tmp_path / expected]


@given(st.lists(st.text(max_size=30), max_size=5))
def test_any_text_is_a_path_or_missing(tmp_path_factory: pytest.TempPathFactory, written: list[str]) -> None:
    folder = tmp_path_factory.getbasetemp() / "paths"
    folder.mkdir(exist_ok=True)
    found = find_files(folder, written)
    assert len(found.paths) == len(written)
