"""The search for near-identical photographs in three steps, each of which is resumed where it was ended.

    search/HASH/*                                   the indices of photographs, see `indexing`
    search/HASH/candidates/000000000-000002000.npy  which may be one, of a partition of them
    pairs/000001.npy                                which pairs were judged, by their digests, and how

Filling indices, looking for candidates and judging are the same functions over partitions here and on a
cluster. A judgement depends on two photographs alone, so it is never made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermsentry.audit.arrays import (
    find_rows,
    load_array,
    range_path,
    ranges,
    ranges_left,
    save_array,
)
from dermsentry.audit.indexing import (
    CANDIDATES,
    KEYPOINTS,
    PICTURES,
    Digests,
    indices_of,
    open_index,
    read_whitening,
    spectra_of,
)
from dermsentry.audit.kept import DIGEST, Located, Looks, partition_numbers, partition_path
from dermsentry.audit.likeness.content import Content, unpack
from dermsentry.audit.likeness.index import Pairs, Positions, alike, partners
from dermsentry.audit.likeness.judge import same_skin
from dermsentry.audit.survey import LOOKS, Survey
from dermsentry.audit.workplace import Advance, NothingToClose, Workplace, nobody
from dermsentry.parallel import map_ordered

SEARCHED = 2_000
"""Photographs that are looked for in a partition of the search."""
JUDGED = 1_000
"""Pairs in a partition of the judging: ten seconds of a core, which is what a kill costs at most."""
_PAIRS = "pairs"
_AT_ONCE = 512  # photographs whose rows are in memory
_CONTENTS = 512  # that are unpacked at once
_JUDGEMENT = np.dtype(
    [("first", "u1", DIGEST), ("second", "u1", DIGEST), ("whole", "?"), ("found", "u1")]
)  # `found`: 0 of different photographs, 1 of one, 2 of one in place


@dataclass(frozen=True)
class NearPair:
    """Two photographs, `first` < `second`, that are one, and whether they coincide exactly as they are."""

    first: int
    second: int
    in_place: bool


def near_pairs(survey: Survey, rows: Positions, place: Workplace) -> list[NearPair]:
    """The pairs of photographs that are near-identical, in order, among some `rows` of a survey.

    Raises
    ------
    InputError
        A kept file is damaged.
    OutputError
        A partition cannot be written, or the cluster failed.
    """
    if len(rows) < 2:
        return []
    likely = _likely(survey, rows, place)
    found = _judged(survey, likely, place)
    pairs: dict[tuple[int, int], NearPair] = {}
    for (first, second, _), own in zip(likely[found > 0].tolist(), found[found > 0].tolist(), strict=True):
        pairs.setdefault((first, second), NearPair(first, second, own == 2))
    return list(pairs.values())


def _likely(survey: Survey, rows: Positions, place: Workplace) -> Pairs:
    """What may be one, (m, 3): two rows of the survey, and whether as whole pictures; in order."""
    wanted = survey.pixels[rows]
    indices = indices_of(wanted, survey.located[rows], place)
    folder, count = indices.folder / CANDIDATES, len(indices.members)
    where = find_rows(indices.members, wanted)
    row = np.where(where >= 0, rows[where], -1)  # of each member; -1 where it is gone
    done = sum(stop - start for start, stop, _ in ranges(folder))
    size = SEARCHED if place.engine == "local" else max(1, min(SEARCHED, -(-(count - done) // 16)))
    tasks = []
    for start, stop in ranges_left(folder, 0, count, size):
        here = np.arange(start, stop)[row[start:stop] >= 0]
        tasks.append((start, stop, here, survey.located[row[here]]))
    sizes = [stop - start for start, stop, _, _ in tasks]
    arguments = (place.folder, indices.folder, count)
    for _ in place.each("Searching", Searcher, arguments, tasks, sizes, done):
        pass
    found = [load_array(path) for _, _, path in ranges(folder)]
    every = np.concatenate([np.zeros((0, 3), np.int64), *found])
    every[:, :2] = np.sort(row[every[:, :2]], axis=1)
    return np.unique(every[every[:, 0] >= 0], axis=0)


class Searcher(NothingToClose):
    """Looks for what may be one, a partition of photographs after another.

    Parameters
    ----------
    kept
        The folder of the audit's work.
    folder
        Of the indices.
    count
        Photographs in these.
    """

    def __init__(self, kept: Path, folder: Path, count: int) -> None:
        self._folder, self._count, self._looks = folder, count, Looks(kept / LOOKS)
        self._whitening, _ = read_whitening(folder)
        self._keypoints, self._pictures = (
            open_index(folder, name, mapped=True) for name in (KEYPOINTS, PICTURES)
        )

    def __call__(self, task: tuple[int, int, Positions, Located], advance: Advance = nobody) -> None:
        """Look for some photographs by their numbers, and write which others each may be."""
        start, stop, numbers, located = task
        found = [np.zeros((0, 3), np.int64)]
        for part in range(0, len(numbers), _AT_ONCE):
            few, at = numbers[part : part + _AT_ONCE], located[part : part + _AT_ONCE]
            rows = self._looks.rows(at)
            by_keypoints = partners(self._keypoints, self._whitening, few, rows, self._count)
            by_picture = alike(self._pictures, few, spectra_of(self._looks, at))
            found += [np.insert(by_keypoints, 2, 0, axis=1), np.insert(by_picture, 2, 1, axis=1)]
            advance(len(few))
        advance(stop - start - len(numbers))
        path = range_path(self._folder / CANDIDATES, start, stop, ".npy")
        save_array(path, np.concatenate(found))


def _judged(survey: Survey, likely: Pairs, place: Workplace) -> NDArray[np.uint8]:
    """How each likely pair was judged, as `_JUDGEMENT` says; those that never were are judged now."""
    folder = place.folder / _PAIRS
    numbers = partition_numbers(folder)
    kept = np.concatenate(
        [np.zeros(0, _JUDGEMENT), *(load_array(partition_path(folder, own)) for own in numbers)]
    )
    asked = np.zeros(len(likely), _JUDGEMENT)
    asked["first"], asked["second"] = survey.pixels[likely[:, 0]], survey.pixels[likely[:, 1]]
    asked["whole"] = likely[:, 2] > 0
    where = find_rows(_pair_digests(asked), _pair_digests(kept))
    found = np.where(where >= 0, kept["found"][where], 0) if len(kept) else np.zeros(len(likely), np.uint8)
    left = np.flatnonzero(where < 0)
    # Where few are judged, all threads and actors have some.
    share = -(-len(left) // (place.here if place.engine == "local" else 4 * (place.threads or 4)))
    size = JUDGED if place.engine == "local" else max(1, min(JUDGED, share))
    parts = [left[start : start + size] for start in range(0, len(left), size)]
    located = survey.located[likely[:, :2]].reshape(-1, 4)
    tasks = [
        (number, asked[part], located[part]) for number, part in enumerate(parts, max(numbers, default=0) + 1)
    ]
    arguments, sizes = (place.folder, place.here), [len(part) for part in parts]
    done = place.each("Judging pairs", Judge, arguments, tasks, sizes, len(likely) - len(left))
    at = dict(zip((number for number, _, _ in tasks), parts, strict=True))
    for number, own in done:
        found[at[number]] = own
    return np.asarray(found, np.uint8)


class Judge(NothingToClose):
    """Judges a partition of pairs after another, `threads` pairs at the same time.

    `kept` is the folder of the audit's work.
    """

    def __init__(self, kept: Path, threads: int) -> None:
        self._folder, self._looks, self._threads = kept / _PAIRS, Looks(kept / LOOKS), threads
        self._content = lru_cache(_CONTENTS)(self._unpacked)

    def __call__(
        self, task: tuple[int, NDArray[Any], Located], advance: Advance = nobody
    ) -> tuple[int, NDArray[np.uint8]]:
        """Judge some pairs, whose photographs are in partitions and rows (m, 4), and write how."""
        number, asked, located = task
        pairs = list(zip(located.tolist(), asked["whole"].tolist(), strict=True))
        judging = map_ordered(self._judge, pairs, threads=self._threads, ahead=64 * self._threads)
        for row, found in zip(asked, judging, strict=True):
            row["found"] = found
            advance(1)
        save_array(partition_path(self._folder, number), asked)
        return number, asked["found"]

    def _unpacked(self, number: int, row: int) -> Content:
        return unpack(self._looks.content(number, row))

    def _judge(self, pair: tuple[list[int], bool]) -> int:
        at, whole = pair
        first, second = (at[0], at[1]), (at[2], at[3])
        keypoints = None if whole else (self._looks.keypoints(*first), self._looks.keypoints(*second))
        found = same_skin(self._content(*first), self._content(*second), keypoints)
        return 0 if found is None else 2 if found[1] else 1


def _pair_digests(pairs: NDArray[Any]) -> Digests:
    """What a pair is known by, (n, 33): its photographs' digests, and whether as whole pictures."""
    return (
        np.ascontiguousarray(pairs)
        .view(np.uint8)
        .reshape(len(pairs), _JUDGEMENT.itemsize)[:, : 2 * DIGEST + 1]
    )
