"""What was read of each photograph, in partitions, each of which is written whole or not at all.

A partition is a file of three NumPy arrays, one behind the other: a row for each photograph, their names and
doubts as JSON, and their contents. It is mapped into memory, so that what is looked at of it is all that is
read.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermsentry.audit.likeness.keypoints import MOST, Keypoints
from dermsentry.errors import InputError
from dermsentry.files import whole_file
from dermsentry.hdf_files import is_member

DIGEST = 16
"""Bytes of a digest of pixels, or of a file."""
SURROUND = (
    "width",
    "height",
    "corner darkness",
    "edge darkness",
    "rim contrast",
    "rim red",
    "rim green",
    "rim blue",
    "quantisation",
)
"""What is measured around a lesion; see `survey.surround`."""

_OPEN = 128  # partitions that are mapped at once

Key = tuple[str, int, int]
"""A file's path in its collection, its size in bytes and when it was changed, in nanoseconds."""
Rows = NDArray[Any]
"""Rows of a partition, whose fields are those of its layout."""
Located = NDArray[np.int32]
"""(n, 2): of each photograph the number of its partition, and its row in that."""


@dataclass(frozen=True)
class Layout:
    """What a partition keeps of a photograph.

    `schema` is raised whenever that changes, and a partition of another is not used; `dtype` are the fields
    of its row.
    """

    schema: int
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, schema: int, fields: Sequence[tuple[Any, ...]]) -> Layout:
        """With these fields behind what tells a file, and where its content ends."""
        return cls(schema, np.dtype([("size", "<i8"), ("changed", "<i8"), ("end", "<i8"), *fields]))


LOOK = Layout.of(
    3,
    [
        ("pixels", "u1", DIGEST),
        ("file", "u1", DIGEST),
        ("surround", "<f4", len(SURROUND)),
        ("count", "<i4"),
        ("places", "<f4", (MOST, 4)),
        ("descriptors", "u1", (MOST, 128)),
    ],
)
"""Of a `Look`."""


@dataclass(frozen=True)
class Look:
    """What one reading of a photograph gives."""

    pixels: bytes
    file: bytes
    surround: NDArray[np.float32]
    keypoints: Keypoints
    content: bytes
    doubt: str


@dataclass(frozen=True)
class Partition:
    """What was kept of some photographs; `doubts` by name."""

    names: list[str]
    rows: Rows
    contents: NDArray[np.uint8]
    doubts: dict[str, str]

    def content(self, row: int) -> memoryview:
        """The packed content of one photograph."""
        start = int(self.rows["end"][row - 1]) if row else 0
        return self.contents[start : int(self.rows["end"][row])].data


def key_of(name: str, path: Path) -> Key:
    """The key of a file; of one that is missing, a key that is never kept.

    A photograph in an HDF5 file is as new as that file.
    """
    try:
        status = (path.parent if is_member(path) else path).stat()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return name, -1, -1
    return name, status.st_size, status.st_mtime_ns


def partition_path(folder: Path, number: int) -> Path:
    """The file of a partition."""
    return folder / f"{number:06}.npy"


def partition_numbers(folder: Path) -> list[int]:
    """The numbers of the partitions in a folder, in order."""
    return sorted(int(path.stem) for path in folder.glob("*.npy") if path.stem.isdecimal())


def write_looks(path: Path, found: Sequence[tuple[Key, Look]]) -> None:
    """Keep what was read of some photographs, whole or not at all. Raises OutputError."""
    rows = np.zeros(len(found), LOOK.dtype)
    for row, (_, look) in zip(rows, found, strict=True):
        row["count"] = count = len(look.keypoints.places)
        row["pixels"], row["file"] = (np.frombuffer(own, np.uint8) for own in (look.pixels, look.file))
        row["surround"] = look.surround
        row["places"][:count], row["descriptors"][:count] = look.keypoints.places, look.keypoints.descriptors
    doubts = {name: look.doubt for (name, _, _), look in found if look.doubt}
    write_partition(path, LOOK, [key for key, _ in found], rows, doubts, [look.content for _, look in found])


def write_partition(
    path: Path,
    layout: Layout,
    keys: Sequence[Key],
    rows: Rows,
    doubts: dict[str, str],
    contents: Sequence[bytes],
) -> None:
    """Keep something of some photographs, whole or not at all; the rows are filled in. Raises OutputError."""
    rows["size"], rows["changed"] = [size for _, size, _ in keys], [changed for _, _, changed in keys]
    rows["end"] = np.cumsum([len(content) for content in contents])
    told = {"schema": layout.schema, "names": [name for name, _, _ in keys], "doubts": doubts}
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, rows)
        for data in (json.dumps(told).encode(), b"".join(contents)):
            np.save(stream, np.frombuffer(data, np.uint8))


