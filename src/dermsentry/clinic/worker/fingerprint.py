"""What a photograph is recognised by, as bytes: its keypoints and its grey content, about 15 KB.

It is made in the guarded process, kept in the database, and decoded by no decoder of pictures.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dermsentry.audit.likeness.content import Content
    from dermsentry.audit.likeness.keypoints import Keypoints
    from dermsentry.images import Pixels

_HEAD = struct.Struct("<BBBB")  # schema, keypoints, height, width
_SCHEMA = 1
_PLACE, _DESCRIPTOR = 16, 128  # bytes of a keypoint
_MOST, _SIDE = 40, 128  # of `likeness.keypoints` and `likeness.content`, which bring OpenCV with them
MOST_BYTES = _HEAD.size + _MOST * (_PLACE + _DESCRIPTOR) + _SIDE * _SIDE * 9 // 8 + 1


def take_fingerprint(pixels: Pixels) -> bytes:
    """The fingerprint of a photograph (h, w, 3), uint8, not compressed."""
    from dermsentry.audit.likeness.content import content_of
    from dermsentry.audit.likeness.keypoints import find_keypoints

    content = content_of(pixels)
    found = find_keypoints(content)
    return b"".join(
        (
            _HEAD.pack(_SCHEMA, len(found.places), *content.grey.shape),
            found.places.astype("<f4").tobytes(),
            found.descriptors.tobytes(),
            content.grey.tobytes(),
            np.packbits(content.inside).tobytes(),
        )
    )


def kept(fingerprint: bytes) -> bytes:
    """The fingerprint as it is kept. Raises ValueError where it is none."""
    _read(fingerprint)
    return zlib.compress(fingerprint, 6)


def read_fingerprint(data: bytes) -> tuple[Keypoints, Content]:
    """The keypoints and the content of a fingerprint as it is kept. Raises ValueError where it is none."""
    from dermsentry.audit.likeness.content import Content
    from dermsentry.audit.likeness.keypoints import Keypoints

    try:
        places, descriptors, grey, inside = _read(zlib.decompressobj().decompress(data, MOST_BYTES + 1))
    except zlib.error as error:
        raise ValueError("no fingerprint") from error
    return Keypoints(places, descriptors), Content(grey, inside)


def _read(
    data: bytes,
) -> tuple[
    np.ndarray[tuple[int, int], np.dtype[np.float32]],
    np.ndarray[tuple[int, int], np.dtype[np.uint8]],
    np.ndarray[tuple[int, int], np.dtype[np.uint8]],
    np.ndarray[tuple[int, int], np.dtype[np.bool_]],
]:
    if len(data) < _HEAD.size:
        raise ValueError("no fingerprint")
    schema, count, height, width = _HEAD.unpack_from(data)
    pixels = height * width
    sizes = (count * _PLACE, count * _DESCRIPTOR, pixels, (pixels + 7) // 8)
    right = schema == _SCHEMA and count <= _MOST and 0 < height <= _SIDE and 0 < width <= _SIDE
    if not right or len(data) != _HEAD.size + sum(sizes):
        raise ValueError("no fingerprint")
    parts, start = [], _HEAD.size
    for size in sizes:
        parts.append(data[start : start + size])
        start += size
    places = np.frombuffer(parts[0], "<f4").astype(np.float32).reshape(count, 4)
    if not (np.isfinite(places).all() and (np.abs(places) < 1e4).all() and (places[:, 2] > 0).all()):
        raise ValueError("no keypoints")
    return (
        places,
        np.frombuffer(parts[1], np.uint8).reshape(count, _DESCRIPTOR),
        np.frombuffer(parts[2], np.uint8).reshape(height, width),
        np.unpackbits(np.frombuffer(parts[3], np.uint8), count=pixels).reshape(height, width).astype(bool),
    )
