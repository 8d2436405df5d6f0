"""Photographs as the pages of an audit draw them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from dermsentry.images import Pixels, Unreadable, read_photograph

SIDE = 170  # pixels; as wide as a page draws a picture of a pair

Draw = Callable[[str, int], Pixels | None]
"""A photograph of the collection, by its path and so many pixels wide; None where it cannot be read."""


def small_picture(root: Path, path: str, side: int) -> Pixels | None:
    """A photograph as a page draws it, `side` pixels wide; None where it cannot be read."""
    try:
        pixels = read_photograph(root / path, root=root, enough_for=2 * side).pixels
    except Unreadable:
        return None
    height, width = pixels.shape[:2]
    size = (side, max(1, min(2 * side, round(side * height / width))))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
