"""One pass over the photographs, which keeps about 1.2 KB of each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermsentry.collection import Collection
from dermsentry.images import Photograph, Unreadable, read_photograph
from dermsentry.parallel import cores, map_ordered
from dermsentry.progress import track

THUMB = 32
"""Side of the grey thumbnail that duplicates are recognised by."""

_ENOUGH = 512  # larger JPEGs are decoded at a reduced size: a duplicate is recognised all the same

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Survey:
    """What one pass found, a row per readable photograph, in the collection's order.

    Attributes
    ----------
    paths
        As in the collection's table.
    pixels
        A digest of size and decoded pixels; equal digests are the same picture. A JPEG much larger than
        512 pixels is compared at the reduced size it was decoded at.
    thumbs
        (n, 32, 32) uint8: luminance, squashed to a square.
    surround
        (n, len(SURROUND)) float32: what can be measured around the lesion, see `surround`.
    unreadable
        Path to reason, for the others.
    doubts
        Path to what is uncertain about the colours, where something is.
    """

    paths: tuple[str, ...]
    pixels: tuple[bytes, ...]
    thumbs: NDArray[np.uint8]
    surround: NDArray[np.float32]
    unreadable: dict[str, str]
    doubts: dict[str, str]


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


def thumbnail(photograph: Photograph, side: int = THUMB) -> NDArray[np.uint8]:
    """The luminance of a photograph squashed to (side, side), uint8; size and aspect hardly matter."""
    image = Image.fromarray(photograph.pixels).convert("L")
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))


def thumbnails(root: Path, paths: Sequence[str], side: int, workers: int | None = None) -> NDArray[np.uint8]:
    """Read photographs again for thumbnails (n, side, side); one that has become unreadable is all grey."""

    def look(path: str) -> NDArray[np.uint8]:
        try:
            return thumbnail(read_photograph(root / path, root=root, enough_for=_ENOUGH), side)
        except Unreadable:
            return np.full((side, side), 128, np.uint8)

    return np.stack(list(_read(look, paths, workers)))


def survey_collection(collection: Collection, *, workers: int | None = None, quiet: bool = True) -> Survey:
    """Read every photograph once, on `workers` threads (default: one per core).

    An unreadable one is listed, not raised. Memory grows by about 1.2 KB a photograph.
    """
    root = collection.root

    def look(path: Path) -> tuple[bytes, NDArray[np.uint8], NDArray[np.float32], str] | Unreadable:
        try:
            photograph = read_photograph(path, root=root, enough_for=_ENOUGH)
        except Unreadable as unreadable:
            return unreadable
        size = f"{photograph.width}x{photograph.height}|".encode()
        digest = hashlib.blake2b(size, digest_size=16)
        digest.update(np.ascontiguousarray(photograph.pixels).data)
        return digest.digest(), thumbnail(photograph), surround(photograph), photograph.doubt

    names = list(collection.table["path"])
    thumbs = np.empty((len(names), THUMB, THUMB), np.uint8)
    around = np.empty((len(names), len(SURROUND)), np.float32)
    paths: list[str] = []
    pixels: list[bytes] = []
    unreadable: dict[str, str] = {}
    doubts: dict[str, str] = {}
    found = track(_read(look, collection.paths, workers), "Reading", total=len(names), quiet=quiet)
    for name, result in zip(names, found, strict=True):
        if isinstance(result, Unreadable):
            unreadable[name] = result.reason
            continue
        digest, thumbs[len(paths)], around[len(paths)], doubt = result
        if doubt:
            doubts[name] = doubt
        paths.append(name)
        pixels.append(digest)
    return Survey(tuple(paths), tuple(pixels), thumbs[: len(paths)], around[: len(paths)], unreadable, doubts)


def _read(look: Callable[[Item], Result], items: Iterable[Item], workers: int | None) -> Iterator[Result]:
    threads = workers or cores()
    return map_ordered(look, items, threads=threads, ahead=16 * threads)
