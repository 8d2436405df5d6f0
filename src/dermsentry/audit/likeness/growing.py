"""An index that photographs are added to one by one, and is asked which of those before one may be.

It is that of `index.py`, learned from what there was when it was made; once it has twice as many, it has
`outgrown` that, and whoever holds the photographs makes another. It keeps about 3 KB of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np

from dermsentry.audit.likeness.content import Content
from dermsentry.audit.likeness.index import (
    ALIKE,
    DIMENSIONS,
    LEARNT,
    NEIGHBOURS,
    Asked,
    elected,
    empty_index,
    spectra,
    whitening,
)
from dermsentry.audit.likeness.keypoints import MOST, Keypoints

_FEW = 32  # photographs of which every one may be another: too few to learn from
_PARTNERS, _WHOLE = 8, 4  # that a photograph may have: more than in a collection, since some were withdrawn


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
        self._photograph = np.empty(self._room * MOST, np.int32)  # of each keypoint
        self._places = np.empty((self._room * MOST, 4), np.float32)
        self._filled = 0
        self._whole: Any = None
        self._index: Any = None
        learned = [own.descriptors for own, _ in sample if len(own.descriptors)]
        if expected < _FEW or sum(map(len, learned)) < 2:
            return
        descriptors = np.concatenate(learned)[:, None]
        row = np.arange(len(descriptors), dtype=np.int32)
        self._reduce = whitening(descriptors, row, np.zeros_like(row))
        self._index = empty_index(DIMENSIONS, expected * MOST, lambda: self._reduce(descriptors[:, 0]))

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def outgrown(self) -> bool:
        """Whether there is no room for another photograph: a larger index must be made."""
        return len(self) >= self._room

    def add(self, number: int, keypoints: Keypoints, content: Content) -> None:
        """Add a photograph."""
        count = len(keypoints.places)
        rows = slice(self._filled, self._filled + count)
        self._photograph[rows], self._places[rows] = len(self), keypoints.places
        self._filled += count
        if self._index is not None and count:
            self._index.add(self._reduce(keypoints.descriptors))
        whole = spectra([content.grey])
        if self._whole is None:
            self._whole = faiss.IndexFlatIP(whole.shape[1])
        self._whole.add(whole)
        self._positions[number] = len(self)
        self._numbers.append(number)

    def candidates(self, number: int, keypoints: Keypoints, content: Content) -> list[tuple[int, bool]]:
        """Which photographs may be this one, and whether by the whole picture; itself is left out.

        Those by keypoints first, the likeliest before others.
        """
        own = self._positions.get(number, len(self))
        found = [(position, False) for position in self._by_keypoints(own, keypoints)]
        if len(self):
            near, rows = self._whole.search(spectra([content.grey]), min(_WHOLE + 1, len(self)))
            found += [(int(row), True) for row in rows[0][near[0] > ALIKE] if row not in (-1, own)]
        return [(self._numbers[position], whole) for position, whole in found]

    def _by_keypoints(self, own: int, keypoints: Keypoints) -> list[int]:
        if not (len(keypoints.places) and self._filled):
            return []
        if self._index is None:
            return [int(one) for one in np.unique(self._photograph[: self._filled]) if one != own]
        slot = np.arange(len(keypoints.places))
        asked = Asked(np.full(len(slot), own), slot, keypoints.places, keypoints.descriptors)
        near, rows = self._index.search(self._reduce(asked.every()), min(NEIGHBOURS, self._index.ntotal))
        pairs = elected(
            asked, near, rows, self._photograph[rows], self._places[rows], len(self) + 1, _PARTNERS
        )
        return [int(other) for other in pairs[:, 1]]
