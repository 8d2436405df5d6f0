"""Strong random changes of whole batches: geometry, light, sharpness and borders tell no source any more.

Cameras, archives and crops go along with diagnoses in every public set. Each change makes one of those signs
worthless: turns, zoom, shift and aspect the crop; gains and gamma the camera's colour; a coarser picture the
archive's sharpness; dark corners and painted squares the border and what was laid beside a lesion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Variation:
    """How far each change goes. `*_share` is the share of photographs it happens to."""

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


def vary(pixels: NDArray[np.uint8], size: int, rng: np.random.Generator, how: Variation) -> NDArray[np.uint8]:
    """Random variants of a batch: (B, S, S, 3) uint8 in, (B, size, size, 3) uint8 out."""
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


def _transforms(count: int, side: int, size: int, rng: np.random.Generator, how: Variation) -> Floats:
    """The eight numbers per photograph that TensorFlow maps an output's place to an input's by, (B, 8)."""
    angle = rng.uniform(0, 2 * np.pi, count)
    least, most = np.log(how.zoom).tolist()
    zoom = np.exp(rng.uniform(least, most, count))
    stretch = np.exp(rng.uniform(-0.5, 0.5, count) * np.log(how.aspect))
    mirror = np.where(rng.random(count) < 0.5, -1.0, 1.0)
    scale = side / size / zoom
    cosine, sine = np.cos(angle), np.sin(angle)
    # Turned in the photograph's own frame, stretched last: a squashed frame is stretched along its sides.
    a, b = stretch * scale * cosine * mirror, -stretch * scale * sine
    c, d = scale / stretch * sine * mirror, scale / stretch * cosine
    middle_in, middle_out = (side - 1) / 2, (size - 1) / 2
    right, down = rng.uniform(-how.shift, how.shift, (2, count)) * side
    x = middle_in + right - (a + b) * middle_out
    y = middle_in + down - (c + d) * middle_out
    zero = np.zeros(count)
    return np.stack([a, b, x, c, d, y, zero, zero], axis=1).astype(np.float32)


def _coarser(picture: Any, size: int, rng: np.random.Generator, how: Variation) -> Any:
    """Some of the batch as a camera of fewer pixels would have taken it."""
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


def _corners(count: int, size: int, rng: np.random.Generator, how: Variation) -> Floats:
    """What the tube of a dermatoscope leaves of the light, (B, size, size, 1) from 0 to 1."""
    lit = np.ones((count, size, size, 1), dtype=np.float32)
    across = np.arange(size) - (size - 1) / 2
    for i in np.flatnonzero(rng.random(count) < how.corners_share):
        radius, soft = rng.uniform(0.46, 0.68) * size, rng.uniform(0.01, 0.06) * size
        right, down = rng.uniform(-0.04, 0.04, 2) * size
        distance = np.hypot(across[None, :] - right, across[:, None] - down)
        lit[i, ..., 0] = np.clip((radius - distance) / soft, 0, 1)
    return lit


def _add_grain(pixels: NDArray[np.uint8], rng: np.random.Generator, how: Variation) -> None:
    """A sensor's noise on some photographs, in place."""
    for i in np.flatnonzero(rng.random(len(pixels)) < how.noise_share):
        grain = rng.standard_normal(pixels.shape[1:3], dtype=np.float32)[..., None] * rng.uniform(1.5, 8)
        pixels[i] = np.clip(pixels[i] + grain, 0, 255)


def _erase(pixels: NDArray[np.uint8], rng: np.random.Generator, how: Variation) -> None:
    """A rectangle of some photographs painted in one colour (Zhong et al., AAAI 2020), in place."""
    size = pixels.shape[1]
    for i in np.flatnonzero(rng.random(len(pixels)) < how.erased_share):
        height, width = (rng.uniform(0.1, 0.35, 2) * size).astype(int)
        top, left = (int(rng.integers(0, size - edge)) for edge in (height, width))
        pixels[i, top : top + height, left : left + width] = rng.integers(0, 256, 3)
