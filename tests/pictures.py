"""Small made-up skin pictures for tests: skin, a lesion, and the fine grain no two photographs share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter


def skin(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A lesion at a random place on textured skin, RGB; another seed gives another picture."""
    rng = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[:height, :width] / height
    place, radius = rng.uniform(0.4, 0.6, 2), rng.uniform(0.12, 0.28)
    reach = np.hypot(x - place[0] * width / height, (y - place[1]) * rng.uniform(0.8, 1.2))
    grey = rng.uniform(150, 220) - rng.uniform(60, 110) / (1 + np.exp((reach - radius) * 30))
    for side, strength in ((6, 14.0), (16, 12.0), (40, 12.0)):
        grain = Image.fromarray(rng.normal(0, strength, (side, side)).astype(np.float32))
        grey = grey + np.asarray(grain.resize(size, Image.Resampling.BICUBIC))
    tint = np.array([1.0, 0.82, 0.74]) * rng.uniform(0.95, 1.05, 3)
    pixels = np.clip(grey[:, :, None] * tint, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.6))


def save(image: Image.Image, path: Path, quality: int = 90) -> Path:
    """Save a picture, its folder made; JPEG unless the suffix says otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **({"quality": quality} if path.suffix == ".jpg" else {}))
    return path
