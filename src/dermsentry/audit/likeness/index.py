"""Which photographs may be one: the neighbours of their keypoints, and of the whole pictures, in an index.

Descriptors are whitened against the collection (what its photographs have in common counts less) and searched
in an inverted file (FAISS). Neighbours vote for a pair by how much nearer they are than the next ones, and
only votes that agree on rotation and scale add up: weak geometric consistency of Jégou, Douze and Schmid
(2008).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import faiss
import numpy as np
from numpy.typing import NDArray

from dermsentry.audit.likeness.keypoints import Features, mirrored

Floats = NDArray[np.float32]
Pairs = NDArray[np.int64]

DIMENSIONS = 48  # of 128 that a descriptor is reduced to
LEARNT = 50_000  # descriptors that the whitening is learnt from
NEIGHBOURS = 9
_MIRRORED = 20  # keypoints of a photograph that are also searched as a mirrored copy would show them
_EXACT = 20_000  # vectors below which every one is compared
_PROBED = 8  # lists of the inverted file that are searched
_PHOTOGRAPHS = 512  # whose keypoints are searched at once
_PARTNERS, _WHOLE = 4, 2  # that a photograph may have by its keypoints, and by the whole picture
_COSINES = 10  # per axis, of the spectrum that whole pictures are compared by
_SIDE = 32
ALIKE = 0.8  # cosine of two spectra from which the pictures may be one


def candidates(features: Features) -> Pairs:
    """Pairs (m, 2) of positions, i < j, in order, each at most once, by keypoints."""
    filled = np.arange(features.descriptors.shape[1]) < features.counts[:, None]
    if np.count_nonzero(features.counts) < 2:
        return np.zeros((0, 2), np.int64)
    photograph, slot = (each.astype(np.int32) for each in np.nonzero(filled))
    reduce = whitening(features.descriptors, photograph, slot)
    index = _index(
        DIMENSIONS,
        len(photograph),
        lambda rows: reduce(features.descriptors[photograph[rows], slot[rows]]),
    )
    found = []
    for start in range(0, len(features.counts), _PHOTOGRAPHS):
        few = slice(start, start + _PHOTOGRAPHS)
        owner, own_slot = np.nonzero(filled[few])
        asked = Asked(
            owner + start,
            own_slot,
            features.places[few][owner, own_slot],
            features.descriptors[few][owner, own_slot],
        )
        near, rows = index.search(reduce(asked.every()), min(NEIGHBOURS, len(photograph)))
        others = features.places[photograph[rows], slot[rows]]
        found.append(elected(asked, near, rows, photograph[rows], others, len(features.counts), _PARTNERS))
    return _ordered(np.concatenate(found))


@dataclass(frozen=True)
class Asked:
    """Keypoints (k) whose neighbours are searched: whose, which of theirs, places (k, 4), and (k, 128)."""

    owner: Pairs
    slot: Pairs
    places: Floats
    descriptors: NDArray[np.uint8]

    @property
    def mirror(self) -> NDArray[np.bool_]:
        """Which of them are searched as a mirrored copy would show them, too."""
        return self.slot < _MIRRORED

    def every(self) -> NDArray[np.uint8]:
        """All that is searched: the descriptors, and those that are mirrored."""
        return np.concatenate([self.descriptors, mirrored(self.descriptors[self.mirror])])


def whitening(
    descriptors: NDArray[np.uint8], photograph: NDArray[np.int32], slot: NDArray[np.int32]
) -> Callable[[NDArray[np.uint8]], Floats]:
    """What reduces descriptors (m, 128) to unit vectors (m, 48), whitened by half."""
    rows = np.arange(0, len(photograph), max(1, len(photograph) // LEARNT))
    sample = descriptors[photograph[rows], slot[rows]].astype(np.float32)
    mean = sample.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((sample - mean).T.astype(np.float64)))
    values, vectors = values[::-1][:DIMENSIONS], vectors[:, ::-1][:, :DIMENSIONS]
    matrix = (vectors / np.maximum(values, 1e-3) ** 0.25).astype(np.float32)

    def reduce(some: NDArray[np.uint8]) -> Floats:
        return _unit((some.astype(np.float32) - mean) @ matrix)

    return reduce


def _unit(vectors: Floats) -> Floats:
    return np.asarray(
        vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6), dtype=np.float32
    )


def _index(dimensions: int, count: int, vectors: Callable[[Pairs], Floats]) -> Any:
    """An index by inner product of `count` vectors, which `vectors` gives by their rows."""
    lists = int(2 * np.sqrt(count))
    index = empty_index(
        dimensions,
        count,
        lambda: vectors(np.linspace(0, count - 1, min(count, 48 * lists)).astype(np.int64)),
    )
    for start in range(0, count, 65_536):
        index.add(vectors(np.arange(start, min(start + 65_536, count))))
    return index


def empty_index(dimensions: int, count: int, sample: Callable[[], Floats]) -> Any:
    """An index for `count` vectors or more, without them; trained on `sample` where that is needed."""
    if count < _EXACT:
        return faiss.IndexFlatIP(dimensions)
    index = faiss.index_factory(dimensions, f"IVF{int(2 * np.sqrt(count))},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1
    index.train(sample())
    index.nprobe = _PROBED
    return index


def elected(
    asked: Asked,
    near: Floats,
    rows: Pairs,
    other: NDArray[np.int32],
    others: Floats,
    count: int,
    partners: int,
) -> Pairs:
    """The best `partners` of each photograph by votes that agree on mirroring, rotation and scale.

    Of each keypoint that was searched (see `Asked.every`): its neighbours' cosines `near`, their `rows` in
    the index, -1 for none, whose they are (`other`, of `count` photographs), and their places.
    """
    owner = np.concatenate([asked.owner, asked.owner[asked.mirror]])
    places = np.concatenate([asked.places, asked.places[asked.mirror]])
    flipped = np.arange(len(owner)) >= len(asked.owner)
    angle = np.where(flipped, 180 - places[:, 3], places[:, 3])
    turn = (others[..., 3] - angle[:, None]) % 360
    scale = np.log2(others[..., 2] / places[:, None, 2])
    votes = np.where(rows >= 0, near - near[:, -1:] + 1e-3, 0)
    pair = owner[:, None].astype(np.int64) * count + other
    pair = np.where((other == owner[:, None]) | (votes <= 0), -1, pair)
    totals = []
    for offset_turn in (0.0, 0.5):
        for offset_scale in (0.0, 0.5):
            bins = (np.floor(turn / 60 + offset_turn) % 6).astype(np.int64) * 64
            bins += np.clip(np.floor(scale / 1.2 + offset_scale) + 16, 0, 31).astype(np.int64) * 2
            bins += flipped[:, None]
            keys, inverse, sizes = np.unique(
                (pair * 384 + bins)[pair >= 0], return_inverse=True, return_counts=True
            )
            weight = np.bincount(inverse, votes[pair >= 0], len(keys))
            several = sizes >= 2
            totals.append(np.stack([keys[several] // 384, weight[several]], axis=1))
    every = np.concatenate(totals)
    every = every[np.lexsort((-every[:, 1], every[:, 0]))]
    best = every[np.diff(every[:, 0], prepend=-1) != 0]
    pairs = best[:, 0].astype(np.int64)
    first, second = pairs // count, pairs % count
    order = np.lexsort((second, -best[:, 1], first))
    first, second = first[order], second[order]
    starts = np.flatnonzero(np.diff(first, prepend=-1))
    rank = np.arange(len(first)) - np.repeat(starts, np.diff(starts, append=len(first)))
    kept = rank < partners
    return np.stack([first[kept], second[kept]], axis=1)


def _ordered(pairs: Pairs) -> Pairs:
    """Each pair once, the smaller position first."""
    return np.unique(np.sort(pairs, axis=1), axis=0)


def spectra(greys: Iterable[NDArray[np.uint8]]) -> Floats:
    """Unit vectors (n, 100): the first 10×10 cosines of each picture at 32×32, each times its frequency.

    Photographs fall off with frequency; evened out, the spectra of unlike pictures are nearly orthogonal.
    """
    order = np.arange(_COSINES)
    frequency = np.hypot(*np.meshgrid(order, order)).astype(np.float32)
    weight = np.where(frequency <= _COSINES, frequency, 0)
    found = [
        cv2.dct(cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32))[
            :_COSINES, :_COSINES
        ]
        * weight
        for grey in greys
    ]
    return _unit(np.stack(found).reshape(len(found), -1))


def alike(pictures: Floats) -> Pairs:
    """Pairs (m, 2) of positions, i < j, in order, whose whole pictures are alike as they are."""
    index = _index(pictures.shape[1], len(pictures), lambda rows: pictures[rows])
    near, rows = index.search(pictures, min(_WHOLE + 1, len(pictures)))
    first, place = np.nonzero((near > ALIKE) & (rows >= 0) & (rows != np.arange(len(pictures))[:, None]))
    return _ordered(np.stack([first, rows[first, place]], axis=1).astype(np.int64))
