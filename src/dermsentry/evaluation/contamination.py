"""Which photographs a bundle learned from: by image id, lesion, patient, or by the look of the image.

Ids are compared as groups compare them: an image id that only counts (`IMG_0012`) says nothing, and the id of
a lesion or patient holds within its source, unless it is long enough to be a registry's (`HAM_0000118`). A
lesion is also known by its published name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from dermsentry.collection.groups import is_counter, original_id
from dermsentry.collection.table import PUBLISHED_LESION
from dermsentry.images import Pixels
from dermsentry.model.learned_from import Hashes, LearnedFrom, hashed

SIDE = 32
"""Of the grey thumbnail that a perceptual hash is made from."""
BITS = 8
"""Frequencies on each axis: 64 bits, the first of which says nothing."""
NEAR = 2
"""Bits in which two hashes of one photograph may differ; docs/why.md has how often others come as near."""

_COMPARED = 1 << 20  # pairs at once, about
_REGISTRY = re.compile(r"\d{5}")


def learned_from(table: pd.DataFrame, pictures: Iterable[Pixels]) -> LearnedFrom:
    """The hashes of the photographs in these rows of a collection's table, and of their images."""
    images, lesions, patients = (
        np.unique(hashed(key for keys in known for key in keys if key)) for known in _keys(table)
    )
    return LearnedFrom(images, lesions, patients, np.unique(perceptual_hashes(pictures)))


@dataclass(frozen=True)
class Learned:
    """Of the photographs that are evaluated, which a bundle learned from.

    `photographs` counts them, `of` all that could be read, `by_look` those that only the look of the image
    tells; `left_out` says whether they are in no figure.
    """

    photographs: int
    of: int
    by_look: int
    left_out: bool


def find_learned(
    known: LearnedFrom, table: pd.DataFrame, looks: Hashes
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows of a collection's table were learned from by an id, and by their `looks` (n,); (n,) each."""
    by_id = np.zeros(len(table), dtype=np.bool_)
    for named, hashes in zip(_keys(table), (known.images, known.lesions, known.patients), strict=True):
        for keys in named:
            by_id |= np.array([bool(key) for key in keys]) & np.isin(hashed(keys), hashes)
    return by_id, _is_near(looks, known.pictures)


def _is_near(looks: Hashes, known: Hashes) -> NDArray[np.bool_]:
    """Whether each look differs in at most `NEAR` bits from a known one.

    Then it equals that in one of `NEAR` + 1 bands of bits at least, and only such pairs are compared.
    """
    near = np.zeros(len(looks), dtype=np.bool_)
    ends = [64 * band // (NEAR + 1) for band in range(NEAR + 2)]
    for low, high in pairwise(ends):
        shift, mask = np.uint64(low), np.uint64((1 << (high - low)) - 1)
        band = (known >> shift) & mask
        order = np.argsort(band)
        band, theirs = band[order], known[order]
        left = np.flatnonzero(~near)
        first, last = (
            np.searchsorted(band, (looks[left] >> shift) & mask, side) for side in ("left", "right")
        )
        total = np.cumsum(last - first)
        blocks = np.searchsorted(total, np.arange(_COMPARED, total[-1] if len(total) else 0, _COMPARED))
        for few in np.split(np.arange(len(left)), blocks):
            counts = (last - first)[few]
            asked = np.repeat(few, counts)
            within = np.arange(len(asked)) - np.repeat(np.cumsum(counts) - counts, counts)
            distance = np.bitwise_count(looks[left[asked]] ^ theirs[first[asked] + within])
            near[left[asked[distance <= NEAR]]] = True
    return near


def _keys(table: pd.DataFrame) -> tuple[list[list[str]], list[list[str]], list[list[str]]]:
    """What names the image, the lesion and the patient of each row, in one way or two; `""`: nothing does."""
    images = ["" if is_counter(one) else original_id(one) for one in table["image_id"]]
    lesions = [_within_source(table, "lesion_id")]
    if PUBLISHED_LESION in table.columns:
        lesions.append(list(table[PUBLISHED_LESION]))
    return [images], lesions, [_within_source(table, "patient_id")]


def _within_source(table: pd.DataFrame, column: str) -> list[str]:
    def key(source: str, own: str) -> str:
        if _REGISTRY.search(own) and not is_counter(own):
            return own
        return f"{source}\0{own}" if source and own else ""

    return [key(*pair) for pair in zip(table["source"], table[column], strict=True)]


_COSINES = np.cos(np.pi * (2 * np.arange(SIDE) + 1) * np.arange(BITS)[:, None] / (2 * SIDE))


def perceptual_hashes(pictures: Iterable[Pixels]) -> Hashes:
    """A hash of each image, (n,): its 64 lowest frequencies, each above or below their median (pHash).

    Of a grey thumbnail's cosine transform; the first frequency, the mean, is left out.
    """
    found = []
    for picture in pictures:
        grey = Image.fromarray(picture).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
        spectrum = (_COSINES @ np.asarray(grey, np.float64) @ _COSINES.T).ravel()
        bits = spectrum > np.median(spectrum[1:])
        bits[0] = False
        found.append(int.from_bytes(np.packbits(bits).tobytes(), "big"))
    return np.array(found, dtype=np.uint64)
