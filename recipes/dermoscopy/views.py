"""Random views of photographs, made in batches on the device that trains.

Cameras, hospitals and frames go along with diagnoses in every public set, so each is made worthless as a
sign and only the lesion is left. Lesions are set on the skin of other photographs, or painted out, and then
nothing is to be told; the view is turned, enlarged towards the lesion, stretched and moved; sharpness,
colours, light, JPEG's blocks, the black corners and bars of a frame and sensor noise are drawn anew for every
photograph, whatever its source.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

SEEN = 0.008
"""The share of a photograph that a mask covers at least; a smaller one has found no lesion."""
PAINTED = 0.06
"""How far beyond its mask a lesion is painted out, as a share of the side."""
RING = 0.12
"""How far beyond its mask the skin is compared."""
SMALLEST_LESION = 0.1
CLOSER = (0.85, 3.0)
"""How far a view is enlarged towards a lesion that is a small share of the photograph."""
CAMERAS = 4
"""How many degrees of coarseness one batch has."""
QUALITY = (20.0, 90.0)
_DARK = 8.0
_PYRAMID = (1, 2, 4, 8, 16, 32)
# The luminance table of JPEG's annex K (ITU-T T.81), its cosine transform and its colours.
_LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_COSINES = np.array(
    [
        [math.sqrt((1 if k == 0 else 2) / 8) * math.cos((2 * n + 1) * k * math.pi / 16) for n in range(8)]
        for k in range(8)
    ]
)
_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])

_TURNS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: x.transpose(2, 3),
    lambda x: x.flip(2),
    lambda x: x.flip(3),
)

Rng = np.random.Generator


@dataclass(frozen=True)
class Augmentation:
    """How far each change goes. `*_share` is the share of photographs it happens to.

    Parameters
    ----------
    other_skin_share, painted_out_share
        Of the photographs whose lesion is known: set on the skin of another one; painted out.
    zoom, aspect, shift
        Enlarged by a factor within `zoom`, stretched by up to `aspect` along one side, moved by up to `shift`
        sides; turned by any angle, and mirrored.
    centred_share, lesion_size
        Of the photographs whose lesion is known: centred on it and scaled, so that it takes a share of the
        side within `lesion_size`.
    light, saturation, gamma, gain
        The largest change of brightness and contrast, of saturation, of the exponent's logarithm, and of the
        logarithm of each channel.
    colours_share
        Given the mean colour of another photograph of the batch, in part or whole, as if their cameras were
        exchanged.
    coarse_share, jpeg_share
        As a camera with fewer pixels would have taken it; compressed as JPEG at a quality within `QUALITY`.
    corners_share, bars_share
        The black corners of a dermatoscope's tube; black bars on two opposite sides.
    noise_share, erased_share
        A sensor's noise; a rectangle painted over (Zhong et al., AAAI 2020).
    """

    other_skin_share: float = 0.5
    painted_out_share: float = 0.08
    zoom: tuple[float, float] = (0.75, 1.6)
    aspect: float = 1.3
    shift: float = 0.08
    centred_share: float = 0.5
    lesion_size: tuple[float, float] = (0.45, 0.9)
    light: float = 0.2
    saturation: float = 0.25
    gamma: float = 0.25
    gain: float = 0.12
    colours_share: float = 0.5
    coarse_share: float = 0.45
    jpeg_share: float = 0.3
    corners_share: float = 0.3
    bars_share: float = 0.1
    noise_share: float = 0.2
    erased_share: float = 0.15


NOTHING = Augmentation(
    other_skin_share=0,
    painted_out_share=0,
    zoom=(1, 1),
    aspect=1,
    shift=0,
    centred_share=0,
    light=0,
    saturation=0,
    gamma=0,
    gain=0,
    colours_share=0,
    coarse_share=0,
    jpeg_share=0,
    corners_share=0,
    bars_share=0,
    noise_share=0,
    erased_share=0,
)
"""Turned and mirrored, and nothing else."""


def lesion_boxes(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Each lesion's centre, x and y, and larger side as shares of the side, (N, 3); NaN without a lesion."""
    found = np.full((len(masks), 3), np.nan)
    for i, mask in enumerate(masks):
        if mask.mean() >= SEEN:
            rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
            middle = (columns[0] + columns[-1]) / 2, (rows[0] + rows[-1]) / 2
            found[i] = (*middle, max(np.ptp(columns), np.ptp(rows)) + 1)
    return np.asarray(found / masks.shape[1])


