"""A photograph at its original size, cut into tiles of several sizes, as viewers of large pictures take them.

The tiles are one ZIP file, not compressed again: `LEVEL/COLUMN_ROW.jpg`. The last level is the photograph
itself, each one before it half as large, the first one tile.
"""

from __future__ import annotations

import io
import zipfile

from PIL import Image

from dermsentry.images import Pixels

TILE = 512
"""The side of a tile, in pixels."""
MOST_BYTES = 60 * 1024**2
_QUALITIES = (95, 88, 75)  # the first with which the tiles fit


def levels(width: int, height: int) -> int:
    """How many levels a photograph has."""
    count = 1
    while max(width, height) > TILE:
        width, height, count = (width + 1) // 2, (height + 1) // 2, count + 1
    return count


def draw_tiles(pixels: Pixels) -> bytes:
    """The tiles of a photograph (h, w, 3), uint8, as the bytes of a ZIP file."""
    for quality in _QUALITIES:
        drawn = _draw(pixels, quality)
        if len(drawn) <= MOST_BYTES:
            break
    return drawn


def _draw(pixels: Pixels, quality: int) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for level in reversed(range(levels(*image.size))):
            for top in range(0, image.height, TILE):
                for left in range(0, image.width, TILE):
                    box = (left, top, min(left + TILE, image.width), min(top + TILE, image.height))
                    tile = io.BytesIO()
                    image.crop(box).save(tile, "JPEG", quality=quality, subsampling=0)
                    file.writestr(f"{level}/{left // TILE}_{top // TILE}.jpg", tile.getvalue())
            if level:
                size = ((image.width + 1) // 2, (image.height + 1) // 2)
                image = image.resize(size, Image.Resampling.BOX)
    return buffer.getvalue()
