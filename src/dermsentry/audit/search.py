"""The search for near-identical photographs in three steps, each of which is resumed where it was ended.

    search/HASH/members.npy                which photographs are searched, by the digests of their pixels
    search/HASH/*.faiss, whitening.npz     the indices of their keypoints and of the whole pictures
    search/HASH/candidates/000001.npy      which may be one, of a partition of them
    pairs/000001.npy                       which pairs were judged, by their digests, and how

Indices are made in one step; looking for candidates and judging are the same functions over partitions here
and on a cluster. A judgement depends on two photographs alone, so it is never made again.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from dermsentry.audit.kept import (
    DIGEST,
    Located,
    Looks,
    partition_numbers,
    partition_path,
)
from dermsentry.audit.likeness.content import Content, unpack
from dermsentry.audit.likeness.index import (
    LEARNT,
    Pairs,
    Positions,
    Whitening,
    alike,
    keypoint_ids,
    keypoint_index,
    partners,
    picture_index,
    spectra,
)
from dermsentry.audit.likeness.judge import same_skin
from dermsentry.audit.survey import LOOKS, Survey
from dermsentry.audit.workplace import Advance, Workplace, nobody
from dermsentry.errors import InputError
from dermsentry.files import whole_file
from dermsentry.parallel import map_ordered
from dermsentry.progress import Work

SEARCHED = 2_000
"""Photographs that are looked for in a partition of the search."""
JUDGED = 1_000
"""Pairs in a partition of the judging: ten seconds of a core, which is what a kill costs at most."""
_SEARCH, _PAIRS, _CANDIDATES = "search", "pairs", "candidates"
_MEMBERS, _WHITENING, _KEYPOINTS, _PICTURES = (
    "members.npy", "whitening.npz", "keypoints.faiss", "pictures.faiss",
)  # fmt: skip
_AT_ONCE = 512  # photographs that are put into an index at once
_GROWN = 2  # times as many photographs as an index was trained on: then it is rebuilt
_CONTENTS = 512  # that are unpacked at once
_JUDGEMENT = np.dtype(
    [("first", "u1", DIGEST), ("second", "u1", DIGEST), ("whole", "?"), ("found", "u1")]
)  # `found`: 0 of different photographs, 1 of one, 2 of one in place

Digests = NDArray[np.uint8]
"""(n, 16): what photographs are known by."""


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
    folder, members = _indexed(wanted, survey.located[rows], place)
    where = _find(members, wanted)
    row = np.where(where >= 0, rows[where], -1)  # of each member; -1 where it is gone
    covered = np.zeros(len(members), bool)
    for start, stop in _ranges(folder):
        covered[start:stop] = True
    tasks, left = [], np.flatnonzero(~covered)
    size = SEARCHED if place.engine == "local" else max(1, min(SEARCHED, -(-len(left) // 16)))
    for run in np.split(left, np.flatnonzero(np.diff(left) > 1) + 1):
        for part in (run[start : start + size] for start in range(0, len(run), size)):
            here = part[row[part] >= 0]
            tasks.append((int(part[0]), int(part[-1]) + 1, here, survey.located[row[here]]))
    sizes = [stop - start for start, stop, _, _ in tasks]
    arguments = (place.folder, folder, len(members))
    for _ in place.each("Searching", Searcher, arguments, tasks, sizes, int(covered.sum())):
        pass
    found = [_load(path) for path in _candidates(folder)]
    every = np.concatenate([np.zeros((0, 3), np.int64), *found])
    every[:, :2] = np.sort(row[every[:, :2]], axis=1)
    return np.unique(every[every[:, 0] >= 0], axis=0)


def _ranges(folder: Path) -> list[tuple[int, int]]:
    """Which members were looked for, from which to before which."""
    names = (path.stem.split("-") for path in _candidates(folder))
    return [(int(start), int(stop)) for start, stop in names]


def _candidates(folder: Path) -> list[Path]:
    """The partitions of the search, in order, without what was being written as a process was ended."""
    return sorted(path for path in (folder / _CANDIDATES).glob("*.npy") if not path.name.startswith("."))


class _Plain:
    """Has nothing to close."""

    def close(self) -> None:
        """Do nothing."""


class Searcher(_Plain):
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
        self._whitening, _ = _read_whitening(folder)
        # The lists stay in their file, and so are shared by all who search them on a machine.
        mapped = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
        self._keypoints, self._pictures = (
            _open_index(folder / name, mapped) for name in (_KEYPOINTS, _PICTURES)
        )

    def __call__(self, task: tuple[int, int, Positions, Located], advance: Advance = nobody) -> None:
        """Look for some photographs by their numbers, and write which others each may be."""
        start, stop, numbers, located = task
        found = [np.zeros((0, 3), np.int64)]
        for part in range(0, len(numbers), _AT_ONCE):
            few, at = numbers[part : part + _AT_ONCE], located[part : part + _AT_ONCE]
            rows = self._looks.rows(at)
            by_keypoints = partners(self._keypoints, self._whitening, few, rows, self._count)
            by_picture = alike(self._pictures, few, _spectra(self._looks, at))
            found += [np.insert(by_keypoints, 2, 0, axis=1), np.insert(by_picture, 2, 1, axis=1)]
            advance(len(few))
        advance(stop - start - len(numbers))
        _save(self._folder / _CANDIDATES / f"{start:09}-{stop:09}.npy", np.concatenate(found))


def _spectra(looks: Looks, located: Located) -> NDArray[np.float32]:
    return spectra(unpack(looks.content(*at)).grey for at in located.tolist())


def _indexed(wanted: Digests, located: Located, place: Workplace) -> tuple[Path, Digests]:
    """The folder of indices of what is wanted, and what is in them, which may be more."""
    folder, members = _search_folder(place, wanted), wanted
    if _is_whole(folder):
        return folder, members
    if place.extend and (earlier := _largest(place)) is not None:
        before, there = earlier
        new = np.flatnonzero(_find(wanted, there) < 0)
        if not len(new):
            return before, there
        gone = len(there) - (len(wanted) - len(new))
        _, trained = _read_whitening(before)
        if 2 * gone <= len(there) and len(there) + len(new) <= _GROWN * trained:
            members = np.concatenate([there, wanted[new]])
            folder = _search_folder(place, members)
            shutil.rmtree(folder, ignore_errors=True)
            _extend(before, folder, located[new], len(there), place)
            _finish(folder, members, place)
            return folder, members
    shutil.rmtree(folder, ignore_errors=True)
    _build(folder, located, place)
    _finish(folder, members, place)
    return folder, members


def _search_folder(place: Workplace, members: Digests) -> Path:
    return place.folder / _SEARCH / hashlib.blake2b(members.tobytes(), digest_size=8).hexdigest()


def _is_whole(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (_MEMBERS, _WHITENING, _KEYPOINTS, _PICTURES))


def _largest(place: Workplace) -> tuple[Path, Digests] | None:
    """The search of most photographs."""
    found = [path for path in (place.folder / _SEARCH).glob("*") if _is_whole(path)]
    each = [(path, _load(path / _MEMBERS)) for path in sorted(found)]
    return max(each, key=lambda own: len(own[1]), default=None)


def _finish(folder: Path, members: Digests, place: Workplace) -> None:
    """Say that indices are whole, and remove those before them."""
    _save(folder / _MEMBERS, members)
    for path in (place.folder / _SEARCH).glob("*"):
        if path != folder:
            shutil.rmtree(path, ignore_errors=True)


def _build(folder: Path, located: Located, place: Workplace) -> None:
    """Build the indices of photographs."""
    looks = Looks(place.folder / LOOKS)
    counts = np.concatenate([np.zeros(0, np.int64), *(
        looks.rows(located[start : start + _AT_ONCE])["count"] for start in range(0, len(located), _AT_ONCE)
    )])  # fmt: skip
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0

    def descriptors(numbers: Positions) -> NDArray[np.uint8]:
        """Those of keypoints by their numbers, which are in order, over all photographs."""
        owner = np.searchsorted(ends, numbers, side="right")
        slot = numbers - (ends[owner] - counts[owner])
        found = np.zeros((len(numbers), 128), np.uint8)
        for start in range(0, len(numbers), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            owners, back = np.unique(owner[some], return_inverse=True)
            found[some] = looks.rows(located[owners])["descriptors"][back, slot[some]]
        return found

    sample = np.arange(0, total, max(1, total // LEARNT))
    empty = total < 2
    whitening = Whitening.learn(np.zeros((2, 128), np.uint8) if empty else descriptors(sample))
    keypoints = keypoint_index(
        total, lambda numbers: np.concatenate([
            whitening.reduce(descriptors(numbers[start : start + 20 * _AT_ONCE]))
            for start in range(0, len(numbers), 20 * _AT_ONCE)
        ]),
    )  # fmt: skip
    pictures = picture_index(len(located), lambda numbers: _spectra(looks, located[numbers]))
    _add(keypoints, pictures, whitening, looks, located, 0, place)
    _write(folder, whitening, keypoints, pictures, len(located))


def _extend(before: Path, folder: Path, located: Located, first: int, place: Workplace) -> None:
    """Add photographs to the indices of an earlier search, and keep what it found."""
    keypoints, pictures = (_open_index(before / name) for name in (_KEYPOINTS, _PICTURES))
    whitening, trained = _read_whitening(before)
    _add(keypoints, pictures, whitening, Looks(place.folder / LOOKS), located, first, place)
    for path in _candidates(before):
        _save(folder / _CANDIDATES / path.name, _load(path))
    _write(folder, whitening, keypoints, pictures, trained)


def _add(
    keypoints: Any,
    pictures: Any,
    whitening: Whitening,
    looks: Looks,
    located: Located,
    first: int,
    place: Workplace,
) -> None:
    """Add photographs to indices, the first as number `first`."""
    with Work("Indexing", len(located), place.quiet) as work:
        for start in range(0, len(located), _AT_ONCE):
            at = located[start : start + _AT_ONCE]
            rows = looks.rows(at)
            owner, slot = np.nonzero(np.arange(rows["places"].shape[1]) < rows["count"][:, None])
            if len(owner):
                ids = keypoint_ids(first + start + owner, rows["places"][owner, slot])
                keypoints.add_with_ids(whitening.reduce(rows["descriptors"][owner, slot]), ids)
            pictures.add_with_ids(_spectra(looks, at), first + start + np.arange(len(at)))
            work.advance(len(at))


def _write(folder: Path, whitening: Whitening, keypoints: Any, pictures: Any, trained: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / _WHITENING) as temporary, temporary.open("wb") as stream:
        np.savez(stream, mean=whitening.mean, matrix=whitening.matrix, trained=np.int64(trained))
    for name, index in ((_KEYPOINTS, keypoints), (_PICTURES, pictures)):
        with whole_file(folder / name) as temporary:
            faiss.write_index(index, str(temporary))


def _read_whitening(folder: Path) -> tuple[Whitening, int]:
    """The whitening, and how many photographs the indices were trained on. Raises InputError."""
    path = folder / _WHITENING
    with _reading(path), np.load(path, allow_pickle=False) as there:
        return Whitening(there["mean"], there["matrix"]), int(there["trained"])


def _open_index(path: Path, flags: int = 0) -> Any:
    """An index. Raises InputError."""
    with _reading(path):
        return faiss.read_index(str(path), flags)


def _judged(survey: Survey, likely: Pairs, place: Workplace) -> NDArray[np.uint8]:
    """How each likely pair was judged, as `_JUDGEMENT` says; those that never were are judged now."""
    folder = place.folder / _PAIRS
    numbers = partition_numbers(folder)
    kept = np.concatenate([np.zeros(0, _JUDGEMENT), *(_load(partition_path(folder, own)) for own in numbers)])
    asked = np.zeros(len(likely), _JUDGEMENT)
    asked["first"], asked["second"] = survey.pixels[likely[:, 0]], survey.pixels[likely[:, 1]]
    asked["whole"] = likely[:, 2] > 0
    where = _find(_pair_digests(asked), _pair_digests(kept))
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


class Judge(_Plain):
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
        _save(partition_path(self._folder, number), asked)
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


def _find(wanted: Digests, there: Digests) -> Positions:
    """For each of `wanted` (n, k), its row in `there` (m, k), the last of equal ones; -1 where it is not."""
    found = np.full(len(wanted), -1, np.int64)
    if len(wanted) and len(there):
        own, other = (
            np.ascontiguousarray(each).view(f"S{each.shape[1]}").ravel() for each in (wanted, there)
        )
        order = np.argsort(other, kind="stable")
        at = np.maximum(np.searchsorted(other, own, side="right", sorter=order) - 1, 0)
        same = other[order[at]] == own
        found[same] = order[at[same]]
    return found


def _save(path: Path, array: NDArray[Any]) -> None:
    """Write an array, whole or not at all. Raises OutputError."""
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)


def _load(path: Path) -> NDArray[Any]:
    """Read an array. Raises InputError where the file is damaged."""
    with _reading(path), path.open("rb") as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise InputError where a file is damaged."""
    try:
        yield
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        words = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"Cannot read {path} ({words}); delete it, and it is made again.") from error
