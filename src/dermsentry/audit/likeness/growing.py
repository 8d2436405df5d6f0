"""An index that photographs are added to one by one, and is asked which of those before one may be.

It is that of `index.py`, learned from what there was when it was made; once it has twice as many, it has
`outgrown` that, and whoever holds the photographs makes another. It keeps about 3 KB of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dermsentry.audit.likeness.content import Content
from dermsentry.audit.likeness.index import (
    LEARNT,
    Whitening,
    alike,
    keypoint_ids,
    keypoint_index,
    partners,
    picture_index,
    spectra,
)
from dermsentry.audit.likeness.keypoints import MOST, Keypoints

_FEW = 32  # photographs of which every one may be another: too few to learn from
_ROW = np.dtype([("count", "i8"), ("places", "f4", (MOST, 4)), ("descriptors", "u1", (MOST, 128))])


def sample_size(count: int) -> int:
    """How many of `count` photographs an index is learned from."""
    return min(count, max(LEARNT // MOST, int(96 * np.sqrt(MOST * count)) // MOST))


class GrowingIndex:
    """Photographs by numbers of the caller's.

    Parameters
    ----------
    sample
        Keypoints and content of `sample_size` photographs among those that will be added.
    expected
        How many will be added at once.
    """

    def __init__(self, sample: Sequence[tuple[Keypoints, Content]], expected: int) -> None:
        self._room = max(_FEW, 2 * expected)
        self._numbers: list[int] = []
        self._positions: dict[int, int] = {}
        self._with_keypoints: list[int] = []
        self._index: Any = None
        greys = [content.grey for _, content in sample]
        self._whole = picture_index(
            expected,
            lambda _: spectra(greys),  # of a sample that is smaller than what is asked for
        )
        learned = [own.descriptors for own, _ in sample if len(own.descriptors)]
        if expected >= _FEW and sum(map(len, learned)) >= 2:
            descriptors = np.concatenate(learned)
            self._whitening = Whitening.learn(descriptors[:: max(1, len(descriptors) // LEARNT)])
            self._index = keypoint_index(expected * MOST, lambda _: self._whitening.reduce(descriptors))

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def outgrown(self) -> bool:
        """Whether there is no room for another photograph: a larger index must be made."""
        return len(self) >= self._room

    def add(self, number: int, keypoints: Keypoints, content: Content) -> None:
        """Add a photograph."""
        position, count = len(self), len(keypoints.places)
        if count:
            self._with_keypoints.append(position)
            if self._index is not None:
                ids = keypoint_ids(np.full(count, position, np.int64), keypoints.places)
                self._index.add_with_ids(self._whitening.reduce(keypoints.descriptors), ids)
        self._whole.add_with_ids(spectra([content.grey]), np.array([position], np.int64))
        self._positions[number] = position
        self._numbers.append(number)

    def candidates(self, number: int, keypoints: Keypoints, content: Content) -> list[tuple[int, bool]]:
        """Which photographs may be this one, and whether by the whole picture; itself is left out."""
        own = self._positions.get(number, len(self))
        found = [(position, False) for position in self._by_keypoints(own, keypoints)]
        if len(self):
            pairs = alike(self._whole, np.array([own]), spectra([content.grey]))
            found += [(int(position), True) for position in pairs.ravel() if position != own]
        return [(self._numbers[position], whole) for position, whole in found]

    def _by_keypoints(self, own: int, keypoints: Keypoints) -> list[int]:
        count = len(keypoints.places)
        if not count:
            return []
        if self._index is None:
            return [position for position in self._with_keypoints if position != own]
        row = np.zeros(1, _ROW)
        row["count"], row["places"][0, :count] = count, keypoints.places
        row["descriptors"][0, :count] = keypoints.descriptors
        pairs = partners(self._index, self._whitening, np.array([own]), row, len(self) + 1)
        return [int(position) for position in pairs.ravel() if position != own]
