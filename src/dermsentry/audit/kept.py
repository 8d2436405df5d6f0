"""What a survey has read of each file, kept in a NumPy archive without pickles, so that it is read once."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dermsentry.audit.likeness.keypoints import Features, Keypoints
from dermsentry.errors import InputError
from dermsentry.files import whole_file
from dermsentry.hdf_files import is_member

_SCHEMA = 1  # raised whenever what is read of a photograph changes; another schema's file is made again

Key = tuple[str, int, int]
"""A file's path in its collection, its size in bytes and when it was changed, in nanoseconds."""


@dataclass(frozen=True)
class Look:
    """What one reading of a photograph gives; the fields are rows of a `Survey`."""

    pixels: bytes
    surround: NDArray[np.float32]
    keypoints: Keypoints
    content: bytes | memoryview
    doubt: str


def key_of(name: str, path: Path) -> Key:
    """The key of a file; of one that is missing, a key that is never kept.

    A photograph in an HDF5 file is as new as that file.
    """
    try:
        status = (path.parent if is_member(path) else path).stat()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return name, -1, -1
    return name, status.st_size, status.st_mtime_ns


def read_kept(path: Path) -> dict[Key, Look]:
    """What was kept of each file; nothing if there is no such file yet, or one of another version.

    Raises
    ------
    InputError
        The file is damaged.
    """
    if not path.exists():
        return {}
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            if int(archive["schema"]) != _SCHEMA:
                return {}
            names, doubts = json.loads(archive["names"].tobytes())
            stamps, pixels, surround = archive["stamps"], archive["pixels"], archive["surround"]
            features = Features(archive["places"], archive["descriptors"], archive["counts"])
            contents, ends = archive["contents"].data, archive["ends"].tolist()
        rows = range(len(names))
        return {
            (names[i], int(stamps[i, 0]), int(stamps[i, 1])): Look(
                pixels[i].tobytes(),
                surround[i],
                features.of(i),
                contents[ends[i] : ends[i + 1]],
                doubts.get(names[i], ""),
            )
            for i in rows
        }
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"Cannot read the index {path} ({str(error) or type(error).__name__}); "
            "delete it, and it is made again."
        ) from error


def write_kept(
    path: Path,
    keys: Sequence[Key],
    pixels: Sequence[bytes],
    surround: NDArray[np.float32],
    features: Features,
    contents: Sequence[bytes | memoryview],
    doubts: Mapping[str, str],
) -> None:
    """Keep the rows of a survey, whole or not at all. Raises OutputError."""
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            schema=np.int64(_SCHEMA),
            names=np.frombuffer(json.dumps([[name for name, _, _ in keys], doubts]).encode(), np.uint8),
            stamps=np.array([key[1:] for key in keys], np.int64).reshape(-1, 2),
            pixels=np.frombuffer(b"".join(pixels), np.uint8).reshape(len(keys), -1),
            surround=surround,
            places=features.places,
            descriptors=features.descriptors,
            counts=features.counts,
            contents=np.frombuffer(b"".join(contents), np.uint8),
            ends=np.cumsum([0, *map(len, contents)]),
        )
