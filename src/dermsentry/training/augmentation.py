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
    angle = rng.uniform(0, 2 * math.pi)
    zoom = rng.uniform(1 / (1 + ZOOM), 1 + ZOOM)
    mirrored = bool(rng.random() < 0.5)
    right, down = rng.uniform(-SHIFT, SHIFT, 2)
    brightness, contrast = 1 + rng.uniform(-LIGHT, LIGHT, 2)
    moved = move(pixels, angle=angle, zoom=zoom, mirrored=mirrored, shift=(right, down))
    return relight(moved, brightness=brightness, contrast=contrast)


def move(pixels: Pixels, *, angle: float, zoom: float, mirrored: bool, shift: tuple[float, float]) -> Pixels:
    """Mirror, turn by `angle` (radians), enlarge `zoom` times about a point `shift` sides off the centre.

    Input and output (size, size, 3) uint8; bilinear. What comes in from outside is the photograph reflected,
    for `zoom` and `shift` in the ranges of `augment`.
    """
    size = pixels.shape[0]
    border = math.ceil(size * ((math.sqrt(2) * (1 + ZOOM) - 1) / 2 + SHIFT)) + 1
    image = Image.fromarray(np.pad(pixels, ((border, border), (border, border), (0, 0)), mode="reflect"))
    cosine, sine = math.cos(angle) / zoom, math.sin(angle) / zoom
    across = -1.0 if mirrored else 1.0
    # Pillow asks where in the input each place of the output comes from, in units of pixels' corners.
    middle = size / 2
    x, y = border + middle + shift[0] * size, border + middle + shift[1] * size
    matrix = (
        *(across * cosine, -sine, x - across * cosine * middle + sine * middle),
        *(across * sine, cosine, y - across * sine * middle - cosine * middle),
    )
    return np.asarray(
        image.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    )


def relight(pixels: Pixels, *, brightness: float, contrast: float) -> Pixels:
    """Multiply the mean by `brightness` and what differs from it by `contrast`, cut off at 0 and 255."""
    mean = float(pixels.mean())
    levels = (np.arange(256) - mean) * contrast + mean * brightness
    table: Pixels = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return table.take(pixels)
