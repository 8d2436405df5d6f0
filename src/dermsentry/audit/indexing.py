"""The indices of the search: trained once, filled a partition of photographs after another, and merged.

    search/HASH/whitening.npz               what reduces descriptors
    search/HASH/trained/*.faiss             the indices, empty
    search/HASH/parts/*/START-STOP.faiss    those of some photographs
    search/HASH/*.faiss                     those of all
    search/HASH/members.npy                 which photographs these are, by the digests of their pixels

Each file is written whole or not at all and not made again, so an index is resumed where it was ended. Once
`members.npy` is there, what it was made from is removed.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from dermsentry.audit.arrays import (
    find_rows,
    load_array,
    range_path,
    ranges,
    ranges_left,
    reading,
    save_array,
)
from dermsentry.audit.kept import Located, Looks
from dermsentry.audit.likeness.content import unpack
from dermsentry.audit.likeness.index import (
    LEARNT,
    Positions,
    Whitening,
    keypoint_ids,
    keypoint_index,
    picture_index,
    spectra,
)
from dermsentry.audit.survey import LOOKS
from dermsentry.audit.workplace import Advance, NothingToClose, Workplace, nobody
from dermsentry.files import whole_file
from dermsentry.progress import Work

INDEXED = 20_000
"""Photographs that are put into an index by one task."""
KEYPOINTS, PICTURES = "keypoints", "pictures"
_BOTH = (KEYPOINTS, PICTURES)
CANDIDATES = "candidates"
"""The folder of what was found in an index, beside it."""
_SEARCH, _MEMBERS, _WHITENING, _TRAINED, _PARTS = (
    "search", "members.npy", "whitening.npz", "trained", "parts",
)  # fmt: skip
_AT_ONCE = 512  # photographs whose rows are in memory
_GROWN = 2  # times as many photographs as an index was trained on: then it is rebuilt

Digests = NDArray[np.uint8]
"""(n, 16): what photographs are known by."""


@dataclass(frozen=True)
class Indices:
    """Indices of photographs: their folder, and which these are; `members` may be more than were wanted."""

    folder: Path
    members: Digests


def indices_of(wanted: Digests, located: Located, place: Workplace) -> Indices:
    """The indices of photographs, which are made where they are not there.

    Raises
    ------
    InputError
        A kept file is damaged.
    OutputError
        An index cannot be written, or the cluster failed.
    """
    folder = _folder(place, wanted)
    if _is_whole(folder):
        return _finished(Indices(folder, wanted))
    if place.extend and (earlier := _largest(place)) is not None:
        before, there = earlier.folder, earlier.members
        new = np.flatnonzero(find_rows(wanted, there) < 0)
        if not len(new):
            return earlier
        gone = len(there) - (len(wanted) - len(new))
        _, trained = read_whitening(before)
        if 2 * gone <= len(there) and len(there) + len(new) <= _GROWN * trained:
            members = np.concatenate([there, wanted[new]])
            folder = _folder(place, members, before.name)
            _train_as(before, folder)
            _fill(folder, located[new], len(there), place)
            for _, _, path in ranges(before / CANDIDATES):
                save_array(folder / CANDIDATES / path.name, load_array(path))
            _merge(folder, before)
            return _finished(Indices(folder, members))
    _train(folder, located, place)
    _fill(folder, located, 0, place)
    _merge(folder, folder / _TRAINED)
    return _finished(Indices(folder, wanted))


def _folder(place: Workplace, members: Digests, before: str = "") -> Path:
    """Where the indices of photographs are; other ones if those `before` were only added to."""
    known = hashlib.blake2b(members.tobytes(), digest_size=8)
    known.update(before.encode())
    return place.folder / _SEARCH / known.hexdigest()


def _is_whole(folder: Path) -> bool:
    return all(
        path.is_file()
        for path in (folder / _MEMBERS, folder / _WHITENING, *(_file(folder, own) for own in _BOTH))
    )


def _largest(place: Workplace) -> Indices | None:
    """Those of most photographs."""
    found = [path for path in sorted((place.folder / _SEARCH).glob("*")) if _is_whole(path)]
    each = [Indices(path, load_array(path / _MEMBERS)) for path in found]
    return max(each, key=lambda own: len(own.members), default=None)


def _finished(made: Indices) -> Indices:
    """Say that indices are whole, and remove those before them and what they were made from."""
    if not (made.folder / _MEMBERS).is_file():
        save_array(made.folder / _MEMBERS, made.members)
    for path in made.folder.parent.glob("*"):
        if path != made.folder:
            shutil.rmtree(path, ignore_errors=True)
    for name in (_PARTS, _TRAINED):
        shutil.rmtree(made.folder / name, ignore_errors=True)
    return made


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.faiss"


def _train(folder: Path, located: Located, place: Workplace) -> None:
    """Learn the whitening of photographs, and the lists of their indices."""
    if all(_file(folder / _TRAINED, name).is_file() for name in _BOTH):
        return
    looks = Looks(place.folder / LOOKS)
    with Work("Training the index", quiet=place.quiet):
        counts = np.concatenate([np.zeros(0, np.int64), *(
            looks.rows(located[start : start + _AT_ONCE])["count"]
            for start in range(0, len(located), _AT_ONCE)
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

        if not (folder / _WHITENING).is_file():
            sample = np.arange(0, total, max(1, total // LEARNT))
            few = np.zeros((2, 128), np.uint8) if total < 2 else descriptors(sample)
            _write_whitening(folder, Whitening.learn(few), len(located))
        whitening, _ = read_whitening(folder)
        _once(
            _file(folder / _TRAINED, KEYPOINTS),
            lambda: keypoint_index(
                total,
                lambda numbers: np.concatenate([
                    whitening.reduce(descriptors(numbers[start : start + 20 * _AT_ONCE]))
                    for start in range(0, len(numbers), 20 * _AT_ONCE)
                ]),
            ),
        )  # fmt: skip
        _once(
            _file(folder / _TRAINED, PICTURES),
            lambda: picture_index(len(located), lambda numbers: spectra_of(looks, located[numbers])),
        )


def _train_as(before: Path, folder: Path) -> None:
    """Take the whitening and the lists of earlier indices."""

    def emptied(name: str) -> Any:
        index = open_index(before, name)
        index.reset()
        return index

    if not (folder / _WHITENING).is_file():
        _write_whitening(folder, *read_whitening(before))
    for name in _BOTH:
        _once(_file(folder / _TRAINED, name), lambda name=name: emptied(name))  # type: ignore[misc]


def _once(path: Path, made: Callable[[], Any]) -> None:
    """Write an index that is not there."""
    if not path.is_file():
        _write(path, made())


def _write(path: Path, index: Any) -> None:
    with whole_file(path) as temporary:
        faiss.write_index(index, str(temporary))


def _fill(folder: Path, located: Located, first: int, place: Workplace) -> None:
    """Put photographs into indices of some each, the first as number `first`."""
    if all(_file(folder, name).is_file() for name in _BOTH):  # they were merged
        return
    count = len(located)
    share = -(-count // (4 * (place.threads or 4)))
    # On a cluster actors share them, but each part has the lists of the whole index.
    size = INDEXED if place.engine == "local" else min(INDEXED, max(INDEXED // 10, share))
    left = ranges_left(folder / _PARTS / PICTURES, first, first + count, size)
    tasks = [(start, stop, located[start - first : stop - first]) for start, stop in left]
    sizes = [stop - start for start, stop, _ in tasks]
    for _ in place.each("Indexing", Indexer, (place.folder, folder), tasks, sizes, count - sum(sizes)):
        pass


class Indexer(NothingToClose):
    """Puts one partition of photographs after another into indices of their own.

    Parameters
    ----------
    kept
        The folder of the audit's work.
    folder
        Of the indices.
    """

    def __init__(self, kept: Path, folder: Path) -> None:
        self._folder, self._looks = folder, Looks(kept / LOOKS)
        self._whitening, _ = read_whitening(folder)

    def __call__(self, task: tuple[int, int, Located], advance: Advance = nobody) -> None:
        """Index some photographs by their numbers, and write what that gives."""
        first, stop, located = task
        keypoints, pictures = (open_index(self._folder / _TRAINED, name) for name in _BOTH)
        for start in range(0, len(located), _AT_ONCE):
            at = located[start : start + _AT_ONCE]
            rows = self._looks.rows(at)
            owner, slot = np.nonzero(np.arange(rows["places"].shape[1]) < rows["count"][:, None])
            if len(owner):
                ids = keypoint_ids(first + start + owner, rows["places"][owner, slot])
                keypoints.add_with_ids(self._whitening.reduce(rows["descriptors"][owner, slot]), ids)
            pictures.add_with_ids(spectra_of(self._looks, at), first + start + np.arange(len(at)))
            advance(len(at))
        # A part counts once its pictures are there, which are written last.
        for name, index in ((KEYPOINTS, keypoints), (PICTURES, pictures)):
            _write(range_path(self._folder / _PARTS / name, first, stop, ".faiss"), index)


def _merge(folder: Path, base: Path) -> None:
    """Add the parts of an index to what is in `base`."""
    for name in _BOTH:
        if _file(folder, name).is_file():
            continue
        index = open_index(base, name)
        for start, stop, _ in ranges(folder / _PARTS / PICTURES):
            path = range_path(folder / _PARTS / name, start, stop, ".faiss")
            with reading(path):
                index.merge_from(faiss.read_index(str(path)), 0)
        _write(_file(folder, name), index)


def spectra_of(looks: Looks, located: Located) -> NDArray[np.float32]:
    """The spectra of photographs as whole pictures."""
    return spectra(unpack(looks.content(*at)).grey for at in located.tolist())


def _write_whitening(folder: Path, whitening: Whitening, trained: int) -> None:
    with whole_file(folder / _WHITENING) as temporary, temporary.open("wb") as stream:
        np.savez(stream, mean=whitening.mean, matrix=whitening.matrix, trained=np.int64(trained))


def read_whitening(folder: Path) -> tuple[Whitening, int]:
    """The whitening, and how many photographs the indices were trained on. Raises InputError."""
    path = folder / _WHITENING
    with reading(path), np.load(path, allow_pickle=False) as there:
        return Whitening(there["mean"], there["matrix"]), int(there["trained"])


def open_index(folder: Path, name: str, *, mapped: bool = False) -> Any:
    """An index; `mapped`, its lists stay in their file, and so are shared by all who search them.

    Raises InputError.
    """
    path = _file(folder, name)
    with reading(path):
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY if mapped else 0)