def changed_view(
    pixels: Tensor,
    masks: Tensor,
    boxes: NDArray[np.float64],
    size: int,
    rng: Rng,
    how: Augmentation,
) -> tuple[Tensor, NDArray[np.bool_]]:
    """A batch changed at random, and which photographs have their lesion painted out, (B,).

    Parameters
    ----------
    pixels
        (B, 3, S, S) float32, values from 0 to 255; S is a multiple of 32.
    masks
        (B, s, s) float32, 1 in the lesion.
    boxes
        See `lesion_boxes`.
    size
        Of the views, (B, 3, size, size); a multiple of 8.
    rng, how
        Random stream, and how far each change goes.
    """
    moved, empty = changed_surround(pixels, masks, ~np.isnan(boxes[:, 2]), rng, how)
    transforms = draw_transforms(pixels.shape[-1], size, boxes, rng, how)
    return compressed(relit(coarser(warp(moved, transforms, size), rng, how), rng, how), rng, how), empty


def changed_surround(
    pixels: Tensor, masks: Tensor, seen: NDArray[np.bool_], rng: Rng, how: Augmentation
) -> tuple[Tensor, NDArray[np.bool_]]:
    """Some lesions on the skin of another photograph of the batch, and some painted out; which those are."""
    count, side = len(pixels), pixels.shape[-1]
    ends = np.cumsum([how.painted_out_share, how.other_skin_share])
    kind = np.where(seen, np.searchsorted(ends, rng.random(count), side="right"), 2)
    if not (kind < 2).any():
        return pixels, np.zeros(count, dtype=bool)
    skin = without_lesion(pixels, masks, rng)
    painted = _painted_out(pixels, masks, skin, rng)
    other = skin[_index(rng.choice(np.flatnonzero(seen), count), pixels)]
    for turn in _TURNS:
        other = torch.where(_each(rng.random(count) < 0.5, pixels) > 0, turn(other), other)
    inside = soft_masks(masks, rng.uniform(0.015, 0.05), side)
    ring = (soft_masks(masks, RING, side) - inside).clamp(0, 1) + 1e-3
    own, theirs = mean_colour(pixels, ring), mean_colour(other, ring)
    # The lesion keeps some of its own light: two skins are never lit quite alike.
    ratio = (theirs.clamp_min(_DARK) / own.clamp_min(_DARK)).clamp(0.4, 2.5)
    light = ratio ** _each(rng.uniform(0.3, 1, count), pixels)
    moved = (pixels * light * inside + other * (1 - inside)).clamp(0, 255)
    kinds = _each(kind, pixels)
    return torch.where(kinds == 0, painted, torch.where(kinds == 1, moved, pixels)), kind == 0


def without_lesion(pixels: Tensor, masks: Tensor, rng: Rng) -> Tensor:
    """Photographs with their lesions filled with the skin around them and its texture, (B, 3, S, S).

    The fill is a normalised pyramid: each place takes the finest mean of what is known around it (Burt,
    1988).
    """
    side = pixels.shape[-1]
    inside = soft_masks(masks, PAINTED, side)
    known = 1 - inside
    filled, covered = torch.zeros_like(pixels), torch.zeros_like(inside)
    for step in _PYRAMID:
        weight = _enlarged(F.avg_pool2d(known, step), side)
        colour = _enlarged(F.avg_pool2d(pixels * known, step), side)
        take = (3 * weight).clamp(0, 1) * (1 - covered)
        filled = filled + take * colour / weight.clamp_min(1e-3)
        covered = covered + take
    filled = filled + (1 - covered) * mean_colour(pixels, known + 1e-6)
    smooth = _enlarged(F.avg_pool2d(pixels, 8), side)
    down, right = (int(by) for by in rng.integers(0, side, 2))
    texture = torch.roll((pixels - smooth) * known, (down, right), (2, 3))
    return (pixels * known + (filled + texture) * inside).clamp(0, 255)


def _painted_out(pixels: Tensor, masks: Tensor, skin: Tensor, rng: Rng) -> Tensor:
    """Lesions filled with skin, with the mean colour of their surround, or with any colour."""
    count = len(pixels)
    inside = soft_masks(masks, PAINTED, pixels.shape[-1])
    drawn = rng.random(count)
    around = mean_colour(pixels, 1 - inside + 1e-6)
    colour = torch.where(_each(drawn < 0.9, pixels) > 0, around, _colours(count, pixels, rng))
    flat = pixels * (1 - inside) + colour * inside
    return torch.where(_each(drawn < 0.5, pixels) > 0, skin, flat)


