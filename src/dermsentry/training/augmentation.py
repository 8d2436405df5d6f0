"""Random changes that keep a diagnosis, in two strengths: a lesion has no up or down, and cameras differ.

`augment` changes one image: one affine step (any rotation, mirroring, zoom of ±15 %, shift of ±5 %) with
reflected borders, so that no black corner gives the class away, then brightness and contrast of ±15 %. No
hue: colour is a dermoscopic criterion.

`augment_strongly` changes a batch by more, as cameras, archives and crops differ: rotation, zoom, shift and
aspect, colours and light, sharpness, the dark corners of a dermatoscope, noise.
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
CAMERAS = 3
"""How many degrees of coarseness one batch has."""


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
    """How far each change goes. `*_share` is the share of images it happens to.

    Parameters
    ----------
    zoom, aspect, shift
        Enlarged by a factor within `zoom`, stretched by up to `aspect` along one side, moved by up to `shift`
        sides; turned by any angle, and mirrored.
    light, saturation, gamma, gain
        The largest change of brightness and contrast, of saturation, of the exponent's logarithm, and of the
        logarithm of each channel.
    colours_share
        Given the mean colour of another image of the batch, in part or whole, as if cameras were exchanged.
    coarse_share
        As a camera with fewer pixels would have taken it.
    corners_share, noise_share
        The black corners of a dermatoscope's tube; a sensor's noise.
    """

    zoom: tuple[float, float] = (0.85, 1.5)
    aspect: float = 1.35
    shift: float = 0.06
    light: float = 0.17
    saturation: float = 0.2
    gamma: float = 0.2
    gain: float = 0.06
    colours_share: float = 0.0
    coarse_share: float = 0.25
    corners_share: float = 0.1
    noise_share: float = 0.2


def augment_strongly(
    pixels: NDArray[np.uint8], size: int, rng: np.random.Generator, how: StrongAugmentation
) -> NDArray[np.uint8]:
    """A batch changed at random: (B, S, S, 3) uint8 in, (B, size, size, 3) uint8 out."""
    transforms = draw_transforms(len(pixels), pixels.shape[1], size, rng, how)
    return change_light(warp(pixels, transforms, size), rng, how)


def warp(images: Any, transforms: Floats, size: int) -> Any:
    """Images (B, S, S, C), uint8 or float32, moved to (B, size, size, C); mirrored beyond their edges."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.constant(images),
        transforms=transforms,
        output_shape=(size, size),
        interpolation="BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    )


def change_light(images: Any, rng: np.random.Generator, how: StrongAugmentation) -> NDArray[np.uint8]:
    """Sharpness, colours, light, shadows and noise of a batch changed, (B, S, S, 3) uint8 in and out."""
    count, size = images.shape[0], images.shape[1]
    picture = _coarser(tf.cast(images, tf.float32), size, rng, how)
    gains = rng.uniform(-how.gain, how.gain, (count, 3)) + _exchanged(picture, rng, how)
    lit = _shadows(count, size, rng, how)
    light = (how.light, how.light, how.saturation, how.gamma)
    drawn = np.stack([rng.uniform(-spread, spread, count) for spread in light]).astype(np.float32)
    factors = np.exp(gains)[:, None, None].astype(np.float32)
    changed: NDArray[np.uint8] = _relit(picture, *drawn[..., None, None, None], factors, lit).numpy()
    _add_grain(changed, rng, how)
    return changed


def draw_transforms(
    count: int, side: int, size: int, rng: np.random.Generator, how: StrongAugmentation
) -> Floats:
    """TensorFlow's eight numbers per image that map a place of the output to one of the input, (B, 8).

    `side` and `size` are those of the images before and after.
    """
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
    right, down = rng.uniform(-how.shift, how.shift, (2, count)) * side / np.maximum(zoom, 1)
    x = middle_in + right - (a + b) * middle_out
    y = middle_in + down - (c + d) * middle_out
    zero = np.zeros(count)
    return np.stack([a, b, x, c, d, y, zero, zero], axis=1).astype(np.float32)


def _coarser(picture: Any, size: int, rng: np.random.Generator, how: StrongAugmentation) -> Any:
    """Some of the batch as cameras with fewer pixels would have taken them."""
    chosen = rng.permutation(np.flatnonzero(rng.random(picture.shape[0]) < how.coarse_share))
    for part in np.array_split(chosen, CAMERAS):
        side = int(size * rng.uniform(0.35, 0.85))
        if len(part):
            small = tf.image.resize(tf.gather(picture, part), (side, side), method="area")
            back = tf.image.resize(small, (size, size), method="bilinear")
            picture = tf.tensor_scatter_nd_update(picture, part[:, None], back)
    return picture


def _exchanged(picture: Any, rng: np.random.Generator, how: StrongAugmentation) -> NDArray[np.float64]:
    """The logarithms of the factors that give some images the mean colour of another, (B, 3)."""
    count = picture.shape[0]
    means = np.log(np.maximum(tf.reduce_mean(picture, axis=(1, 2)).numpy(), 8.0))
    share = rng.uniform(0, 1, (count, 1)) * (rng.random((count, 1)) < how.colours_share)
    return np.asarray((means[rng.permutation(count)] - means) * share, dtype=np.float64)


@tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
def _relit(picture: Any, contrast: Any, light: Any, saturation: Any, gamma: Any, gains: Any, lit: Any) -> Any:
    """Contrast, brightness, saturation, each channel's gain, gamma and shadow, on values from 0 to 255."""
    mean = tf.reduce_mean(picture, axis=(1, 2), keepdims=True)
    picture = (picture - mean) * (1 + contrast) + mean * (1 + light)
    grey = tf.reduce_mean(picture, axis=-1, keepdims=True)
    picture = (grey + (picture - grey) * (1 + saturation)) * gains
    picture = (tf.clip_by_value(picture / 255, 1e-6, 1.0) ** tf.exp(gamma)) * lit
    return tf.cast(picture * 255 + 0.5, tf.uint8)


def _shadows(count: int, size: int, rng: np.random.Generator, how: StrongAugmentation) -> Floats:
    """The light that a dermatoscope's tube leaves, (B, size, size, 1) from 0 to 1."""
    lit = np.ones((count, size, size, 1), dtype=np.float32)
    across = np.arange(size) - (size - 1) / 2
    for i in np.flatnonzero(rng.random(count) < how.corners_share):
        radius, soft = rng.uniform(0.44, 0.68) * size, rng.uniform(0.005, 0.08) * size
        right, down = rng.uniform(-0.05, 0.05, 2) * size
        distance = np.hypot(across[None, :] - right, across[:, None] - down)
        lit[i, ..., 0] = np.clip((radius - distance) / soft, 0, 1)
    return lit


def _add_grain(pixels: NDArray[np.uint8], rng: np.random.Generator, how: StrongAugmentation) -> None:
    """A sensor's noise on some images, in place."""
    for i in np.flatnonzero(rng.random(len(pixels)) < how.noise_share):
        grain = rng.standard_normal(pixels.shape[1:3], dtype=np.float32)[..., None] * rng.uniform(1.5, 8)
        pixels[i] = np.clip(pixels[i] + grain, 0, 255)
