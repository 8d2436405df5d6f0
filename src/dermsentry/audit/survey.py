"""One pass over the photographs, which keeps about 10 KB of each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dermsentry.audit.kept import Key, Look, key_of, read_kept, write_kept
from dermsentry.audit.likeness.content import content_of, pack
from dermsentry.audit.likeness.keypoints import Features, find_keypoints
from dermsentry.collection import Collection
from dermsentry.images import Photograph, Unreadable, read_photograph
from dermsentry.parallel import cores, map_ordered
from dermsentry.progress import track

_ENOUGH = 512  # larger JPEGs are decoded at a reduced size: a duplicate is recognised all the same


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
    features
        The keypoints that near-identical photographs are found by.
    contents
        The grey content of each, packed, that they are compared by; see `likeness.content`.
    surround
        (n, len(SURROUND)) float32: what can be measured around the lesion, see `surround`.
    unreadable
        Path to reason, for the others.
    doubts
        Path to what is uncertain about the colours, where something is.
    """

    paths: tuple[str, ...]
    pixels: tuple[bytes, ...]
    features: Features
    contents: tuple[bytes | memoryview, ...]
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


def survey_collection(
    collection: Collection, *, index: Path | None = None, workers: int | None = None, quiet: bool = True
) -> Survey:
    """Read every photograph once, on `workers` threads (default: one per core).

    An unreadable one is listed, not raised. Memory grows by about 10 KB a photograph. What `index` has kept
    of a file with the same path, size and time of change is not read again; the file is made or renewed.

    Raises
    ------
    InputError
        `index` is damaged.
    """
    root = collection.root
    names = list(collection.table["path"])
    kept = {} if index is None else read_kept(index)
    keys = [
        key_of(name, path) if index else (name, 0, 0)
        for name, path in zip(names, collection.paths, strict=True)
    ]

    def look(path: Path) -> Look | Unreadable:
        try:
            photograph = read_photograph(path, root=root, enough_for=_ENOUGH)
        except Unreadable as unreadable:
            return unreadable
        size = f"{photograph.width}x{photograph.height}|".encode()
        digest = hashlib.blake2b(size, digest_size=16)
        digest.update(np.ascontiguousarray(photograph.pixels).data)
        content = content_of(photograph.pixels)
        return Look(
            digest.digest(), surround(photograph), find_keypoints(content), pack(content), photograph.doubt
        )

    fresh = [path for path, key in zip(collection.paths, keys, strict=True) if key not in kept]
    threads = workers or cores()
    reading = map_ordered(look, fresh, threads=threads, ahead=16 * threads)
    read = track(reading, "Reading", total=len(fresh), quiet=quiet)
    features = Features.empty(len(names))
    around = np.empty((len(names), len(SURROUND)), np.float32)
    found: list[Key] = []
    pixels: list[bytes] = []
    contents: list[bytes | memoryview] = []
    unreadable: dict[str, str] = {}
    doubts: dict[str, str] = {}
    for key in keys:
        seen = kept[key] if key in kept else next(read)
        if isinstance(seen, Unreadable):
            unreadable[key[0]] = seen.reason
            continue
        if seen.doubt:
            doubts[key[0]] = seen.doubt
        features.put(len(found), seen.keypoints)
        around[len(found)] = seen.surround
        found.append(key)
        pixels.append(seen.pixels)
        contents.append(seen.content)
    for _ in read:  # none is left; this ends the bar
        pass
    features, around = features.some(slice(len(found))), around[: len(found)]
    if index is not None and set(found) != kept.keys():
        write_kept(index, found, pixels, around, features, contents, doubts)
    paths = tuple(name for name, _, _ in found)
    return Survey(paths, tuple(pixels), features, tuple(contents), around, unreadable, doubts)
