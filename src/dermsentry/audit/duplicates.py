"""Duplicates: photographs that are identical byte for byte or pixel for pixel, or nearly."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dermsentry.audit.alignment import IDENTITY, Floats, alike, normalise, step, warp
from dermsentry.audit.survey import THUMB, Survey, survey_collection, thumbnails
from dermsentry.collection import Collection
from dermsentry.collection.groups import DuplicateGroup, components
from dermsentry.files import sha256
from dermsentry.hdf_files import is_member, read_member


@dataclass(frozen=True)
class Duplicates:
    """All groups of duplicates, the identical ones first; path and reason of each unreadable photograph."""

    groups: tuple[DuplicateGroup, ...]
    unreadable: dict[str, str]


def find_duplicates(collection: Collection, *, workers: int | None = None, quiet: bool = True) -> Duplicates:
    """Find the duplicates in a collection, in one pass over its files and one comparison of all with all.

    Identical photographs have the same size and pixels. Near-identical ones are the same photograph after
    resizing, recompression, a change of brightness, contrast or colour, a small crop or rotation, mirroring
    or a rotation by 90°; `docs/why-audit.md` gives the rule with its precision and recall. A group of
    near-identical ones lists the identical copies among them as well.

    Parameters
    ----------
    collection
        Its photographs are read.
    workers
        Threads that read; one per core by default.
    quiet
        Show no progress on stderr.
    """
    return duplicates_of(
        survey_collection(collection, workers=workers, quiet=quiet), collection.root, workers=workers
    )


def duplicates_of(survey: Survey, root: Path, *, workers: int | None = None) -> Duplicates:
    """The duplicates among surveyed photographs whose paths are relative to `root`."""
    copies: dict[bytes, list[int]] = defaultdict(list)
    for position, digest in enumerate(survey.pixels):
        copies[digest].append(position)
    identical = [sorted(survey.paths[i] for i in members) for members in copies.values() if len(members) > 1]
    groups = [
        DuplicateGroup("identical", tuple(paths), len({_sha256(root / path) for path in paths}) == 1)
        for paths in sorted(identical)
    ]
    firsts = np.array([members[0] for members in copies.values()], dtype=np.int64)
    names = [survey.paths[i] for i in firsts]
    pairs = near_pairs(survey.thumbs[firsts], names, root, workers=workers)
    near = [
        sorted(survey.paths[copy] for i in members for copy in copies[survey.pixels[firsts[i]]])
        for members in components(len(firsts), ((i, j) for i, j, _ in pairs))
        if len(members) > 1
    ]
    groups += [DuplicateGroup("near", tuple(paths)) for paths in sorted(near)]
    return Duplicates(tuple(groups), dict(survey.unreadable))


def _sha256(path: Path) -> str:
    return hashlib.sha256(read_member(path)).hexdigest() if is_member(path) else sha256(path)


# The near rule. Every number was chosen on HAM10000 and planted copies; benchmarks/audit.py measures again.
_COSINES = 10  # per axis, of the thumbnail's spectrum that candidates are found by
_FLAT = 2.0  # grey levels of contrast below which an image has nothing to be recognised by
_UNEXPLAINED = (
    0.07,
    0.03,
)  # share of variance that one step, and three more, may leave unexplained at 16 pixels
_ALIKE_COARSE = 0.70  # correlation of the detail at 32 pixels from which the files are read again
_FINE = 64
_ALIKE = 0.75  # correlation of the detail at 64 pixels from which two photographs are one
_ALIKE_IN_PLACE = 0.45  # the same where they coincide exactly, as no two photographs do by chance
_IN_PLACE = 0.04  # of half a side, the most that a corner then moves
_BATCH = 2048
_COSINES_AT_ONCE = 2**23


@dataclass(frozen=True)
class _View:
    """A way in which one copy may show the other: mirrored or rotated by `turns`, then its middle `part`.

    `candidate` is the cosine of the spectra from which a pair is compared further.
    """

    turns: tuple[bool, int] = (False, 0)
    part: tuple[float, float] = (1.0, 1.0)
    candidate: float = 0.90


_VIEWS: tuple[_View, ...] = (
    _View(candidate=0.85),
    _View(part=(0.9, 0.9)),
    _View(part=(0.8, 0.8)),
    *(
        _View((mirrored, quarter))
        for mirrored in (False, True)
        for quarter in range(4)
        if mirrored or quarter
    ),
)


def _seen(thumbs: NDArray[np.uint8], view: _View) -> NDArray[np.uint8]:
    """Thumbnails (n, s, s) as `view` shows them."""
    mirrored, quarters = view.turns
    turned = np.rot90(thumbs[:, :, ::-1] if mirrored else thumbs, quarters, axes=(1, 2))
    if view.part == (1.0, 1.0):
        return np.ascontiguousarray(turned)
    across, down = view.part
    maps = np.tile(np.array([[across, 0, 0], [0, down, 0]], np.float32), (len(turned), 1, 1))
    return np.rint(warp(turned.astype(np.float32), maps)[0]).astype(np.uint8)


def _spectra(thumbs: NDArray[np.uint8]) -> Floats:
    """Unit vectors (n, 100): the first 10×10 cosine coefficients of (n, 32, 32), each times its frequency.

    Photographs fall off with frequency; evened out, the spectra of unlike pictures are nearly orthogonal.
    """
    places, order = np.arange(THUMB), np.arange(_COSINES)
    rows = np.cos(np.pi * (2 * places + 1) * order[:, None] / (2 * THUMB)).astype(np.float32)
    rows[0] /= np.sqrt(np.float32(2))
    spectra = rows @ thumbs.astype(np.float32) @ rows.T
    frequency = np.hypot(*np.meshgrid(order, order)).astype(np.float32)
    spectra *= np.where(frequency <= _COSINES, frequency, 0)
    flat = spectra.reshape(len(thumbs), -1)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6), dtype=np.float32)


def _candidates(
    thumbs: NDArray[np.uint8], plain: Floats, view: _View
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Blocks of indices (i, j) where the spectrum of i under `view` is like that of j.

    `plain` are the spectra of `thumbs`. Memory is that of about 8 million cosines, at any number of images.
    """
    block = int(np.clip(_COSINES_AT_ONCE // len(thumbs), 16, 1024))
    # A copy rotated one way is the original of one rotated the other way, so half the pairs are enough.
    whole = view.part == (1.0, 1.0)
    for start in range(0, len(thumbs), block):
        first = start if whole else 0
        seen = _spectra(_seen(thumbs[start : start + block], view))
        i, j = np.nonzero(seen @ plain[first:].T > view.candidate)
        i, j = i + start, j + first
        keep = j > i if whole else j != i
        i, j = i[keep], j[keep]
        for part in range(0, len(i), _BATCH):
            yield i[part : part + _BATCH], j[part : part + _BATCH]


def near_pairs(
    thumbs: NDArray[np.uint8], paths: list[str], root: Path, *, workers: int | None = None
) -> list[tuple[int, int, float]]:
    """Pairs (i, j, correlation), i < j, of photographs that are near-identical.

    `thumbs` is (n, 32, 32), uint8, of the files `paths` below `root`; the most likely are read again.
    """
    blocks = [thumbs[k : k + _BATCH].reshape(-1, THUMB * THUMB) for k in range(0, len(thumbs), _BATCH)]
    contrast = [block.std(axis=1, dtype=np.float32) for block in blocks]
    usable = np.flatnonzero(np.concatenate([np.zeros(0, np.float32), *contrast]) >= _FLAT)
    if len(usable) < 2:
        return []
    plain = thumbs[usable]
    spectra = np.concatenate([_spectra(plain[k : k + _BATCH]) for k in range(0, len(plain), _BATCH)])
    found: dict[tuple[int, int], float] = {}
    for view in _VIEWS:
        likely = [_register(plain, view, i, j) for i, j in _candidates(plain, spectra, view)]
        for i, j, maps in likely:
            for start in range(0, len(i), _BATCH // 4):
                part = slice(start, start + _BATCH // 4)
                a, b = usable[i[part]], usable[j[part]]
                scores, needed = _compare(a, b, maps[part], view, paths, root, workers)
                same = scores >= needed
                for one, other, score in zip(
                    a[same].tolist(), b[same].tolist(), scores[same].tolist(), strict=True
                ):
                    pair = (min(one, other), max(one, other))
                    found[pair] = max(score, found.get(pair, 0.0))
    return [(i, j, score) for (i, j), score in sorted(found.items())]


def _register(
    thumbs: NDArray[np.uint8], view: _View, i: NDArray[np.int64], j: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Register j to i as seen, at 16 and then 32 pixels; pairs that do not fit are dropped on the way."""
    maps = np.tile(IDENTITY, (len(i), 1, 1))
    for side, steps, most in ((16, 1, _UNEXPLAINED[0]), (16, 3, _UNEXPLAINED[1]), (32, 3, 1.0)):
        fixed, moved = normalise(_seen(thumbs[i], view), side), normalise(thumbs[j], side)
        left = np.zeros(len(i), np.float32)
        for _ in range(steps):
            maps, left = step(fixed, moved, maps)
        if side == 32:
            left = np.where(alike(fixed, moved, maps) >= _ALIKE_COARSE, left, 2.0)
        fits = left <= most
        i, j, maps = i[fits], j[fits], maps[fits]
        if not len(i):
            break
    return i, j, maps


def _compare(
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    maps: Floats,
    view: _View,
    paths: list[str],
    root: Path,
    workers: int | None,
) -> tuple[Floats, Floats]:
    """Correlation of the detail of registered photographs at 64 pixels, where hair and texture decide, and
    the correlation from which they are one.
    """
    wanted, places = np.unique(np.concatenate([i, j]), return_inverse=True)
    fine = thumbnails(root, [paths[k] for k in wanted], _FINE, workers)
    fixed, moved = (
        normalise(_seen(fine[places[: len(i)]], view), _FINE),
        normalise(fine[places[len(i) :]], _FINE),
    )
    for _ in range(2):
        maps, _left = step(fixed, moved, maps)
    corners = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [1, 1, 1, 1]], np.float32)
    moves = np.abs(maps @ corners - corners[:2]).max(axis=(1, 2))
    needed = np.where(moves <= _IN_PLACE, _ALIKE_IN_PLACE, _ALIKE).astype(np.float32)
    return alike(fixed, moved, maps), needed
