"""Arrays in files that are written whole or not at all, and rows that are found by their bytes."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermsentry.errors import InputError
from dermsentry.files import whole_file


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array, whole or not at all. Raises OutputError."""
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)


def load_array(path: Path) -> NDArray[Any]:
    """Read an array. Raises InputError where the file is damaged."""
    with reading(path), path.open("rb") as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise InputError where a file is damaged."""
    try:
        yield
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        words = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"Cannot read {path} ({words}); delete it, and it is made again.") from error


def find_rows(wanted: NDArray[np.uint8], there: NDArray[np.uint8]) -> NDArray[np.int64]:
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


def ranges(folder: Path) -> list[tuple[int, int, Path]]:
    """The partitions of a folder by their names, `START-STOP.*`, in order: from which to before which.

    Without what was being written as a process was ended.
    """
    found = []
    for path in sorted(folder.glob("[0-9]*-[0-9]*.*")):
        start, _, stop = path.stem.partition("-")
        found.append((int(start), int(stop), path))
    return found


def range_path(folder: Path, start: int, stop: int, suffix: str) -> Path:
    """The file of a partition of a folder."""
    return folder / f"{start:09}-{stop:09}{suffix}"


def ranges_left(folder: Path, start: int, stop: int, size: int) -> list[tuple[int, int]]:
    """What the partitions of a folder leave from `start` to before `stop`, in pieces of at most `size`."""
    left = np.ones(stop, bool)
    left[:start] = False
    for first, end, _ in ranges(folder):
        left[first:end] = False
    bounds = np.flatnonzero(np.diff(left, prepend=False, append=False)).reshape(-1, 2).tolist()
    return [(at, min(at + size, end)) for first, end in bounds for at in range(first, end, size)]
