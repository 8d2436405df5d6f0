"""Random changes that keep a diagnosis, in two strengths: a lesion has no up or down, and cameras differ.

`augment` changes one image: one affine step (any rotation, mirroring, zoom of ±15 %, shift of ±5 %) with
reflected borders, so that no black corner gives the class away, then brightness and contrast of ±15 %. No
hue: colour is a dermoscopic criterion.

`augment_strongly` changes a batch, and is what a training on many sources needs: cameras, archives and crops
go along with diagnoses in every public set. Each change makes one of those signs worthless: rotation, zoom,
shift and aspect the crop; gains and gamma the camera's colour; a coarser image the archive's sharpness; dark
corners and painted squares the border and what was laid beside a lesion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from dermsentry.images import Pixels

Floats = NDArray[np.float32]

ZOOM = 0.15
SHIFT = 0.05
LIGHT = 0.15


def augment(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """One image changed at random: input and output (size, size, 3) uint8."""
    angle = rng.uniform(0, 2 * math.pi)
    zoom = rng.uniform(1 / (1 + ZOOM), 1 + ZOOM)
    mirrored = bool(rng.random() < 0.5)
    right, down = rng.uniform(-SHIFT, SHIFT, 2)
    brightness, contrast = 1 + rng.uniform(-LIGHT, LIGHT, 2)
    moved = move(pixels, angle=angle, zoom=zoom, mirrored=mirrored, shift=(right, down))
    return relight(moved, brightness=brightness, contrast=contrast)


def move(pixels: Pixels, *, angle: float, zoom: float, mirrored: bool, shift: tuple[float, float]) -> Pixels:
    """Mirror, turn by `angle` (radians), enlarge `zoom` times about a point `shift` sides off the centre.

    Input and output (size, size, 3) uint8; bilinear. What comes in from outside is the image reflected,
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


@dataclass(frozen=True)
class StrongAugmentation:
    """How far each change goes. `*_share` is the share of images it happens to."""

    zoom: tuple[float, float] = (0.85, 1.5)
    aspect: float = 1.35
    shift: float = 0.06
    light: float = 0.17
    gain: float = 0.06
    saturation: float = 0.2
    gamma: float = 0.2
    coarse_share: float = 0.25
    corners_share: float = 0.1
    noise_share: float = 0.2
    erased_share: float = 0.2


def augment_strongly(
    pixels: NDArray[np.uint8], size: int, rng: np.random.Generator, how: StrongAugmentation
) -> NDArray[np.uint8]:
    """A batch changed at random: (B, S, S, 3) uint8 in, (B, size, size, 3) uint8 out."""
    count, side = len(pixels), pixels.shape[1]
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.constant(pixels),
        transforms=_transforms(count, side, size, rng, how),
        output_shape=(size, size),
        interpolation="BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    )
    picture = _coarser(tf.cast(moved, tf.float32), size, rng, how)
    lit = _corners(count, size, rng, how)
    light = (how.light, how.light, how.saturation, how.gamma)
    drawn = np.stack([rng.uniform(-spread, spread, count) for spread in light]).astype(np.float32)
    gains = np.exp(rng.uniform(-how.gain, how.gain, (count, 1, 1, 3))).astype(np.float32)
    changed: NDArray[np.uint8] = _relit(picture, *drawn[..., None, None, None], gains, lit).numpy()
    _add_grain(changed, rng, how)
    _erase(changed, rng, how)
    return changed


