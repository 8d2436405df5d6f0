"""Random changes that keep a diagnosis: a lesion has no up or down, and cameras differ in light.

The strategy: one affine step (any rotation, mirroring, zoom of ±15 %, shift of ±5 %) with reflected borders,
so that no black corner gives the class away, then brightness and contrast of ±15 %. No hue: colour is a
dermoscopic criterion.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from dermsentry.images import Pixels

ZOOM = 0.15
SHIFT = 0.05
LIGHT = 0.15


def augment(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A random variant of one photograph: input and output (size, size, 3) uint8."""
    size = pixels.shape[0]
    border = math.ceil(size * ((math.sqrt(2) * (1 + ZOOM) - 1) / 2 + SHIFT)) + 1
    image = Image.fromarray(np.pad(pixels, ((border, border), (border, border), (0, 0)), mode="reflect"))
    angle = rng.uniform(0, 2 * math.pi)
    scale = 1 / rng.uniform(1 - ZOOM / (1 + ZOOM), 1 + ZOOM)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    shift = rng.uniform(-SHIFT, SHIFT, 2) * size
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    centre, target = border + (size - 1) / 2, (size - 1) / 2
    x, y = centre + shift[0], centre + shift[1]
    matrix = (
        mirror * cosine, -sine, x - mirror * cosine * target + sine * target,
        mirror * sine, cosine, y - mirror * sine * target - cosine * target,
    )  # fmt: skip
    moved = np.asarray(
        image.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    )
    brightness, contrast = 1 + rng.uniform(-LIGHT, LIGHT, 2)
    levels = np.arange(256, dtype=np.float32)
    mean = float(moved.mean())
    table = np.clip((levels - mean) * contrast + mean * brightness, 0, 255).astype(np.uint8)
    return table[moved]
