"""What of a photograph is content: bars, round frames and coloured padding around it are left out."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dermsentry.images import Pixels

SIDE = 128
"""The longer side, in pixels, at which photographs are compared."""

# The survey reads photographs on threads of its own.
cv2.setNumThreads(1)

_DARK, _LIGHT = 48, 228  # every channel below, or above: the bars and frames that devices and editors add
_PLAIN = 3  # grey levels by which padding of another colour may vary
_PADDED = 0.01  # share of the picture from which a corner of one colour is padding
_LEAST = 0.1  # share of the picture that content has, or else all of it is content
_SMALLER = 0.97  # share of the picture below which its content is enlarged
_QUALITY = 90


@dataclass(frozen=True)
class Content:
    """The grey content of a photograph, at most `SIDE` pixels wide and high, (h, w) uint8.

    `inside` (h, w) is where that is content; elsewhere `grey` continues it, so that no edge is left.
    """

    grey: NDArray[np.uint8]
    inside: NDArray[np.bool_]


@dataclass(frozen=True)
class Cut:
    """What of a photograph its content was cut from, in pixels of the photograph."""

    top: int
    left: int
    height: int
    width: int


def content_of(pixels: Pixels) -> Content:
    """The content of a photograph (h, w, 3), uint8, cut to what it covers."""
    return cut_content(pixels)[0]


def cut_content(pixels: Pixels) -> tuple[Content, Cut]:
    """The content of a photograph (h, w, 3), uint8, cut to what it covers, and where in it that is."""
    place = Cut(0, 0, *pixels.shape[:2])
    small = _resized(pixels)
    inside = _inside(small)
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    if (bottom - top) * (right - left) < _SMALLER * inside.size:
        down, across = pixels.shape[0] / small.shape[0], pixels.shape[1] / small.shape[1]
        cut = pixels[int(top * down) : int(bottom * down) + 1, int(left * across) : int(right * across) + 1]
        place = Cut(int(top * down), int(left * across), *cut.shape[:2])
        small = _resized(cut)
        inside = _inside(small)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    if inside.all():
        return Content(np.asarray(grey, np.uint8), inside), place
    # The frame's edge is blurred into the content.
    core = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1)
    if not core.any():
        core[:] = 1
    _, nearest = cv2.distanceTransformWithLabels(1 - core, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    values = np.zeros(int(nearest.max()) + 1, np.uint8)
    values[nearest[core > 0]] = grey[core > 0]
    continued = cv2.blur(values[nearest], (9, 9))
    return Content(np.where(core > 0, grey, continued).astype(np.uint8), core > 0), place


def _resized(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)


def _inside(small: Pixels) -> NDArray[np.bool_]:
    """Where there is content: all but what is dark, light or of one colour and reaches the border."""
    height, width = small.shape[:2]
    lowest, highest = small.min(axis=2), small.max(axis=2)
    around = ((highest < _DARK) | (lowest > _LIGHT)).astype(np.uint8)
    around = cv2.morphologyEx(around, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    flags = 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
    plain = (_PLAIN,) * 3
    for corner in ((0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)):
        filled = np.zeros((height + 2, width + 2), np.uint8)
        if cv2.floodFill(small, filled, corner, 0, plain, plain, flags)[0] >= _PADDED * around.size:
            around |= filled[1:-1, 1:-1]
    bordered = cv2.copyMakeBorder(around, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    labels = cv2.connectedComponents(bordered, connectivity=4)[1]
    inside = (labels != labels[0, 0])[1:-1, 1:-1]
    return inside if inside.mean() >= _LEAST else np.ones_like(inside)


def pack(content: Content) -> bytes:
    """A few kilobytes from which `unpack` makes the content again, nearly."""
    grey = bytes(cv2.imencode(".jpg", content.grey, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1])
    inside = b"" if content.inside.all() else np.packbits(content.inside).tobytes()
    return len(grey).to_bytes(4, "big") + grey + inside


def unpack(packed: bytes | memoryview) -> Content:
    """The content that `pack` was given."""
    end = 4 + int.from_bytes(packed[:4], "big")
    grey = np.asarray(cv2.imdecode(np.frombuffer(packed[4:end], np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)
    if end == len(packed):
        return Content(grey, np.ones(grey.shape, bool))
    bits = np.unpackbits(np.frombuffer(packed[end:], np.uint8), count=grey.size)
    return Content(grey, bits.reshape(grey.shape).astype(bool))