def _transforms(
    count: int, side: int, size: int, rng: np.random.Generator, how: StrongAugmentation
) -> Floats:
    """TensorFlow's eight numbers per image that map a place of the output to one of the input, (B, 8)."""
    angle = rng.uniform(0, 2 * np.pi, count)
    least, most = np.log(how.zoom).tolist()
    zoom = np.exp(rng.uniform(least, most, count))
    stretch = np.exp(rng.uniform(-0.5, 0.5, count) * np.log(how.aspect))
    mirror = np.where(rng.random(count) < 0.5, -1.0, 1.0)
    scale = side / size / zoom
    cosine, sine = np.cos(angle), np.sin(angle)
    # Turned in the image's own frame, stretched last: a squashed frame is stretched along its sides.
    a, b = stretch * scale * cosine * mirror, -stretch * scale * sine
    c, d = scale / stretch * sine * mirror, scale / stretch * cosine
    middle_in, middle_out = (side - 1) / 2, (size - 1) / 2
    right, down = rng.uniform(-how.shift, how.shift, (2, count)) * side
    x = middle_in + right - (a + b) * middle_out
    y = middle_in + down - (c + d) * middle_out
    zero = np.zeros(count)
    return np.stack([a, b, x, c, d, y, zero, zero], axis=1).astype(np.float32)


def _coarser(picture: Any, size: int, rng: np.random.Generator, how: StrongAugmentation) -> Any:
    """Some of the batch as a camera with fewer pixels would have taken it."""
    chosen = np.flatnonzero(rng.random(picture.shape[0]) < how.coarse_share)
    side = int(size * rng.uniform(0.35, 0.8))
    if not len(chosen):
        return picture
    small = tf.image.resize(tf.gather(picture, chosen), (side, side), method="area")
    back = tf.image.resize(small, (size, size), method="bilinear")
    return tf.tensor_scatter_nd_update(picture, chosen[:, None], back)


@tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
def _relit(picture: Any, contrast: Any, light: Any, saturation: Any, gamma: Any, gains: Any, lit: Any) -> Any:
    """Contrast, brightness, saturation, each channel's gain, gamma and shadow, on values from 0 to 255."""
    mean = tf.reduce_mean(picture, axis=(1, 2), keepdims=True)
    picture = (picture - mean) * (1 + contrast) + mean * (1 + light)
    grey = tf.reduce_mean(picture, axis=-1, keepdims=True)
    picture = (grey + (picture - grey) * (1 + saturation)) * gains
    picture = (tf.clip_by_value(picture / 255, 1e-6, 1.0) ** tf.exp(gamma)) * lit
    return tf.cast(picture * 255 + 0.5, tf.uint8)


def _corners(count: int, size: int, rng: np.random.Generator, how: StrongAugmentation) -> Floats:
    """The light that the tube of a dermatoscope leaves, (B, size, size, 1) from 0 to 1."""
    lit = np.ones((count, size, size, 1), dtype=np.float32)
    across = np.arange(size) - (size - 1) / 2
    for i in np.flatnonzero(rng.random(count) < how.corners_share):
        radius, soft = rng.uniform(0.46, 0.68) * size, rng.uniform(0.01, 0.06) * size
        right, down = rng.uniform(-0.04, 0.04, 2) * size
        distance = np.hypot(across[None, :] - right, across[:, None] - down)
        lit[i, ..., 0] = np.clip((radius - distance) / soft, 0, 1)
    return lit


def _add_grain(pixels: NDArray[np.uint8], rng: np.random.Generator, how: StrongAugmentation) -> None:
    """A sensor's noise on some images, in place."""
    for i in np.flatnonzero(rng.random(len(pixels)) < how.noise_share):
        grain = rng.standard_normal(pixels.shape[1:3], dtype=np.float32)[..., None] * rng.uniform(1.5, 8)
        pixels[i] = np.clip(pixels[i] + grain, 0, 255)


def _erase(pixels: NDArray[np.uint8], rng: np.random.Generator, how: StrongAugmentation) -> None:
    """A rectangle of some images painted in one colour (Zhong et al., AAAI 2020), in place."""
    size = pixels.shape[1]
    for i in np.flatnonzero(rng.random(len(pixels)) < how.erased_share):
        height, width = (rng.uniform(0.1, 0.35, 2) * size).astype(int)
        top, left = (int(rng.integers(0, size - edge)) for edge in (height, width))
        pixels[i, top : top + height, left : left + width] = rng.integers(0, 256, 3)
