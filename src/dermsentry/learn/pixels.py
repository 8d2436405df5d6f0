"""Photographs decoded once, kept on disk as they go into a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dermsentry.collection import Collection
from dermsentry.errors import InputError
from dermsentry.files import whole_file, write_json
from dermsentry.images import Aspect, Unreadable, read_many
from dermsentry.progress import track


@dataclass(frozen=True)
class DecodedPhotographs:
    """Every photograph of a collection at one size, in its table's order.

    `pixels` is (N, size, size, 3) uint8, mapped from disk; an unreadable photograph's row is black and
    stands in `unreadable` with its reason.
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
    from dermsentry.files import read_json

    name = f"{collection.fingerprint()[:16]}-{size}-{aspect}"
    kept, notes = cache / f"{name}.npy", cache / f"{name}.json"
    if not (kept.is_file() and notes.is_file()):
        unreadable = _decode_into(collection, kept, size, aspect, quiet)
        write_json(notes, {str(i): reason for i, reason in unreadable.items()})
    reasons = {int(i): reason for i, reason in read_json(notes).items()}
    if len(reasons) == len(collection):
        first = next(iter(reasons.values()))
        raise InputError(
            f"Not one of {len(collection)} photographs in {collection.root} can be read; the first: {first}."
        )
    return DecodedPhotographs(np.load(kept, mmap_mode="r"), reasons, size, aspect)


def _decode_into(
    collection: Collection, kept: Path, size: int, aspect: Aspect, quiet: bool
) -> dict[int, str]:
    unreadable: dict[int, str] = {}
    with whole_file(kept) as temporary:
        shape = (len(collection), size, size, 3)
        pixels = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        decoded = read_many(collection.paths, size, aspect, root=collection.root)
        for i, result in enumerate(track(decoded, "Decoding", total=len(collection), quiet=quiet)):
            if isinstance(result, Unreadable):
                unreadable[i] = result.reason
            else:
                pixels[i] = result
        pixels.flush()
    return unreadable
