"""Where the lesion of a photograph is, as far as darkness tells: a disc, found without a network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dermsentry.images import Pixels

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Place:
    """Where a lesion is: its middle and its radius, in pixels."""

    row: float
    column: float
    radius: float


def find_lesion(pixels: Pixels) -> Place:
    """Where the lesion of a picture (size, size, 3) is: what is darker than the rim, near the middle.

    The middle of the picture, with a quarter of its side, where nothing is darker.
    """
    size = len(pixels)
    smooth = _gaussian(size, size / 40)
    red, green, blue = pixels.astype(np.float32).transpose(2, 0, 1)
    light = smooth @ ((red + green + blue) / 3) @ smooth.T
    down, across, inner, outer = _places(size)
    middle = (size - 1) / 2
    rim = float(np.median(light[outer]))
    darker = np.clip(rim - light, 0, None) * inner
    inside = darker > 0.5 * darker.max()
    if darker.max() < 5 or not inside.any():
        return Place(middle, middle, size / 4)
    radius = float(np.clip(np.sqrt(inside.sum() / np.pi), 0.08 * size, 0.35 * size))
    return Place(float(down[inside].mean()), float(across[inside].mean()), radius)


@lru_cache(maxsize=2)
def _places(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32], Mask, Mask]:
    """(size, size) each: rows, columns, where a lesion may be, and the rim around that."""
    down, across = np.mgrid[:size, :size].astype(np.float32)
    middle = (size - 1) / 2
    off = np.hypot(down - middle, across - middle) / size
    return down, across, off < 0.4, (off > 0.35) & (off < 0.5)


@lru_cache(maxsize=2)
def _gaussian(size: int, deviation: float) -> NDArray[np.float32]:
    """(size, size): smooths a column by a Gaussian, its ends mirrored. SciPy would take longer to load."""
    reach = round(4 * deviation)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    mirrored = np.pad(np.eye(size), ((reach, reach), (0, 0)), mode="symmetric")
    rows = np.lib.stride_tricks.sliding_window_view(mirrored, 2 * reach + 1, axis=0)
    return np.asarray(rows @ (weights / weights.sum()), dtype=np.float32)
