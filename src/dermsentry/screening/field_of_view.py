"""A photograph at 64×64 pixels, and where in it the lens saw: what colours and artefacts are measured in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from dermsentry.images import Pixels

SIDE = 64
LIT, FIELD = 40, 0.12
"""Brighter places are in the field of view; rows and columns with a smaller share of them are not."""


@dataclass(frozen=True, eq=False)
class Field:
    """A photograph made small, (`SIDE`, `SIDE`, 3), and the rows and columns of it that the lens saw."""

    small: Pixels
    rows: slice
    columns: slice

    @property
    def seen(self) -> Pixels:
        """The small photograph without what the lens did not see."""
        return np.ascontiguousarray(self.small[self.rows, self.columns])


def field_of_view(pixels: Pixels | Image.Image) -> Field:
    """The part of a photograph without the black around a round lens or padding.

    All of it if not enough would be left.

    Parameters
    ----------
    pixels
        (height, width, 3) uint8, or a Pillow image of mode `RGB`.
    """
    small = to_small(pixels)
    lit = np.maximum(np.maximum(small[:, :, 0], small[:, :, 1]), small[:, :, 2]) > LIT
    rows, columns = (np.flatnonzero(np.count_nonzero(lit, axis=axis) > FIELD * SIDE) for axis in (1, 0))
    if min(len(rows), len(columns)) < 8 or min(rows[-1] - rows[0], columns[-1] - columns[0]) < SIDE // 4:
        return Field(small, slice(0, SIDE), slice(0, SIDE))
    return Field(small, slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))


def to_small(pixels: Pixels | Image.Image) -> Pixels:
    """A picture at `SIDE`×`SIDE`, by means of squares."""
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
