"""What says nothing about whether an image shows a lesion: frame, coarseness, colour, JPEG, hair.

Images of lesions and images of anything else are disturbed alike before the no-lesion score is fitted, so
that a camera which the model has never seen is not taken for something else: without this a fifth of
the photographs of another hospital was refused (docs/why.md).
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from dermsentry.evaluation.robustness.corruptions import CORRUPTIONS
from dermsentry.images import Pixels
from dermsentry.training.augmentation import StrongAugmentation, augment_strongly

AUGMENTATION = StrongAugmentation(
    zoom=(0.6, 1.6),
    light=0.25,
    gain=0.15,
    saturation=0.3,
    gamma=0.3,
    coarse_share=0.0,
    corners_share=0.0,
    noise_share=0.15,
)
BATCH = 16
FRAMED, ROUND = 0.5, 0.6
"""The share of images in a black frame, and of those the share in a round one; the others have bars."""
COARSE, JPEG = 0.5, 0.5
"""The share of images with fewer pixels, and of those the share that was stored as JPEG then."""
HAIRY = 0.3
LEAST = 0.25
"""Of its side: the fewest pixels that a coarse image is left with."""


def disturbed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Each image disturbed at random, (N, S, S, 3) uint8 in and out."""
    size = pixels.shape[1]
    parts = (
        augment_strongly(pixels[i : i + BATCH], size, rng, AUGMENTATION) for i in range(0, len(pixels), BATCH)
    )
    return np.stack([_coarser(_framed(_hairy(image, rng), rng), rng) for part in parts for image in part])


def _hairy(image: Pixels, rng: np.random.Generator) -> Pixels:
    if rng.random() >= HAIRY:
        return image
    return CORRUPTIONS["hair"](image, int(rng.integers(3, 6)), rng)


def _framed(image: Pixels, rng: np.random.Generator) -> Pixels:
    if rng.random() >= FRAMED:
        return image
    return _in_a_circle(image, rng) if rng.random() < ROUND else _between_bars(image, rng)


def _in_a_circle(image: Pixels, rng: np.random.Generator) -> Pixels:
    """In the round field of a dermatoscope; a small one holds the whole image."""
    size = len(image)
    radius, soft = rng.uniform(0.3, 0.62) * size, rng.uniform(0.005, 0.05) * size
    side = min(round(2 * radius), size)
    top, left = np.clip((size - side) / 2 + rng.uniform(-0.05, 0.05, 2) * size, 0, size - side).astype(int)
    field = np.zeros_like(image)
    field[top : top + side, left : left + side] = _resized(image, side, side)
    places = np.arange(size)
    down, right = places[:, None] - (top + side / 2), places[None, :] - (left + side / 2)
    lit = np.clip((radius - np.hypot(down, right)) / soft, 0, 1)[:, :, None]
    return np.asarray(field * lit + rng.uniform(0, 12) * (1 - lit), dtype=np.uint8)


def _between_bars(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Squeezed between black bars, above and below or at the sides."""
    size = len(image)
    inner = round(size * rng.uniform(0.55, 0.95))
    start = (size - inner) // 2
    field = np.zeros_like(image)
    field[start : start + inner] = _resized(image, size, inner)
    return field if rng.random() < 0.5 else np.ascontiguousarray(field.transpose(1, 0, 2))


def _coarser(image: Pixels, rng: np.random.Generator) -> Pixels:
    if rng.random() >= COARSE:
        return image
    size = len(image)
    side = max(8, round(size * np.exp(rng.uniform(np.log(LEAST), np.log(0.8)))))
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
    if rng.random() < JPEG:
        file = io.BytesIO()
        small.save(file, "JPEG", quality=int(rng.integers(40, 96)))
        small = Image.open(file)
    return _resized(np.asarray(small), size, size)


def _resized(image: Pixels, width: int, height: int) -> Pixels:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
