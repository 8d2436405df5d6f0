"""Copies are among the candidates, few others are, and the index is the same every time."""

from __future__ import annotations

import numpy as np

from benchmarks.edits import flip, turn
from dermsentry.audit.likeness import index
from dermsentry.audit.likeness.content import content_of
from dermsentry.audit.likeness.index import alike, candidates, spectra
from dermsentry.audit.likeness.keypoints import Features, find_keypoints
from pictures import skin


def features() -> tuple[Features, list[np.ndarray]]:
    """Sixty pictures, and turned, mirrored copies of the first twelve."""
    pictures = [skin(seed) for seed in range(60)]
    pictures += [turn(flip(skin(seed)), 10 * seed, 0.1) for seed in range(12)]
    contents = [content_of(np.asarray(picture)) for picture in pictures]
    found = Features.empty(len(contents))
    for position, content in enumerate(contents):
        found.put(position, find_keypoints(content))
    return found, [content.grey for content in contents]


def test_copies_are_candidates() -> None:
    found = candidates(features()[0])
    assert {(seed, 60 + seed) for seed in range(12)} <= set(map(tuple, found.tolist()))
    assert len(found) <= 4 * 72
    assert (found[:, 0] < found[:, 1]).all()
    assert found.tolist() == sorted(found.tolist())


def test_an_inverted_file_finds_nearly_what_a_comparison_of_all_finds(monkeypatch) -> None:
    drawn = features()[0]
    monkeypatch.setattr(index, "_EXACT", 100)
    found, again = candidates(drawn), candidates(drawn)
    assert found.tolist() == again.tolist()
    assert len({(seed, 60 + seed) for seed in range(12)} & set(map(tuple, found.tolist()))) >= 11


def test_nothing_to_compare_is_no_error() -> None:
    for count in (0, 1, 3):
        assert candidates(Features.empty(count)).shape == (0, 2)


def test_whole_pictures_are_alike_in_place() -> None:
    greys = [np.asarray(skin(seed).convert("L")) for seed in range(30)]
    greys += [np.asarray(skin(4).resize((90, 90)).convert("L"))]
    assert (4, 30) in set(map(tuple, alike(spectra(greys)).tolist()))
