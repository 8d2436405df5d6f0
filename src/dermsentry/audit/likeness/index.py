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

from dermsentry.audit.likeness.keypoints import mirrored

Floats = NDArray[np.float32]
Pairs = NDArray[np.int64]
Positions = NDArray[np.int64]
Rows = NDArray[Any]

_DIMENSIONS = 48  # of 128 that a descriptor is reduced to
LEARNT = 50_000
"""Descriptors that a whitening is learnt from."""
_NEIGHBOURS = 9
_MIRRORED = 20  # keypoints of a photograph that are also searched as a mirrored copy would show them
_EXACT = 20_000  # vectors below which every one is compared
_PROBED = 8  # lists of the inverted file that are searched
_PHOTOGRAPHS = 512  # whose keypoints are searched at once
_PARTNERS, _WHOLE = 4, 2  # that a photograph may have by its keypoints, and by the whole picture
_COSINES = 10  # per axis, of the spectrum that whole pictures are compared by
_SIDE = 32
_STEPS = 1 << 16  # in which an angle is kept, and the logarithm of a size
_SMALLEST, _SIZE_STEPS = 4.0, 4096.0  # log2 of 1 / the smallest size, and steps of a doubling
_ALIKE = 0.8  # cosine of two spectra from which the pictures may be one


@dataclass(frozen=True)
class Whitening:
    """What reduces descriptors: `mean` (128,) and `matrix` (128, 48)."""

    mean: Floats
    matrix: Floats

    @classmethod
    def learn(cls, descriptors: NDArray[np.uint8]) -> Whitening:
        """The whitening, by half, of a sample of descriptors (m, 128)."""
        sample = descriptors.astype(np.float32)
        mean = sample.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov((sample - mean).T.astype(np.float64)))
        values, vectors = values[::-1][:_DIMENSIONS], vectors[:, ::-1][:, :_DIMENSIONS]
        return cls(mean, (vectors / np.maximum(values, 1e-3) ** 0.25).astype(np.float32))

    def reduce(self, descriptors: NDArray[np.uint8]) -> Floats:
        """Unit vectors (m, 48) of descriptors (m, 128)."""
        moved = descriptors.astype(np.float32) - self.mean
        return _unit(np.asarray(moved @ self.matrix, np.float32))


def keypoint_ids(photographs: Positions, places: Floats) -> Positions:
    """What the index keeps of keypoints besides their vectors: photograph, angle and size, in 60 bits.

    `photographs` (m,) are positions below 2**28, `places` (m, 4) as `Keypoints` has them.
    """
    angle = np.rint(places[:, 3] * (_STEPS / 360)).astype(np.int64) % _STEPS
    size = np.rint((np.log2(places[:, 2]) + _SMALLEST) * _SIZE_STEPS).astype(np.int64)
    return np.asarray(photographs << 32 | angle << 16 | np.clip(size, 0, _STEPS - 1), np.int64)


def _told(ids: Positions) -> tuple[Positions, Floats, Floats]:
    """Photograph, angle in degrees and log2 of the size of what the index keeps; photograph -1 of none."""
    angle = (ids >> 16 & _STEPS - 1).astype(np.float32) * np.float32(360 / _STEPS)
    size = (ids & _STEPS - 1).astype(np.float32) / np.float32(_SIZE_STEPS) - np.float32(_SMALLEST)
    return np.where(ids < 0, -1, ids >> 32), angle, size


def keypoint_index(count: int, training: Callable[[Positions], Floats]) -> Any:
    """An empty index of `count` keypoints' vectors, trained on those that `training` gives by number."""
    return _index(_DIMENSIONS, count, training)


def picture_index(count: int, training: Callable[[Positions], Floats]) -> Any:
    """An empty index of `count` spectra, trained on those that `training` gives by number."""
    return _index(_COSINES**2, count, training)


def partners(index: Any, whitening: Whitening, numbers: Positions, rows: Rows, count: int) -> Pairs:
    """Pairs (m, 2) of photographs, i < j, that may be one by their keypoints: at most four of each.

    Parameters
    ----------
    index
        Of all `count` photographs' keypoints, by `keypoint_ids`.
    numbers
        Of the photographs that are looked for.
    rows
        Their `count`, `places` and `descriptors`, as an array of a partition has them.
    """
    found = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(rows), _PHOTOGRAPHS):
        few = rows[start : start + _PHOTOGRAPHS]
        owner, slot = np.nonzero(np.arange(few["places"].shape[1]) < few["count"][:, None])
        if not len(owner) or not index.ntotal:
            continue
        mirror = slot < _MIRRORED
        plain = few["descriptors"][owner, slot]
        asked = whitening.reduce(np.concatenate([plain, mirrored(plain[mirror])]))
        owner, slot = np.concatenate([owner, owner[mirror]]), np.concatenate([slot, slot[mirror]])
        flipped = np.arange(len(owner)) >= len(plain)
        near, ids = index.search(asked, min(_NEIGHBOURS, index.ntotal))
        other, other_angle, other_size = _told(ids)
        places = few["places"][owner, slot]
        angle = np.where(flipped, 180 - places[:, 3], places[:, 3])
        turn = (other_angle - angle[:, None]) % 360
        scale = other_size - np.log2(places[:, None, 2])
        votes = np.where(other >= 0, near - near[:, -1:] + 1e-3, 0)
        found.append(_elected(numbers[start + owner], other, flipped, turn, scale, votes, count))
    return ordered(np.concatenate(found))


def _unit(vectors: Floats) -> Floats:
    return np.asarray(
        vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6), dtype=np.float32
    )


def _index(dimensions: int, count: int, training: Callable[[Positions], Floats]) -> Any:
    """An empty index by inner product of `count` vectors, of which `training` gives some by their numbers."""
    if count < _EXACT:
        return faiss.IndexIDMap(faiss.IndexFlatIP(dimensions))
    lists = int(2 * np.sqrt(count))
    sample = training(np.linspace(0, count - 1, min(count, 48 * lists)).astype(np.int64))
    lists = min(lists, len(sample))  # FAISS makes no more of them than it is given vectors
    index = faiss.index_factory(dimensions, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1
    index.train(sample)
    index.nprobe = _PROBED
    return index


def _elected(
    owner: Positions,
    other: Positions,
    flipped: NDArray[np.bool_],
    turn: Floats,
    scale: Floats,
    votes: Floats,
    count: int,
) -> Pairs:
    """The best partners of each photograph by votes that agree on mirroring, rotation and scale."""
    pair = owner[:, None].astype(np.int64) * count + other
    pair = np.where((other < 0) | (other == owner[:, None]) | (votes <= 0), -1, pair)
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
    kept = rank < _PARTNERS
    return np.stack([first[kept], second[kept]], axis=1)


def ordered(pairs: Pairs) -> Pairs:
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
    return _unit(np.array(found, np.float32).reshape(len(found), _COSINES**2))


def alike(index: Any, own: Positions, pictures: Floats) -> Pairs:
    """Pairs (m, 2) of photographs, i < j, that may be one as whole pictures: at most two of each.

    `index` is of all photographs' spectra by number; `pictures` (m, 100) are those of the numbers `own`.
    """
    if not len(pictures):
        return np.zeros((0, 2), np.int64)
    near, numbers = index.search(pictures, min(_WHOLE + 1, index.ntotal))
    found, place = np.nonzero((near > _ALIKE) & (numbers >= 0) & (numbers != own[:, None]))
    return ordered(np.stack([own[found], numbers[found, place]], axis=1).astype(np.int64))
