"""A lesion while it is drawn, and the few tools that every structure is drawn with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Array = NDArray[np.float32]
Rng = np.random.Generator

# Optical density of one unit of each pigment in red, green and blue.
DENSITY = {
    "melanin": (0.38, 0.72, 1.05),
    "blood": (0.22, 0.95, 0.72),
    "blue": (0.95, 0.72, 0.42),  # melanin deep in the skin, seen through scattering tissue
    "keratin": (0.06, 0.20, 0.55),
}


@dataclass
class Canvas:
    """A lesion while it is drawn. Arrays are (height, width); `unit` is the shorter side in pixels."""

    rng: Rng
    width: int
    height: int
    centre: tuple[float, float]
    unit: float
    radius: float
    x: Array
    y: Array
    angle: Array
    depth: Array  # 0 at the lesion's centre, 1 on its border
    inside: Array  # 1 in the lesion, 0 outside, between them across the soft border
    pigment: dict[str, Array]
    white: Array = field(init=False)

    def __post_init__(self) -> None:
        self.white = np.zeros_like(self.depth)

    def chance(self, low: float, high: float) -> float:
        """A number between two, every one as likely."""
        return float(self.rng.uniform(low, high))

    def place(self, inner: float = 0.0, outer: float = 0.85) -> tuple[float, float]:
        """A point between two depths of the lesion, in pixels."""
        theta, share = self.rng.uniform(0, 2 * np.pi), self.rng.uniform(inner, outer)
        reach = self.radius * share
        return self.centre[0] + reach * np.cos(theta), self.centre[1] + reach * np.sin(theta)


def noise(rng: Rng, width: int, height: int, cell: float) -> Array:
    """Smooth noise of about unit deviation whose spots are about `cell` pixels wide."""
    columns, rows = int(width / cell) + 3, int(height / cell) + 3
    grid = rng.standard_normal((rows, columns), dtype=np.float32)
    x, y = rng.uniform(0, 1, 2)
    box = (x, y, x + width / cell, y + height / cell)
    image = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC, box=box)
    return np.asarray(image, dtype=np.float32) * np.float32(1.3)


def density_of(amounts: Mapping[str, Array]) -> Array:
    """Optical density in red, green and blue, (height, width, 3), of the pigments' amounts."""
    per_unit = np.asarray([DENSITY[name] for name in amounts], dtype=np.float32)
    return np.asarray(np.stack(list(amounts.values()), axis=-1) @ per_unit, dtype=np.float32)


def stencil(canvas: Canvas, draw: Callable[[ImageDraw.ImageDraw], None], blur: float = 0.6) -> Array:
    """What `draw` paints in white, as shares from 0 to 1, softened by `blur` pixels."""
    image = Image.new("L", (canvas.width, canvas.height))
    draw(ImageDraw.Draw(image))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(blur)), dtype=np.float32) / np.float32(255)


def cells(canvas: Canvas, cell: float, jitter: float) -> tuple[tuple[slice, slice], Array, Array]:
    """Worley cells around the lesion: the box they fill, distance to the seam, a random number per cell.

    The seam's distance is the second nearest seed's less the nearest's, in cells (Worley, 1996).
    """
    reach = canvas.radius * 1.9
    left, top = max(0, int(canvas.centre[0] - reach)), max(0, int(canvas.centre[1] - reach))
    right = min(canvas.width, int(canvas.centre[0] + reach))
    bottom = min(canvas.height, int(canvas.centre[1] + reach))
    box = (slice(top, bottom), slice(left, right))
    x, y = canvas.x[box] / np.float32(cell) + 2, canvas.y[box] / np.float32(cell) + 2
    shape = (int(canvas.height / cell) + 6, int(canvas.width / cell) + 6)
    seeds = (0.5 + jitter * (canvas.rng.random((2, *shape), dtype=np.float32) - 0.5)).astype(np.float32)
    shade = canvas.rng.random(shape, dtype=np.float32)
    row, column = y.astype(np.int32), x.astype(np.int32)
    nearest = np.full(x.shape, 9.0, np.float32)
    second = nearest.copy()
    tone = np.zeros_like(nearest)
    for down in (-1, 0, 1):
        for right_by in (-1, 0, 1):
            r, c = row + down, column + right_by
            aside = seeds[0][r, c] + c.astype(np.float32) - x
            below = seeds[1][r, c] + r.astype(np.float32) - y
            distance = aside * aside + below * below
            closer = distance < nearest
            second = np.where(closer, nearest, np.minimum(second, distance))
            tone = np.where(closer, shade[r, c], tone)
            nearest = np.where(closer, distance, nearest)
    return box, np.sqrt(second) - np.sqrt(nearest), tone
