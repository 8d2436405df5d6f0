"""What a bundle learned from, as hashes: enough to recognise a photograph or lesion, too little to show one.

Beside the network is `learned_from.npz`, 26 bytes for each photograph at most; the card has its SHA-256.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from dermsentry.errors import BundleError

ID_BYTES = 6
"""Of each id's SHA-256: two sets of 10,000 ids share one by chance in one of three million cases."""

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class LearnedFrom:
    """Sorted hashes, each once: of image ids, lesions and patients, and perceptual ones of the images."""

    images: Hashes
    lesions: Hashes
    patients: Hashes
    pictures: Hashes

    def joined(self, other: LearnedFrom) -> LearnedFrom:
        """What either learned from."""
        pairs = ((getattr(self, own.name), getattr(other, own.name)) for own in fields(self))
        return LearnedFrom(*(np.union1d(*pair) for pair in pairs))

    def to_bytes(self) -> bytes:
        """The file's content; the same hashes give the same bytes."""
        whole = {own.name: getattr(self, own.name).astype(">u8").view(np.uint8) for own in fields(self)}
        first = {name: 0 if name == "pictures" else 8 - ID_BYTES for name in whole}
        buffer = io.BytesIO()
        np.savez(buffer, **{name: rows.reshape(-1, 8)[:, first[name] :] for name, rows in whole.items()})
        return buffer.getvalue()


def read_learned_from(data: bytes, where: str) -> LearnedFrom:
    """Read what `LearnedFrom.to_bytes` gave. Raises BundleError."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as saved:
            return LearnedFrom(*(_numbers(saved[own.name]) for own in fields(LearnedFrom)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"{where} holds no hashes ({error}); get the bundle again.") from error


def _numbers(rows: NDArray[np.uint8]) -> Hashes:
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] not in (ID_BYTES, 8):
        raise ValueError(f"an array of {rows.dtype} and shape {rows.shape}")
    whole = np.zeros((len(rows), 8), np.uint8)
    whole[:, 8 - rows.shape[1] :] = rows
    return whole.view(">u8").ravel().astype(np.uint64)


def hashed(keys: Iterable[str]) -> Hashes:
    """A number of `ID_BYTES` bytes for each key, in their order."""
    digests = (hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest() for key in keys)
    return np.array([int.from_bytes(digest[:ID_BYTES], "big") for digest in digests], dtype=np.uint64)
