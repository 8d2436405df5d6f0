"""One pass over the photographs, which keeps about 10 KB of each, in partitions on disk."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dermsentry.audit.kept import (
    DIGEST,
    SURROUND,
    Key,
    Located,
    Look,
    key_of,
    partition_numbers,
    partition_path,
    read_partition,
    write_partition,
)
from dermsentry.audit.likeness.content import content_of, pack
from dermsentry.audit.likeness.keypoints import find_keypoints
from dermsentry.audit.workplace import Advance, Workplace, nobody
from dermsentry.collection import Collection
from dermsentry.images import Photograph, Unreadable, read_bytes, read_photograph
from dermsentry.parallel import map_ordered

if TYPE_CHECKING:
    from dermsentry.audit.guarded_reading import GuardedReaders

_ENOUGH = 512  # larger JPEGs are decoded at a reduced size: a duplicate is recognised all the same
PARTITION = 500
"""Photographs in a partition: what is read again, at most, of what a thread or an actor had in hand."""
LOOKS = "survey"
"""The folder of the partitions, where an audit is kept."""


@dataclass(frozen=True)
class Survey:
    """What one pass found, a row per readable photograph, in the collection's order.

    Attributes
    ----------
    paths
        As in the collection's table.
    pixels
        (n, 16) uint8, a digest of size and decoded pixels; equal digests are the same picture. A JPEG much
        larger than 512 pixels is compared at the reduced size it was decoded at.
    files
        (n, 16) uint8, a digest of the file's bytes.
    surround
        (n, len(SURROUND)) float32: what can be measured around the lesion, see `surround`.
    located
        (n, 2) int32: where each one's keypoints and content are kept; see `kept.Looks`.
    unreadable
        Path to reason, for the others.
    doubts
        Path to what is uncertain about the colours, where something is.
    keys
        Path, size and time of change of every photograph, also of those that are unreadable.
    """

    paths: tuple[str, ...]
    pixels: NDArray[np.uint8]
    files: NDArray[np.uint8]
    surround: NDArray[np.float32]
    located: Located
    unreadable: dict[str, str]
    doubts: dict[str, str]
    keys: tuple[Key, ...] = ()


def surround(photograph: Photograph) -> NDArray[np.float32]:
    """The columns `SURROUND` of a photograph: size, border and vignette, colour of the rim, compression.

    The rim is the outer 6 % of each side, the corners the squares of 10 %. Darkness is the luminance,
    0 to 255, of corners or rim less that of the whole picture; contrast is the rim's standard deviation.
    """
    pixels = photograph.pixels
    height, width = pixels.shape[:2]
    rim, corner = max(1, round(0.06 * min(height, width))), max(1, round(0.1 * min(height, width)))
    sides = (pixels[:rim], pixels[-rim:], pixels[rim:-rim, :rim], pixels[rim:-rim, -rim:])
    outer = np.concatenate([side.reshape(-1, 3) for side in sides]).astype(np.float32)
    squares = np.concatenate(
        [pixels[rows, columns].reshape(-1, 3) for rows in _ends(corner) for columns in _ends(corner)]
    )
    grey = outer.mean(axis=1)
    whole = float(pixels.mean())
    return np.array(
        [
            photograph.width,
            photograph.height,
            float(squares.mean()) - whole,
            float(grey.mean()) - whole,
            float(grey.std()),
            *outer.mean(axis=0),
            photograph.quantization,
        ],
        dtype=np.float32,
    )


def _ends(length: int) -> tuple[slice, slice]:
    return slice(None, length), slice(-length, None)


def look_at(path: Path, root: Path) -> Look:
    """Read one photograph. Raises Unreadable."""
    data = read_bytes(path, root)
    photograph = read_photograph(data, enough_for=_ENOUGH, name=path.name)
    size = f"{photograph.width}x{photograph.height}|".encode()
    digest = hashlib.blake2b(size, digest_size=DIGEST)
    digest.update(np.ascontiguousarray(photograph.pixels).data)
    content = content_of(photograph.pixels)
    file = hashlib.blake2b(data, digest_size=DIGEST).digest()
    return Look(
        digest.digest(), file, surround(photograph), find_keypoints(content), pack(content), photograph.doubt
    )


class Reader:
    """Reads one partition of photographs after another, and keeps each whole or not at all.

    Parameters
    ----------
    folder
        Of the partitions.
    root
        The collection's.
    threads
        How many photographs are read at the same time.
    guarded
        Whether each is read in a process of its own.
    """

    def __init__(self, folder: Path, root: Path, threads: int, guarded: bool) -> None:
        self._folder, self._root, self._threads = folder, root, threads
        self._guarded: GuardedReaders | None = None
        self._look: Callable[[Path, Path], Look] = look_at
        if guarded:
            from dermsentry.audit.guarded_reading import GuardedReaders

            self._guarded = GuardedReaders(threads)
            self._look = self._guarded.look_at

    def __call__(self, task: tuple[int, list[Key]], advance: Advance = nobody) -> dict[str, str]:
        """Read a partition: path to reason of each photograph that cannot be read."""
        number, keys = task
        found: list[tuple[Key, Look]] = []
        unreadable: dict[str, str] = {}
        reading = map_ordered(self._read, keys, threads=self._threads, ahead=16 * self._threads)
        for key, seen in zip(keys, reading, strict=True):
            advance(1)
            if isinstance(seen, Unreadable):
                unreadable[key[0]] = seen.reason
            else:
                found.append((key, seen))
        if found:
            write_partition(partition_path(self._folder, number), found)
        return unreadable

    def close(self) -> None:
        """End the processes that read."""
        if self._guarded is not None:
            self._guarded.close()

    def _read(self, key: Key) -> Look | Unreadable:
        try:
            return self._look(self._root / key[0], self._root)
        except Unreadable as unreadable:
            return unreadable


def worth_guarding(count: int) -> bool:
    """Whether so many photographs are read in processes of their own, whose limits are Linux's.

    A process takes as long to begin as a hundred photographs take to be read.
    """
    return sys.platform == "linux" and count > PARTITION


def survey_collection(collection: Collection, place: Workplace) -> Survey:
    """Read every photograph once, and keep what was read at a place.

    An unreadable one is listed, not raised. What the place has kept of a file with the same path, size and
    time of change is not read again, so a survey that was ended is resumed. On a cluster, and where more than
    500 are read, each is read in a guarded process: a file that ends or holds its decoder is unreadable.

    Raises
    ------
    InputError
        A partition is damaged.
    OutputError
        A partition cannot be written, or the cluster failed.
    """
    folder = place.folder / LOOKS
    keys = [key_of(name, path) for name, path in zip(collection.table["path"], collection.paths, strict=True)]
    kept = _Kept(folder)
    fresh = [key for key in keys if kept.find(key) is None]
    first = max(partition_numbers(folder), default=0) + 1
    parts = [fresh[start : start + PARTITION] for start in range(0, len(fresh), PARTITION)]
    # Where few are read, the actors of a cluster share them.
    if place.engine == "ray" and fresh:
        size = max(1, min(PARTITION, -(-len(fresh) // (4 * (place.threads or 4)))))
        parts = [fresh[start : start + size] for start in range(0, len(fresh), size)]
    unreadable: dict[str, str] = {}
    guarded = place.engine == "ray" or worth_guarding(len(fresh))
    arguments = (folder, collection.root.absolute(), place.here, guarded)
    sizes = [len(part) for part in parts]
    for found in place.each(
        "Reading", Reader, arguments, list(enumerate(parts, first)), sizes, len(keys) - len(fresh)
    ):
        unreadable |= found
    kept = _Kept(folder)
    kept.remove_superseded()
    found_at = [(key, at) for key in keys if (at := kept.find(key)) is not None]
    rows = np.array([at for _, at in found_at], np.int64)
    return Survey(
        paths=tuple(key[0] for key, _ in found_at),
        pixels=kept.pixels[rows],
        files=kept.files[rows],
        surround=kept.surround[rows],
        located=kept.located[rows],
        unreadable={name: unreadable[name] for name, _, _ in keys if name in unreadable},
        doubts={key[0]: kept.doubts[key[0]] for key, _ in found_at if key[0] in kept.doubts},
        keys=tuple(keys),
    )


class _Kept:
    """What all partitions of a folder know of each photograph, the newest where several know it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._place: dict[str, int] = {}
        self.doubts: dict[str, str] = {}
        stamps, pixels, data, around, located = [], [], [], [], []
        count = 0
        for number in partition_numbers(folder):
            partition = read_partition(partition_path(folder, number))
            if partition is None:
                continue
            rows = partition.rows
            self._place |= zip(partition.names, range(count, count + len(rows)), strict=True)
            for name in partition.names:
                self.doubts.pop(name, None)
            self.doubts |= partition.doubts
            stamps.append(np.stack([rows["size"], rows["changed"]], axis=1))
            pixels.append(rows["pixels"].copy())
            data.append(rows["file"].copy())
            around.append(rows["surround"].copy())
            located.append(np.stack([np.full(len(rows), number), np.arange(len(rows))], axis=1))
            count += len(rows)
        self._stamps = np.concatenate([np.zeros((0, 2), np.int64), *stamps])
        self.pixels, self.files = (
            np.concatenate([np.zeros((0, DIGEST), np.uint8), *own]) for own in (pixels, data)
        )
        self.surround = np.concatenate([np.zeros((0, len(SURROUND)), np.float32), *around])
        self.located = np.concatenate([np.zeros((0, 2), np.int64), *located]).astype(np.int32)

    def find(self, key: Key) -> int | None:
        """Where a photograph is that has not changed since; None where it is not kept."""
        at = self._place.get(key[0])
        if at is None or tuple(self._stamps[at].tolist()) != key[1:]:
            return None
        return at

    def remove_superseded(self) -> None:
        """Remove the partitions whose photographs were all read again since."""
        used = set(self.located[list(self._place.values()), 0].tolist())
        for number in set(self.located[:, 0].tolist()) - used:
            partition_path(self._folder, number).unlink(missing_ok=True)
