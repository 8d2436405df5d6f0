"""Lesions apart from their surroundings: set on other skins, or painted out, so that only they can tell.

A camera, a hospital and a frame go along with diagnoses in every public set. A lesion that is shown on the
skin of any other image, and a surround without its lesion that is to be told nothing of, leave the network
the lesion to learn from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

SEEN = 0.008
"""The share of an image that a mask covers at least; a smaller one has found no lesion."""
RIM = 0.03
"""How far beyond its mask a lesion is cut out, as a share of the side."""
AROUND = 0.12
"""How far beyond its mask the skin is compared."""
SKINS = 1500
SOFT = 64
"""The side at which masks are grown: their edges are soft, and finer ones cost more than they show."""
_DARK = 8.0
_STEPS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Surround:
    """What happens to lesions whose mask is known.

    Parameters
    ----------
    other_skin_share
        Set on the skin of another image.
    plain_share
        Set on the mean colour of their own skin.
    painted_out_share
        Painted out; what is left should tell nothing.
    """

    other_skin_share: float = 0.5
    plain_share: float = 0.0
    painted_out_share: float = 0.08


def lesion_boxes(masks: Pixels) -> NDArray[np.float64]:
    """Each lesion's centre, x and y, and larger side as shares of the side, (N, 3); NaN without a lesion.

    `masks` (N, S, S) uint8, 255 in the lesion.
    """
    side = masks.shape[1]
    found = np.full((len(masks), 3), np.nan)
    for i, mask in enumerate(masks > 127):
        if mask.mean() >= SEEN:
            rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
            middle = (columns[0] + columns[-1]) / 2, (rows[0] + rows[-1]) / 2
            found[i] = (*middle, max(np.ptp(columns), np.ptp(rows)) + 1)
    found /= side
    return found


def soft_masks(masks: Pixels, rim: float = RIM) -> Floats:
    """Masks (N, S, S) grown by about `rim` of the side, with a soft edge: (N, S, S, 1) from 0 to 1."""
    side = masks.shape[1]
    small = min(side, SOFT)
    grown = tf.image.resize(tf.cast(masks, tf.float32)[..., None] / 255, (small, small), method="area")
    width = max(3, round(small * rim) * 2 + 1)
    for pool in (tf.nn.max_pool2d, tf.nn.avg_pool2d):
        grown = pool(pool(grown, (width, 1), 1, "SAME"), (1, width), 1, "SAME")
    return np.asarray(tf.image.resize(grown, (side, side)), dtype=np.float32)


def changed_surround(
    pixels: Pixels, masks: Pixels, skins: Pixels, rng: np.random.Generator, how: Surround
) -> tuple[Pixels, NDArray[np.bool_]]:
    """A batch with some lesions on other skins, and some painted out.

    Parameters
    ----------
    pixels, masks
        (B, S, S, 3) uint8 and (B, S, S) uint8; an image whose mask covers less than `SEEN` is left alone.
    skins
        Images without their lesions, (K, S, S, 3) uint8; see `without_lesion`.
    rng, how
        Random stream, and the share of each change.

    Returns
    -------
    tuple
        The images, and which of them have their lesion painted out, (B,).
    """
    drawn = rng.random(len(pixels))
    seen = (masks > 127).mean(axis=(1, 2)) >= SEEN
    ends = np.cumsum([how.painted_out_share, how.other_skin_share, how.plain_share])
    kind = np.where(seen, np.searchsorted(ends, drawn, side="right"), 3)
    changed = pixels.copy()
    for i in np.flatnonzero(kind == 0):
        changed[i] = _painted_out(pixels[i], masks[i], rng)
    lesion = np.flatnonzero((kind == 1) | (kind == 2))
    if len(lesion):
        own = pixels[lesion].astype(np.float32)
        inside = soft_masks(masks[lesion], rng.uniform(0.015, 0.05))
        ring = np.clip(soft_masks(masks[lesion], AROUND) - inside, 0, 1) + 1e-3
        colour = mean_colour(own, ring)
        other = np.broadcast_to(colour, own.shape).copy()
        light = np.ones_like(colour)
        for j in np.flatnonzero(kind[lesion] == 1):
            skin: Pixels = skins[int(rng.integers(len(skins)))]
            turned = np.rot90(skin, int(rng.integers(4)))
            other[j] = turned[:, :: 1 if rng.random() < 0.5 else -1]
            theirs = mean_colour(other[j : j + 1], ring[j : j + 1])[0]
            # The lesion keeps some of its own light: two skins are never lit quite alike.
            ratio = np.maximum(theirs, _DARK) / np.maximum(colour[j], _DARK)
            light[j] = np.clip(ratio, 0.4, 2.5) ** rng.uniform(0.3, 1)
        changed[lesion] = np.clip(own * light * inside + other * (1 - inside), 0, 255)
    return changed, kind == 0


def without_lesion(pixels: Pixels, mask: Pixels, rng: np.random.Generator) -> Pixels:
    """An image (S, S, 3) with its lesion (mask (S, S)) filled with the skin around it and its texture.

    The fill is a normalised pyramid: each place takes the finest mean of what is known around it (Burt,
    1988). The side is a multiple of 32.
    """
    inside = soft_masks(mask[None], 0.06)[0]
    picture = pixels.astype(np.float32)
    known = 1 - inside
    filled, covered = np.zeros_like(picture), np.zeros_like(inside)
    side = len(picture)
    for step in _STEPS:
        cells = side // step
        shape = (cells, step, cells, step, -1)
        weight = _enlarged(known.reshape(shape).mean(axis=(1, 3)), side)
        colour = _enlarged((picture * known).reshape(shape).mean(axis=(1, 3)), side)
        take = np.clip(3 * weight, 0, 1) * (1 - covered)
        filled += take * colour / np.maximum(weight, 1e-3)
        covered += take
    filled += (1 - covered) * mean_colour(picture[None], known[None] + 1e-6)[0]
    texture = np.roll((picture - _smooth(picture)) * known, tuple(rng.integers(0, side, 2)), axis=(0, 1))
    return np.asarray(np.clip(picture * known + (filled + texture) * inside, 0, 255), dtype=np.uint8)


def _painted_out(pixels: Pixels, mask: Pixels, rng: np.random.Generator) -> Pixels:
    """The lesion filled with skin, with the mean colour of its surround, or with any colour."""
    drawn = rng.random()
    if drawn < 0.5:
        return without_lesion(pixels, mask, rng)
    inside = soft_masks(mask[None], 0.06)
    picture = pixels[None].astype(np.float32)
    colour = mean_colour(picture, 1 - inside + 1e-6) if drawn < 0.9 else rng.uniform(0, 255, (1, 1, 1, 3))
    return np.asarray((picture * (1 - inside) + colour * inside)[0], dtype=np.uint8)


def mean_colour(pictures: Floats, weights: Floats) -> Floats:
    """Weighted mean colours, (N, 1, 1, 3)."""
    total = (pictures * weights).sum(axis=(1, 2), keepdims=True)
    return np.asarray(total / weights.sum(axis=(1, 2), keepdims=True), dtype=np.float32)


def _enlarged(values: Floats, side: int) -> Floats:
    """(s, s, c) enlarged to (side, side, c), bilinear."""
    layers = [
        np.asarray(Image.fromarray(values[..., c]).resize((side, side), Image.Resampling.BILINEAR))
        for c in range(values.shape[-1])
    ]
    return np.stack(layers, axis=-1)


def _smooth(picture: Floats) -> Floats:
    side = len(picture)
    cells = side // 8
    return _enlarged(picture.reshape(cells, 8, cells, 8, 3).mean(axis=(1, 3)), side)