def read_partition(path: Path, layout: Layout = LOOK) -> Partition | None:
    """A partition, mapped into memory; None of one of another version.

    Raises
    ------
    InputError
        The file is damaged.
    """
    try:
        rows, told, contents = _arrays(path)
        known = json.loads(told.tobytes())
        if known["schema"] != layout.schema:
            return None
        if rows.dtype != layout.dtype or len(known["names"]) != len(rows):
            raise ValueError("not what was written")
        return Partition(known["names"], rows, contents, known["doubts"])
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise InputError(
            f"Cannot read {path} ({str(error) or type(error).__name__}); delete it, and it is made again."
        ) from error


def _arrays(path: Path) -> Iterator[NDArray[Any]]:
    """The arrays of a file that `np.save` wrote one behind the other, without a copy."""
    with path.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        for _ in range(3):
            if np.lib.format.read_magic(stream) != (1, 0):
                raise ValueError("not what was written")
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
            yield np.frombuffer(mapped, dtype, prod(shape), stream.tell()).reshape(shape)
            stream.seek(prod(shape) * dtype.itemsize, 1)


class Looks:
    """What is kept in a folder of partitions, by the number of a partition and the row in it.

    Safe to use from several threads. At most 128 partitions are mapped at once.
    """

    def __init__(self, folder: Path, layout: Layout = LOOK) -> None:
        self.folder, self._layout = folder, layout
        self._opened, self._lock = lru_cache(_OPEN)(self._open), Lock()

    def partition(self, number: int) -> Partition:
        """A partition. Raises InputError where it is damaged."""
        # NumPy reads a header by `ast`, which two threads of Python 3.11 may not use at once.
        with self._lock:
            return self._opened(number)

    def _open(self, number: int) -> Partition:
        found = read_partition(partition_path(self.folder, number), self._layout)
        if found is None:
            raise InputError(f"{partition_path(self.folder, number)} is of another version; delete it.")
        return found

    def keypoints(self, number: int, row: int) -> Keypoints:
        """The keypoints of one photograph."""
        found = self.partition(number).rows[row]
        count = found["count"]
        return Keypoints(found["places"][:count], found["descriptors"][:count])

    def content(self, number: int, row: int) -> memoryview:
        """The packed content of one photograph, as `likeness.content.unpack` takes it."""
        return self.partition(number).content(row)

    def rows(self, located: Located) -> Rows:
        """A copy of the rows of some photographs."""
        found = np.empty(len(located), self._layout.dtype)
        for number in np.unique(located[:, 0]).tolist():
            here = located[:, 0] == number
            found[here] = self.partition(number).rows[located[here, 1]]
        return found


class Kept:
    """What all partitions of a folder know of each photograph, the newest where several know it.

    Attributes
    ----------
    columns
        Some `fields` of the layout, a row for each photograph of each partition.
    located
        (n, 2), of each row the partition and its row in that.
    doubts
        By name.
    """

    def __init__(self, folder: Path, layout: Layout, fields: Sequence[str]) -> None:
        self._folder = folder
        self._place: dict[str, int] = {}
        self.doubts: dict[str, str] = {}
        names = ("size", "changed", *fields)
        kept: dict[str, list[Rows]] = {name: [np.zeros(0, layout.dtype)[name]] for name in names}
        located = [np.zeros((0, 2), np.int32)]
        count = 0
        for number in partition_numbers(folder):
            partition = read_partition(partition_path(folder, number), layout)
            if partition is None:
                continue
            here = len(partition.rows)
            self._place |= zip(partition.names, range(count, count + here), strict=True)
            for name in partition.names:
                self.doubts.pop(name, None)
            self.doubts |= partition.doubts
            for name in names:
                kept[name].append(partition.rows[name].copy())
            located.append(np.stack([np.full(here, number), np.arange(here)], axis=1).astype(np.int32))
            count += here
        self.columns = {name: np.concatenate(own) for name, own in kept.items()}
        self.located = np.concatenate(located)

    def find(self, key: Key) -> int | None:
        """The row of a photograph that has not changed since; None where it is not kept."""
        at = self._place.get(key[0])
        if at is None or (self.columns["size"][at], self.columns["changed"][at]) != key[1:]:
            return None
        return at

    def remove_superseded(self) -> None:
        """Remove the partitions whose photographs were all read again since."""
        used = set(self.located[list(self._place.values()), 0].tolist())
        for number in set(self.located[:, 0].tolist()) - used:
            partition_path(self._folder, number).unlink(missing_ok=True)
