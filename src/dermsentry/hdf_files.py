"""Photographs inside an HDF5 file, under the path of the file and, below it, the photograph's own name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO

SUFFIXES = (".hdf5", ".h5")
LINK = "a link in an archive, which is not followed"


def is_member(path: Path) -> bool:
    """Whether a path leads into an HDF5 file."""
    return path.parent.suffix.lower() in SUFFIXES and path.parent.is_file()


def read_member(path: Path) -> bytes:
    """The bytes of a photograph in an HDF5 file.

    Raises OSError where the file cannot be read, and FileNotFoundError where it holds no such photograph.
    """
    try:
        found = _opened(path.parent)[path.name]
    except KeyError:
        raise FileNotFoundError(2, "the HDF5 file holds no such photograph", str(path)) from None
    return _bytes(found)


def byte_members(file: BinaryIO) -> Iterator[tuple[str, int, Callable[[], bytes], str]]:
    """Each dataset of bytes in an open HDF5 file: its name, its size, what reads it, and why it is not read.

    Links that lead elsewhere, and data that is kept in other files, are not followed.
    """
    import h5py

    with h5py.File(file, "r") as opened:
        waiting, seen = [("", opened)], {_place(opened)}
        while waiting:
            above, group = waiting.pop()
            for key in group:
                name = f"{above}{key}"
                if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                    yield name, 0, bytes, LINK
                    continue
                found = group[key]
                if isinstance(found, h5py.Group):
                    if _place(found) not in seen:  # a group may hold itself
                        seen.add(_place(found))
                        waiting.append((f"{name}/", found))
                elif isinstance(found, h5py.Dataset) and _is_bytes(found):
                    elsewhere = found.is_virtual or found.external
                    yield name, found.nbytes, partial(_bytes, found), LINK if elsewhere else ""


def _place(group: Any) -> tuple[int, int]:
    """Which group it is, by whatever name."""
    import h5py

    found = h5py.h5o.get_info(group.id)
    return found.fileno, found.addr


def _is_bytes(dataset: Any) -> bool:
    """Whether a dataset is the bytes of one file: opaque, a string of bytes, or a list of bytes."""
    if dataset.shape == ():
        return bool(dataset.dtype.kind in "VSO")
    return bool(dataset.ndim == 1 and dataset.dtype == "u1")


def _bytes(dataset: Any) -> bytes:
    return bytes(dataset[()])


@lru_cache(maxsize=8)
def _opened(path: Path) -> Any:
    import h5py

    return h5py.File(path, "r")
