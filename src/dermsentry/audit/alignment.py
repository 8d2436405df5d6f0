"""Small affine registrations of thumbnails in batches, and how similar the two are then.

Lucas–Kanade registration (Baker and Matthews, 2004) with a gain and an offset, so that brightness and
contrast do not matter. Thumbnails are square; coordinates run from -1 to 1 across them, at any size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

IDENTITY = np.eye(2, 3, dtype=np.float32)


def normalise(thumbs: NDArray[np.uint8], side: int) -> Floats:
    """Thumbnails (n, s, s) averaged down to (n, side, side), each with mean 0 and standard deviation 1."""
    factor = thumbs.shape[1] // side
    small = thumbs.reshape(len(thumbs), side, factor, side, factor).mean(axis=(2, 4), dtype=np.float32)
    small -= small.mean(axis=(1, 2), keepdims=True)
    return np.asarray(small / np.maximum(small.std(axis=(1, 2), keepdims=True), 1e-3), dtype=np.float32)


def _axes(side: int) -> tuple[Floats, Floats]:
    places = ((np.arange(side) - (side - 1) / 2) / (side / 2)).astype(np.float32)
    y, x = np.meshgrid(places, places, indexing="ij")
    return x, y


def warp(pictures: Floats, maps: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Pictures (n, s, s) sampled at affine `maps` (n, 2, 3) of the grid; and where that is inside."""
    count, side, _ = pictures.shape
    x, y = (axis.ravel() for axis in _axes(side))
    where = maps[:, :, 0, None] * x + maps[:, :, 1, None] * y + maps[:, :, 2, None]
    where = where * (side / 2) + (side - 1) / 2
    inside = ((where >= 0) & (where <= side - 1)).all(axis=1)
    np.clip(where, 0, side - 1.001, out=where)
    corner = where.astype(np.int32)
    across, down = (where - corner).transpose(1, 0, 2)
    first = np.arange(count, dtype=np.int64)[:, None] * side * side + corner[:, 1] * side + corner[:, 0]
    flat = pictures.reshape(-1)
    upper = flat[first] * (1 - across) + flat[first + 1] * across
    lower = flat[first + side] * (1 - across) + flat[first + side + 1] * across
    values = upper * (1 - down) + lower * down
    return values.reshape(pictures.shape), inside.reshape(pictures.shape)


def _inner(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without the outermost pixels, whose slopes are one-sided."""
    inner = np.zeros_like(inside)
    inner[:, 1:-1, 1:-1] = inside[:, 1:-1, 1:-1]
    return inner


def step(fixed: Floats, moved: Floats, maps: Floats) -> tuple[Floats, Floats]:
    """One Lucas–Kanade step: better maps (n, 2, 3), and the share of variance (n,) left unexplained.

    The linear model explains `fixed` by `moved` under `maps`, its slopes times an affine displacement, a gain
    and an offset.
    """
    side = fixed.shape[1]
    x, y = _axes(side)
    seen, inside = warp(moved, maps)
    weight = _inner(inside).reshape(len(fixed), -1).astype(np.float32)
    middle = (fixed + seen) / 2
    slopes = np.zeros((2, *middle.shape), np.float32)
    slopes[0, :, :, 1:-1] = (middle[:, :, 2:] - middle[:, :, :-2]) * (side / 4)
    slopes[1, :, 1:-1, :] = (middle[:, 2:, :] - middle[:, :-2, :]) * (side / 4)
    right, down = slopes
    terms = (right, right * x, right * y, down, down * x, down * y, seen, np.ones_like(seen))
    model = np.stack([term.reshape(len(fixed), -1) for term in terms], axis=1) * weight[:, None]
    target = fixed.reshape(len(fixed), -1) * weight
    normal = model @ model.transpose(0, 2, 1)
    normal[:, range(8), range(8)] += 0.1
    answer = np.linalg.solve(normal, (model @ target[:, :, None]))[:, :, 0]
    left = target - (answer[:, None, :] @ model)[:, 0]
    total = weight.sum(axis=1)
    spread = (target**2).sum(axis=1) - target.sum(axis=1) ** 2 / np.maximum(total, 1)
    unexplained = (left**2).sum(axis=1) / np.maximum(spread, 1e-3)
    move = np.clip(answer[:, :6] / np.clip(answer[:, 6:7], 0.5, 2.0), -0.2, 0.2).reshape(-1, 2, 3)
    correction = np.tile(np.eye(3, dtype=np.float32), (len(fixed), 1, 1))
    correction[:, :2] += move[:, :, [1, 2, 0]]
    full = np.tile(np.eye(3, dtype=np.float32), (len(fixed), 1, 1))
    full[:, :2] = maps
    return np.asarray((full @ correction)[:, :2], dtype=np.float32), np.asarray(unexplained, dtype=np.float32)


def _box(pictures: Floats, axis: int, radius: int) -> Floats:
    width = 2 * radius + 1
    pad = [(0, 0)] * 3
    pad[axis] = (radius + 1, radius)
    total = np.pad(pictures, pad, mode="edge").cumsum(axis=axis, dtype=np.float32)
    return np.asarray(
        (
            np.take(total, range(width, total.shape[axis]), axis)
            - np.take(total, range(total.shape[axis] - width), axis)
        )
        / width
    )


def detail(pictures: Floats, radius: int = 2) -> Floats:
    """Pictures (n, s, s) less their local mean: hair, network, dots, which no two photographs share."""
    return pictures - _box(_box(pictures, 1, radius), 2, radius)


def alike(fixed: Floats, moved: Floats, maps: Floats) -> Floats:
    """Correlation (n,) of the pictures' detail where they overlap under `maps`; 0 if that is below half."""
    seen, inside = warp(detail(moved), maps)
    weight = _inner(inside).astype(np.float32)
    total = np.maximum(weight.sum(axis=(1, 2)), 1)
    one, other = detail(fixed) * weight, seen * weight
    one -= weight * (one.sum(axis=(1, 2)) / total)[:, None, None]
    other -= weight * (other.sum(axis=(1, 2)) / total)[:, None, None]
    norm = np.sqrt((one**2).sum(axis=(1, 2)) * (other**2).sum(axis=(1, 2)))
    enough = total >= 0.5 * (fixed.shape[1] - 2) ** 2
    return np.asarray(
        np.where(enough, (one * other).sum(axis=(1, 2)) / np.maximum(norm, 1e-6), 0.0), dtype=np.float32
    )
