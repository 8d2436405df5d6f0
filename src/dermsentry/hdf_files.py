"""Photographs inside an HDF5 file, under the path of the file and, below it, the photograph's own name."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

SUFFIXES = (".hdf5", ".h5")


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
    return bytes(found[()])


@lru_cache(maxsize=8)
def _opened(path: Path) -> Any:
    import h5py

    return h5py.File(path, "r")
