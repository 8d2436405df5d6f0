"""One pass over the photographs, which keeps about 10 KB of each, in partitions on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dermsentry.audit.kept import DIGEST, LOOK, Key, Located, Look, write_looks
from dermsentry.audit.likeness.content import content_of, pack
from dermsentry.audit.likeness.keypoints import find_keypoints
from dermsentry.audit.reader import Reader, keys_of, read_fresh
from dermsentry.audit.workplace import Workplace
from dermsentry.collection import Collection
from dermsentry.images import Photograph, read_bytes, read_photograph

_ENOUGH = 512  # larger JPEGs are decoded at a reduced size: a duplicate is recognised all the same
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


class Surveyor(Reader[Look]):
    """Reads photographs, and keeps a `Look` of each."""

    def look_at(self, path: Path) -> Look:
        """What one reading of a photograph gives. Raises Unreadable."""
        read = look_at if self.readers is None else self.readers.look_at
        return read(path, self.root)

    def write(self, path: Path, found: Sequence[tuple[Key, Look]]) -> None:
        """Keep a partition."""
        write_looks(path, found)


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
    keys = keys_of(collection)
    kept, unreadable = read_fresh(
        "Reading", Surveyor, (), keys, (folder, LOOK, ("pixels", "file", "surround")), collection, place
    )
    found_at = [(key, at) for key in keys if (at := kept.find(key)) is not None]
    rows = np.array([at for _, at in found_at], np.int64)
    return Survey(
        paths=tuple(key[0] for key, _ in found_at),
        pixels=kept.columns["pixels"][rows],
        files=kept.columns["file"][rows],
        surround=kept.columns["surround"][rows],
        located=kept.located[rows],
        unreadable={name: unreadable[name] for name, _, _ in keys if name in unreadable},
        doubts={key[0]: kept.doubts[key[0]] for key, _ in found_at if key[0] in kept.doubts},
        keys=tuple(keys),
    )
