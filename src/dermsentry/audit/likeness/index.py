"""Which photographs may be one: the neighbours of their keypoints, and of the whole pictures, in an index.

Descriptors are whitened against the collection (what its photographs have in common counts less) and searched
in an inverted file (FAISS). Neighbours vote for a pair by how much nearer they are than the next ones, and
only votes that agree on rotation and scale add up: weak geometric consistency of Jégou, Douze and Schmid
(2008).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import cv2
import faiss
import numpy as np
from numpy.typing import NDArray

from dermsentry.audit.likeness.keypoints import Features, mirrored

Floats = NDArray[np.float32]
Pairs = NDArray[np.int64]

_DIMENSIONS = 48  # of 128 that a descriptor is reduced to
_LEARNT = 50_000  # descriptors that the whitening is learnt from
_NEIGHBOURS = 9
_MIRRORED = 20  # keypoints of a photograph that are also searched as a mirrored copy would show them
_EXACT = 20_000  # vectors below which every one is compared
_PROBED = 8  # lists of the inverted file that are searched
_PHOTOGRAPHS = 512  # whose keypoints are searched at once
_PARTNERS, _WHOLE = 4, 2  # that a photograph may have by its keypoints, and by the whole picture
_COSINES = 10  # per axis, of the spectrum that whole pictures are compared by
_SIDE = 32
_ALIKE = 0.8  # cosine of two spectra from which the pictures may be one


def candidates(features: Features) -> Pairs:
    """Pairs (m, 2) of positions, i < j, in order, each at most once, by keypoints."""
    filled = np.arange(features.descriptors.shape[1]) < features.counts[:, None]
    if np.count_nonzero(features.counts) < 2:
        return np.zeros((0, 2), np.int64)
    photograph, slot = (each.astype(np.int32) for each in np.nonzero(filled))
    reduce = _whitening(features.descriptors, photograph, slot)
    index = _index(
        _DIMENSIONS,
        len(photograph),
        lambda rows: reduce(features.descriptors[photograph[rows], slot[rows]]),
    )
    found = []
    for start in range(0, len(features.counts), _PHOTOGRAPHS):
        few = slice(start, start + _PHOTOGRAPHS)
        owner, own_slot = np.nonzero(filled[few])
        mirror = own_slot < _MIRRORED
        plain = features.descriptors[few][owner, own_slot]
        asked = reduce(np.concatenate([plain, mirrored(plain[mirror])]))
        owner, own_slot = np.concatenate([owner, owner[mirror]]), np.concatenate([own_slot, own_slot[mirror]])
        flipped = np.arange(len(owner)) >= len(plain)
        near, rows = index.search(asked, min(_NEIGHBOURS, len(photograph)))
        places = features.places[few][owner, own_slot]
        other = features.places[photograph[rows], slot[rows]]
        angle = np.where(flipped, 180 - places[:, 3], places[:, 3])
        turn = (other[..., 3] - angle[:, None]) % 360
        scale = np.log2(other[..., 2] / places[:, None, 2])
        votes = np.where(rows >= 0, near - near[:, -1:] + 1e-3, 0)
        found.append(
            _elected(owner + start, photograph[rows], flipped, turn, scale, votes, len(features.counts))
        )
    return _ordered(np.concatenate(found))


def _whitening(
    descriptors: NDArray[np.uint8], photograph: NDArray[np.int32], slot: NDArray[np.int32]
) -> Callable[[NDArray[np.uint8]], Floats]:
    """What reduces descriptors (m, 128) to unit vectors (m, 48), whitened by half."""
    rows = np.arange(0, len(photograph), max(1, len(photograph) // _LEARNT))
    sample = descriptors[photograph[rows], slot[rows]].astype(np.float32)
    mean = sample.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((sample - mean).T.astype(np.float64)))
    values, vectors = values[::-1][:_DIMENSIONS], vectors[:, ::-1][:, :_DIMENSIONS]
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
    if count < _EXACT:
        index = faiss.IndexFlatIP(dimensions)
    else:
        index = faiss.index_factory(dimensions, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
        index.cp.min_points_per_centroid = 1
        index.train(vectors(np.linspace(0, count - 1, min(count, 48 * lists)).astype(np.int64)))
        index.nprobe = _PROBED
    for start in range(0, count, 65_536):
        index.add(vectors(np.arange(start, min(start + 65_536, count))))
    return index


def _elected(
    owner: Pairs,
    other: NDArray[np.int32],
    flipped: NDArray[np.bool_],
    turn: Floats,
    scale: Floats,
    votes: Floats,
    count: int,
) -> Pairs:
    """The best partners of each photograph by votes that agree on mirroring, rotation and scale."""
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
    kept = rank < _PARTNERS
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
    first, place = np.nonzero((near > _ALIKE) & (rows >= 0) & (rows != np.arange(len(pictures))[:, None]))
    return _ordered(np.stack([first, rows[first, place]], axis=1).astype(np.int64))
