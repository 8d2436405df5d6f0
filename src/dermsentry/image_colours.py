"""Colours to sRGB, by the ICC profile that a file brings along."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

MAX_PROFILE = 4 * 1024 * 1024
"""Bytes of a profile; a printer's largest have about 3 million."""
_SAME = 2  # levels: a transform that moves no colour further than that is sRGB's own, and rounding


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """An 8-bit image as sRGB, and what is uncertain about its colours, `""` if nothing is.

    Parameters
    ----------
    image
        Of mode `L`, `RGB` or `CMYK`.
    profile
        The file's ICC profile. Without one the colours are taken for sRGB, and so are they where it is broken
        or meant for other colours, which is said.
    """
    if not profile:
        return as_rgb(image), ""
    if image.mode == "L" and profile[16:20] == b"RGB ":  # some cameras bring it along in grey too
        image = image.convert("RGB")
    try:
        if len(profile) > MAX_PROFILE:
            raise ValueError(f"{len(profile) >> 20} MiB")
        transform = _transform(profile, image.mode)
        return (as_rgb(image) if transform is None else _applied(transform, image)), ""
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        words = str(error).split("\n")[0] or type(error).__name__
        return as_rgb(image), f"its colour profile cannot be used ({words}): the colours were taken for sRGB"


def as_rgb(image: Image.Image) -> Image.Image:
    """The image in mode `RGB`; itself if it is, where Pillow's `convert` would copy it."""
    return image if image.mode == "RGB" else image.convert("RGB")


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # only where it is done in place
    return converted


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile's colours to sRGB; None where they are the same. Raises PyCMSError, OSError."""
    own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    transform = ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), mode, "RGB")
    if mode != "RGB":
        return transform
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    moved = np.asarray(_applied(transform, Image.fromarray(cube))).astype(np.int16) - cube
    return transform if np.abs(moved).max() > _SAME else None