def soft_masks(masks: Tensor, rim: float, side: int) -> Tensor:
    """Masks (B, s, s) grown by about `rim` of the side, with a soft edge: (B, 1, side, side) from 0 to 1."""
    width = max(3, round(masks.shape[-1] * rim) * 2 + 1)
    grown = F.max_pool2d(masks[:, None], width, 1, width // 2)
    return _enlarged(F.avg_pool2d(grown, width, 1, width // 2, count_include_pad=False), side)


def mean_colour(pictures: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean colours, (B, 3, 1, 1)."""
    return (pictures * weights).sum((2, 3), keepdim=True) / weights.sum((2, 3), keepdim=True)


def draw_transforms(
    side: int, size: int, boxes: NDArray[np.float64], rng: Rng, how: Augmentation
) -> NDArray[np.float64]:
    """The matrices (B, 2, 3) that map a place (x, y, 1) of the view to one of the photograph."""
    count = len(boxes)
    angle = rng.uniform(0, 2 * np.pi, count)
    least, most = np.log(how.zoom).tolist()
    zoom = np.exp(rng.uniform(least, most, count))
    middle_x = middle_y = np.full(count, (side - 1) / 2)
    centred = (rng.random(count) < how.centred_share) & ~np.isnan(boxes[:, 2])
    share = np.maximum(np.nan_to_num(boxes[:, 2], nan=1.0), SMALLEST_LESION)
    closer = np.clip(rng.uniform(*how.lesion_size, count) / share, *CLOSER)
    zoom = np.where(centred, closer, zoom)
    middle_x = np.where(centred, boxes[:, 0] * side, middle_x)
    middle_y = np.where(centred, boxes[:, 1] * side, middle_y)
    stretch = np.exp(rng.uniform(-0.5, 0.5, count) * np.log(how.aspect))
    mirror = np.where(rng.random(count) < 0.5, -1.0, 1.0)
    scale = side / size / zoom
    cosine, sine = np.cos(angle), np.sin(angle)
    # Turned in the photograph's own frame, stretched last: a squashed frame is stretched along its sides.
    a, b = stretch * scale * cosine * mirror, -stretch * scale * sine
    c, d = scale / stretch * sine * mirror, scale / stretch * cosine
    middle_out = (size - 1) / 2
    right, down = rng.uniform(-how.shift, how.shift, (2, count)) * side / np.maximum(zoom, 1)
    x = middle_x + right - (a + b) * middle_out
    y = middle_y + down - (c + d) * middle_out
    return np.stack([a, b, x, c, d, y], axis=1).reshape(count, 2, 3)


def warp(pixels: Tensor, transforms: NDArray[np.float64], size: int) -> Tensor:
    """Photographs (B, C, S, S) moved to (B, C, size, size); mirrored beyond their edges."""
    places = torch.arange(size, device=pixels.device, dtype=torch.float32)
    across, down = places[None, None, :], places[None, :, None]
    matrix = _tensor(transforms, pixels)[..., None, None]
    grid = torch.stack(
        [row[:, 0] * across + row[:, 1] * down + row[:, 2] for row in matrix.unbind(1)], dim=-1
    )
    grid = grid * (2 / (pixels.shape[-1] - 1)) - 1
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=True)


def coarser(pixels: Tensor, rng: Rng, how: Augmentation) -> Tensor:
    """Some of the batch as cameras with fewer pixels would have taken them."""
    size = pixels.shape[-1]
    chosen = rng.permutation(np.flatnonzero(rng.random(len(pixels)) < how.coarse_share))
    for part in np.array_split(chosen, CAMERAS):
        side = int(size * rng.uniform(0.3, 0.85))
        if len(part):
            where = _index(part, pixels)
            small = F.interpolate(pixels[where], size=(side, side), mode="bilinear", antialias=True)
            pixels = pixels.index_copy(0, where, _enlarged(small, size))
    return pixels


def relit(pixels: Tensor, rng: Rng, how: Augmentation) -> Tensor:
    """Colours, light, frame and noise of a batch changed."""
    count = len(pixels)

    def factors(spread: float, *shape: int) -> NDArray[np.float64]:
        return rng.uniform(-spread, spread, (count, *shape))

    means = pixels.mean((2, 3)).clamp_min(_DARK).log()
    share = rng.uniform(0, 1, (count, 1)) * (rng.random((count, 1)) < how.colours_share)
    exchanged = (means[_index(rng.permutation(count), pixels)] - means) * _tensor(share, pixels)
    gains = (_tensor(factors(how.gain, 3), pixels) + exchanged).exp()[:, :, None, None]
    mean = pixels.mean((2, 3), keepdim=True)
    contrast, brightness = (_each(1 + factors(how.light), pixels) for _ in range(2))
    pixels = (pixels - mean) * contrast + mean * brightness
    grey = pixels.mean(1, keepdim=True)
    pixels = (grey + (pixels - grey) * _each(1 + factors(how.saturation), pixels)) * gains
    pixels = (pixels / 255).clamp(1e-6, 1) ** _each(np.exp(factors(how.gamma)), pixels)
    pixels = pixels * _frames(count, pixels, rng, how) * 255
    strength = np.where(rng.random(count) < how.noise_share, rng.uniform(1.5, 8, count), 0)
    grain = torch.randn_like(pixels[:, :1]) * _each(strength, pixels)
    return _erased((pixels + grain).clamp(0, 255), rng, how)


def _frames(count: int, like: Tensor, rng: Rng, how: Augmentation) -> Tensor:
    """The light that a dermatoscope's tube or a frame's bars leave, (B, 1, size, size) from 0 to 1."""
    size = like.shape[-1]
    across = torch.arange(size, device=like.device, dtype=torch.float32) - (size - 1) / 2
    drawn = rng.random(count)
    right, down = (_tensor(rng.uniform(-0.05, 0.05, count) * size, like)[:, None] for _ in range(2))
    distance = torch.hypot((across - right)[:, None, :], (across - down)[:, :, None])
    tube = drawn < how.corners_share
    radius = np.where(tube, rng.uniform(0.44, 0.68, count), 10) * size
    soft = rng.uniform(0.005, 0.08, count) * size
    lit = ((_tensor(radius, like)[:, None, None] - distance) / _tensor(soft, like)[:, None, None]).clamp(0, 1)
    barred = ~tube & (drawn < how.corners_share + how.bars_share)
    width = np.where(barred, np.maximum(1, rng.uniform(0.03, 0.16, count) * size), 0)
    beside = rng.random(count) < 0.5
    edge = size / 2 - across.abs()
    columns, rows = (
        edge[None] > _tensor(np.where(chosen, width, 0), like)[:, None] for chosen in (beside, ~beside)
    )
    return (lit * columns[:, None, :] * rows[:, :, None])[:, None]


def _erased(pixels: Tensor, rng: Rng, how: Augmentation) -> Tensor:
    count, size = len(pixels), pixels.shape[-1]
    places = torch.arange(size, device=pixels.device, dtype=torch.float32)[None]
    extent = rng.uniform(0.1, 0.35, (2, count)) * size
    start = rng.random((2, count)) * (size - extent)
    end = start + extent * (rng.random(count) < how.erased_share)
    rows, columns = (
        (places >= _tensor(first, pixels)[:, None]) & (places < _tensor(last, pixels)[:, None])
        for first, last in zip(start, end, strict=True)
    )
    inside = (rows[:, :, None] & columns[:, None, :])[:, None]
    return torch.where(inside, _colours(count, pixels, rng), pixels)


def compressed(pixels: Tensor, rng: Rng, how: Augmentation) -> Tensor:
    """Some of the batch as JPEG leaves them: the cosine transform of each block rounded, full colour."""
    chosen = np.flatnonzero(rng.random(len(pixels)) < how.jpeg_share)
    if not len(chosen):
        return pixels
    where, count, blocks = _index(chosen, pixels), len(chosen), pixels.shape[-1] // 8
    quality = rng.uniform(*QUALITY, count)
    factor = np.where(quality < 50, 50 / quality, 2 - quality / 50)  # libjpeg's scaling of the table
    table = _tensor(np.maximum(factor[:, None, None] * _LUMINANCE, 1), pixels)[:, None, None, None]
    cosines, colours = _tensor(_COSINES, pixels), _tensor(_YCBCR, pixels)
    split = torch.einsum("kc,bchw->bkhw", colours, pixels[where])
    split = split.reshape(count, 3, blocks, 8, blocks, 8).transpose(3, 4)
    rounded = torch.round(cosines @ split @ cosines.T / table) * table
    whole = (cosines.T @ rounded @ cosines).transpose(3, 4).reshape(count, 3, *pixels.shape[2:])
    back = torch.einsum("kc,bchw->bkhw", _tensor(np.linalg.inv(_YCBCR), pixels), whole)
    return pixels.index_copy(0, where, back.clamp(0, 255))


def _enlarged(x: Tensor, side: int) -> Tensor:
    return F.interpolate(x, size=(side, side), mode="bilinear")


def _colours(count: int, like: Tensor, rng: Rng) -> Tensor:
    return _tensor(rng.uniform(0, 255, (count, 3)), like)[:, :, None, None]


def _tensor(values: Any, like: Tensor) -> Tensor:
    array = np.ascontiguousarray(values, dtype=np.float32)
    return torch.as_tensor(array).to(like.device, non_blocking=True)


def _each(values: Any, like: Tensor) -> Tensor:
    """A number for each photograph, (B, 1, 1, 1)."""
    return _tensor(values, like)[:, None, None, None]


def _index(values: Any, like: Tensor) -> Tensor:
    array = np.ascontiguousarray(values, dtype=np.int64)
    return torch.as_tensor(array).to(like.device, non_blocking=True)
