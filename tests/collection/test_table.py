"""A collection is a table that says what it holds."""

from __future__ import annotations

import shutil
from pathlib import Path

from dermsentry.collection import COLUMNS, Collection, read_collection
from dermsentry.phantoms import Phantoms


def test_a_table_has_the_columns_in_their_order(phantom_collection: Collection) -> None:
    table = phantom_collection.table
    assert tuple(table.columns) == (*COLUMNS, "synthetic")  # the last as metadata.csv has it
    assert table["path"].is_monotonic_increasing
    assert all(isinstance(value, str) for value in table.to_numpy().ravel())
    assert all(path.is_file() for path in phantom_collection.paths)


def test_a_collection_is_shown_in_a_line_a_table_and_a_frame(phantom_collection: Collection) -> None:
    line, count = repr(phantom_collection), len(phantom_collection)
    assert "\n" not in line
    assert f"{count} photographs, 9 diagnoses" in line
    page = phantom_collection._repr_html_()
    assert page.count("<tr") == 11  # the header, nine diagnoses, and all of them
    assert f"<td>{count}</td>" in page
    frame = phantom_collection.to_frame()
    assert frame.equals(phantom_collection.table)
    assert frame is not phantom_collection.table


def test_the_fingerprint_follows_what_matters(phantoms: Phantoms, tmp_path: Path) -> None:
    shutil.copytree(phantoms.root, tmp_path / "copy")
    first, copy = read_collection(phantoms.root), read_collection(tmp_path / "copy")
    assert first.fingerprint() == copy.fingerprint()
    copy.paths[0].write_bytes(b"changed")
    assert first.fingerprint() != copy.fingerprint()
