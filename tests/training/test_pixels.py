"""Photographs are decoded once, as screening reads them, and a cache that is not whole is made anew."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from dermsentry.collection import Collection, read_collection
from dermsentry.errors import InputError, OutputError
from dermsentry.images import read_fitted
from dermsentry.phantoms import Phantoms
from dermsentry.training import pixels
from dermsentry.training.pixels import decode, digest


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """What a full disk does to a write, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def few(tmp_path: Path, phantoms: Phantoms) -> Collection:
    """Eight photographs in bitmaps, so that a change of pixels leaves the size, and one that is broken."""
    from PIL import Image

    for i, source in enumerate(sorted(phantoms.root.glob("Test/*/*.jpg"))[:8]):
        target = tmp_path / "set" / source.parent.name / f"{i}.bmp"
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(source) as image:
            image.save(target)
    (tmp_path / "set" / "melanoma").mkdir(exist_ok=True)
    (tmp_path / "set" / "melanoma" / "broken.jpg").write_bytes(b"none")
    return read_collection(tmp_path / "set")


def test_every_photograph_is_there_as_screening_reads_it(few: Collection, tmp_path: Path) -> None:
    decoded = decode(few, tmp_path / "cache", size=40, aspect="pad")
    assert decoded.pixels.shape == (len(few), 40, 40, 3)
    assert decoded.pixels.dtype == np.uint8
    assert isinstance(decoded.pixels, np.memmap)
    assert len(decoded.unreadable) == 1
    for i, path in enumerate(few.paths):
        expected = np.zeros((40, 40, 3)) if i in decoded.unreadable else read_fitted(path, 40, "pad")
        np.testing.assert_array_equal(decoded.pixels[i], expected)
    assert [few.paths[i].name for i in decoded.unreadable] == ["broken.jpg"]


def test_the_second_time_nothing_is_decoded(
    few: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = decode(few, tmp_path / "cache", size=32)

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(pixels, "_decode_into", refuse)
    again = decode(few, tmp_path / "cache", size=32)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert first.unreadable == again.unreadable
    for other in ({"size": 33}, {"size": 32, "aspect": "crop"}):
        with pytest.raises(AssertionError, match="decoded again"):
            decode(few, tmp_path / "cache", **other)


def test_a_photograph_that_changed_is_decoded_anew(few: Collection, tmp_path: Path) -> None:
    before = decode(few, tmp_path / "cache", size=32).pixels[0].copy()
    path = few.paths[0]
    data = bytearray(path.read_bytes())
    data[-5000:] = bytes(255 - value for value in data[-5000:])  # as many bytes as before
    then = path.stat().st_mtime_ns
    path.write_bytes(data)
    os.utime(path, ns=(then + 10**9, then + 10**9))
    assert (decode(few, tmp_path / "cache", size=32).pixels[0] != before).any()


@pytest.mark.parametrize("damage", ["cut", "emptied", "other text", "without notes"])
def test_a_cache_that_is_not_whole_is_made_anew(few: Collection, tmp_path: Path, damage: str) -> None:
    expected = np.array(decode(few, tmp_path / "cache", size=32).pixels)
    kept = next((tmp_path / "cache").glob("*.npy"))
    data = kept.read_bytes()
    if damage == "without notes":
        kept.with_suffix(".json").unlink()
    else:
        kept.unlink()  # the pixels above are still mapped
        kept.write_bytes({"cut": data[:-1000], "emptied": b"", "other text": b"numbers"}[damage])
    np.testing.assert_array_equal(decode(few, tmp_path / "cache", size=32).pixels, expected)


def test_a_full_disk_is_one_line_and_leaves_nothing(few: Collection, tmp_path: Path) -> None:
    with (
        no_file_larger_than(10_000),
        pytest.raises(OutputError, match=r"Cannot write .*\.npy: File too large"),
    ):
        decode(few, tmp_path / "cache", size=64)
    assert list((tmp_path / "cache").iterdir()) == []
    assert decode(few, tmp_path / "cache", size=64).pixels.shape[0] == len(few)


def test_a_folder_that_cannot_be_made_is_one_line(few: Collection, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OutputError, match="Cannot write"):
        decode(few, tmp_path / "cache", size=32)


def test_not_one_readable_photograph_is_an_input_error(few: Collection, tmp_path: Path) -> None:
    for path in few.paths:
        path.write_bytes(b"none")
    with pytest.raises(InputError, match=r"Not one of 9 photographs in .* can be read; the first: "):
        decode(few, tmp_path / "cache", size=32)
    shutil.rmtree(few.root)
    with pytest.raises(InputError, match="the file is missing"):
        decode(few, tmp_path / "cache", size=32)


def test_a_digest_is_of_every_pixel_and_of_the_shape() -> None:
    rng = np.random.default_rng(0)
    many = rng.integers(0, 256, (600, 4, 4, 3), dtype=np.uint8)
    assert digest(many) == digest(many.copy())
    for place in (0, 255, 256, 599):
        other = many.copy()
        other[place, 1, 2, 0] ^= 1
        assert digest(other) != digest(many)
    assert digest(many.reshape(600, 2, 8, 3)) != digest(many)
