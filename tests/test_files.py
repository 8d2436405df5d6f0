"""Files are written whole or not at all."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dermsentry.errors import InputError, OutputError
from dermsentry.files import (
    csv_line,
    fingerprint,
    locked_folder,
    plain,
    read_json,
    sha256,
    to_json,
    versions,
    whole_file,
    write_bytes,
    write_json,
    write_text,
)


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.json"
    write_json(
        path, {"share": np.float32(0.5), "counts": np.arange(3), "where": Path("a/b"), "yes": np.bool_(True)}
    )
    assert read_json(path) == {"share": 0.5, "counts": [0, 1, 2], "where": "a/b", "yes": True}
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]
    assert path.stat().st_mode & 0o444 == 0o444 & ~current_umask()


def test_a_folder_is_locked_against_another_process(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    with (
        locked_folder(folder),
        pytest.raises(OutputError, match="is being written by another process"),
        locked_folder(folder),
    ):
        raise AssertionError
    with locked_folder(folder):
        pass


def test_the_umask_is_not_touched_for_other_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(_: int) -> int:
        raise AssertionError

    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "umask", touched)
            write_text(tmp_path / "a.txt", "a")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def current_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write_half() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", no_space)
    with pytest.raises(
        OutputError, match=r"Cannot write .*a\.bin: No space left on device\. Choose"
    ) as caught:
        write_bytes(tmp_path / "a.bin", b"1234")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="Cannot write"):
        write_text(tmp_path / "taken" / "a.txt", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="Cannot write"):
        write_text(tmp_path / "folder", "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "taken"]


def test_a_name_that_is_no_utf8_survives(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    write_json(tmp_path / "a.json", {"path": name})
    assert read_json(tmp_path / "a.json") == {"path": name}


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a": 1}}', "\ufeff{}"])
def test_what_is_no_json_is_an_input_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match="is not JSON"):
        read_json(path)


def test_missing_and_binary_files_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_json(tmp_path / "none.json")
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not JSON"):
        read_json(tmp_path / "a.json")


def test_a_result_that_is_no_number_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"sensitivity": float("nan")})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TypeError, match="object cannot be written"):
        to_json({"a": object()})


@dataclass(frozen=True)
class Inner:
    when: date
    where: PurePosixPath


@dataclass(frozen=True)
class Outer:
    derived: ClassVar[tuple[str, ...]] = ("count",)

    inner: Inner | None
    values: NDArray[np.float32]
    old: int = field(metadata={"json": "new"})
    secret: str = field(metadata={"json": None})

    @property
    def count(self) -> int:
        return len(self.values)


def test_a_dataclass_is_its_fields_by_name() -> None:
    inner = Inner(date(2026, 1, 31), PurePosixPath("a/b"))
    outer = Outer(inner, np.array([0.5, 1.0], np.float32), 7, "x")
    assert plain((outer, None)) == [
        {"inner": {"when": "2026-01-31", "where": "a/b"}, "values": [0.5, 1.0], "new": 7, "count": 2},
        None,
    ]
    with pytest.raises(TypeError, match="type cannot be written"):
        plain(Outer)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1))
def test_a_line_of_csv_is_read_back_as_it_was(row: list[str]) -> None:
    line = csv_line(row)
    assert line.endswith("\n")
    assert next(csv.reader(io.StringIO(line, newline=""))) == row


@given(st.lists(st.text()), st.lists(st.text()))
def test_fingerprints_tell_lists_apart(first: list[str], second: list[str]) -> None:
    def parts(texts: list[str]) -> list[str]:
        return [t.replace("\0", "") for t in texts if not any(0xD800 <= ord(c) <= 0xDFFF for c in t)]

    first, second = parts(first), parts(second)
    assert (fingerprint(first) == fingerprint(second)) == (first == second)


def test_digest_and_versions(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    found = versions()
    assert {"python", "dermsentry", "numpy", "pillow", "onnxruntime"} <= set(found)
    assert json.loads(to_json(found)) == found
