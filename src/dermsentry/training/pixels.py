"""Photographs decoded once, kept on disk as they go into a network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dermsentry.collection import Collection
from dermsentry.errors import InputError
from dermsentry.files import fingerprint, read_json, whole_file, write_json
from dermsentry.images import Aspect, Unreadable, read_many
from dermsentry.progress import track


@dataclass(frozen=True)
class DecodedPhotographs:
    """Every photograph of a collection at one size, in its table's order.

    `pixels` is (N, size, size, 3) uint8, mapped from disk; the row of an unreadable photograph is
    black, and `unreadable` has its reason.
    """

    pixels: NDArray[np.uint8]
    unreadable: dict[int, str]
    size: int
    aspect: Aspect


def decode(
    collection: Collection, cache: Path, *, size: int = 180, aspect: Aspect = "squash", quiet: bool = True
) -> DecodedPhotographs:
    """Decode a collection into `cache`, or find it there from last time.

    Raises
    ------
    InputError
        Not one photograph can be read.
    OutputError
        The cache cannot be written, for example because the disk is full.
    """
    name = f"{_state(collection)[:16]}-{size}-{aspect}"
    kept, notes = cache / f"{name}.npy", cache / f"{name}.json"
    decoded = _kept(kept, notes, (len(collection), size, size, 3), aspect)
    if decoded is None:
        unreadable = _decode_into(collection, kept, size, aspect, quiet)
        write_json(notes, {str(i): reason for i, reason in unreadable.items()})
        decoded = DecodedPhotographs(np.load(kept, mmap_mode="r"), unreadable, size, aspect)
    if len(decoded.unreadable) == len(collection):
        first = next(iter(decoded.unreadable.values()))
        raise InputError(
            f"Not one of {len(collection)} photographs in {collection.root} can be read; the first: {first}."
        )
    return decoded


def digest(pixels: NDArray[np.uint8]) -> str:
    """Hexadecimal SHA-256 of pixels, (N, ...), read a little at a time."""
    found = hashlib.sha256(str(pixels.shape).encode())
    for start in range(0, len(pixels), 256):
        found.update(np.ascontiguousarray(pixels[start : start + 256]).data)
    return found.hexdigest()


def _state(collection: Collection) -> str:
    """The collection's fingerprint, and when its files last changed: new pixels may have the old size."""
    times = [str(path.stat().st_mtime_ns) if path.is_file() else "" for path in collection.paths]
    return fingerprint([collection.fingerprint(), *times])


def _kept(kept: Path, notes: Path, shape: tuple[int, ...], aspect: Aspect) -> DecodedPhotographs | None:
    """What is in the cache; None where it is not there or not whole."""
    try:
        pixels = np.load(kept, mmap_mode="r")
        reasons = {int(i): reason for i, reason in read_json(notes).items()}
    except (OSError, ValueError, EOFError, AttributeError, InputError):
        return None
    whole = pixels.shape == shape and pixels.dtype == np.uint8
    return DecodedPhotographs(pixels, reasons, shape[1], aspect) if whole else None


def _decode_into(
    collection: Collection, kept: Path, size: int, aspect: Aspect, quiet: bool
) -> dict[int, str]:
    unreadable: dict[int, str] = {}
    shape = (len(collection), size, size, 3)
    black = bytes(size * size * 3)
    # Written, not mapped: on a full disk a write is an error, a touched page ends the process.
    with whole_file(kept) as temporary, temporary.open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, {"descr": "|u1", "fortran_order": False, "shape": shape})
        decoded = read_many(collection.paths, size, aspect, root=collection.root)
        for i, result in enumerate(track(decoded, "Decoding", total=len(collection), quiet=quiet)):
            if isinstance(result, Unreadable):
                unreadable[i] = result.reason
                handle.write(black)
            else:
                handle.write(result.tobytes())
    return unreadable
