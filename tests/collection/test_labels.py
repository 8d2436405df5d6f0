"""Reference labels are read from either kind of table."""

from __future__ import annotations

from pathlib import Path

import pytest

from dermsentry.collection import read_labels
from dermsentry.errors import InputError


def test_label_tables(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image_name,dx\nI_1.jpg,mel\nI_2,wart\n")
    assert read_labels(path) == {"I_1": "MEL"}
    path.write_text("name,what\nI_1,mel\n")
    with pytest.raises(InputError, match="expected image_id and diagnosis"):
        read_labels(path)


def test_rows_that_contradict_each_other_settle_nothing(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image,dx\na,mel\na,nv\nb,nv\nb,nevus\n")
    told: list[str] = []
    assert read_labels(path, say=told.append) == {"b": "NV"}
    assert told == ["labels.csv: rows of 1 images contradict each other, which settles nothing: a (MEL, NV)"]
