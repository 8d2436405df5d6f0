"""Copies are among the candidates, few others are, and the index is the same every time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.edits import flip, turn
from dermsentry.audit.kept import Look, read_partition, write_looks
from dermsentry.audit.likeness import index
from dermsentry.audit.likeness.content import content_of, pack, unpack
from dermsentry.audit.likeness.index import (
    Whitening,
    alike,
    keypoint_ids,
    keypoint_index,
    partners,
    picture_index,
    spectra,
)
from dermsentry.audit.likeness.keypoints import Keypoints, find_keypoints
from pictures import skin


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Sixty pictures, and turned, mirrored copies of the first twelve, as they are kept."""
    pictures = [skin(seed) for seed in range(60)]
    pictures += [turn(flip(skin(seed)), 10 * seed, 0.1) for seed in range(12)]
    contents = [content_of(np.asarray(picture)) for picture in pictures]
    around = np.zeros(9, np.float32)
    looks = [Look(b"x" * 16, b"y" * 16, around, find_keypoints(own), pack(own), "") for own in contents]
    path = tmp_path_factory.mktemp("kept") / "000001.npy"
    write_looks(path, [((str(i), 1, 1), look) for i, look in enumerate(looks)])
    found = read_partition(path)
    assert found is not None
    for row, look in enumerate(looks):
        assert (found.rows[row]["places"][: len(look.keypoints.places)] == look.keypoints.places).all()
        assert bytes(found.content(row)) == look.content
        assert unpack(found.content(row)).grey.shape == contents[row].grey.shape
    return found.rows


def candidates(rows: Any) -> Any:
    owner, slot = np.nonzero(np.arange(rows["places"].shape[1]) < rows["count"][:, None])
    descriptors = rows["descriptors"][owner, slot]
    whitening = Whitening.learn(descriptors)
    own = keypoint_index(len(owner), lambda numbers: whitening.reduce(descriptors[numbers]))
    own.add_with_ids(whitening.reduce(descriptors), keypoint_ids(owner, rows["places"][owner, slot]))
    halves = np.split(np.arange(len(rows)), [len(rows) // 3])
    found = [partners(own, whitening, half, rows[half], len(rows)) for half in halves]
    return np.unique(np.concatenate(found), axis=0)


def test_copies_are_candidates(rows: Any) -> None:
    found = candidates(rows)
    assert {(seed, 60 + seed) for seed in range(12)} <= set(map(tuple, found.tolist()))
    assert len(found) <= 4 * 72
    assert (found[:, 0] < found[:, 1]).all()


def test_an_inverted_file_finds_nearly_what_a_comparison_of_all_finds(
    monkeypatch: pytest.MonkeyPatch, rows: Any
) -> None:
    monkeypatch.setattr(index, "_EXACT", 100)
    found, again = candidates(rows), candidates(rows)
    assert found.tolist() == again.tolist()
    assert len({(seed, 60 + seed) for seed in range(12)} & set(map(tuple, found.tolist()))) >= 11


def test_an_index_is_trained_on_fewer_vectors_than_it_has_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_EXACT", 100)
    few = np.eye(48, dtype=np.float32)[:7]
    own = keypoint_index(10_000, lambda numbers: few)  # of as many, lists would be 200
    own.add_with_ids(few, np.arange(7))
    assert own.search(few, 1)[1].ravel().tolist() == list(range(7))


def test_angle_and_size_come_back_from_an_id() -> None:
    places = np.array([[1, 2, 1.7, 359.9], [3, 4, 90, 0], [0, 0, 5, 123.4]], np.float32)
    photographs, angle, size = index._told(keypoint_ids(np.array([0, 2**28 - 1, 7]), places))
    assert photographs.tolist() == [0, 2**28 - 1, 7]
    assert angle == pytest.approx(places[:, 3], abs=0.01)
    assert 2**size == pytest.approx(places[:, 2], rel=1e-3)
    assert index._told(np.array([-1]))[0].tolist() == [-1]


def test_nothing_to_compare_is_no_error(rows: Any) -> None:
    bare = np.zeros(3, rows.dtype)
    own = keypoint_index(0, lambda numbers: np.zeros((len(numbers), 48), np.float32))
    whitening = Whitening.learn(np.zeros((2, 128), np.uint8))
    assert partners(own, whitening, np.arange(3), bare, 3).shape == (0, 2)
    nothing = Keypoints(np.zeros((0, 4), np.float32), np.zeros((0, 128), np.uint8))
    assert len(keypoint_ids(np.zeros(0, np.int64), nothing.places)) == 0


def test_whole_pictures_are_alike_in_place() -> None:
    greys = [np.asarray(skin(seed).convert("L")) for seed in range(30)]
    greys += [np.asarray(skin(4).resize((90, 90)).convert("L"))]
    pictures = spectra(greys)
    own = picture_index(len(pictures), lambda numbers: pictures[numbers])
    own.add_with_ids(pictures, np.arange(len(pictures)))
    assert (4, 30) in set(map(tuple, alike(own, np.arange(len(pictures)), pictures).tolist()))
