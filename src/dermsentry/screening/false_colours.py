"""Whether a photograph's colours are those of skin: not swapped, negative, missing or of another space.

A viewer, an export or a conversion that takes BGR or YCbCr for RGB gives a picture that a network still
answers, mostly with `routine`. Skin and lesions have colours by which this is seen whatever the white
balance: melanin takes away more of the blue than of the green, and more of that than of the red, so that what
is darker is also redder; blood takes away the green; and a lesion is darker than the skin around it.

Twenty-three statistics of the logarithms of colours say this: levels, and how far and how steeply channels
change with each other, from place to place and from the middle to its surround. A logistic regression on them
and their products is fitted by `recipes/false_colours.py`; figures: docs/why.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermsentry.images import Pixels

Floats = NDArray[np.float64]

WEIGHTS = Path(__file__).with_suffix(".json")
SIDE, PLACES = 64, 16
LIT, FIELD = 40, 0.12
"""Brighter places are in the field of view; rows and columns with a smaller share of them are not."""
_DARK = 30.0
_ACROSS = np.hypot(*np.meshgrid(*[np.arange(PLACES) - (PLACES - 1) / 2] * 2)).ravel() / (PLACES / 2)
_INNER = _ACROSS < 0.85  # what is laid beside a lesion, such as a sticker, is at the edge
_MIDDLE, _SURROUND = _ACROSS < 0.4, (_ACROSS > 0.55) & _INNER
_PAIRS = ((0, 1), (1, 2), (0, 2))


@dataclass(frozen=True, eq=False)
class Weights:
    """Of the log-odds that colours are false: kernel · quadratic((features - mean) / scale) + bias."""

    mean: Floats
    scale: Floats
    kernel: Floats
    bias: float


def log_odds(pixels: Pixels) -> float:
    """The log-odds that a photograph, (height, width, 3) uint8, has false colours."""
    weights = _weights()
    scaled = (colour_features(pixels) - weights.mean) / weights.scale
    return float(quadratic(scaled[None])[0] @ weights.kernel + weights.bias)


def quadratic(features: Floats) -> Floats:
    """Features (N, f), and the product of each with itself and each later one: (N, f + f (f + 1) / 2)."""
    first, second = np.triu_indices(features.shape[1])
    return np.concatenate([features, features[:, first] * features[:, second]], axis=1)


def colour_features(pixels: Pixels) -> Floats:
    """Statistics of a photograph's colours, (23,)."""
    small = np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX))
    field = np.ascontiguousarray(small[field_of_view(small)])
    grid = Image.fromarray(field).resize((PLACES, PLACES), Image.Resampling.BOX)
    colours = np.asarray(grid, dtype=np.float64).reshape(-1, 3)
    logs = np.log(colours + 8)
    lit = (colours.max(axis=1) > _DARK) & _INNER
    if lit.sum() < 40:
        lit = _INNER
    own = logs[lit]
    level = np.median(own, axis=0)
    away = own - level
    light = away.mean(axis=1)
    order = np.argsort(light)
    fifth = max(len(order) // 5, 1)
    pale, dark = np.median(own[order[-fifth:]], axis=0), np.median(own[order[:fifth]], axis=0)
    spread = away.T @ away / len(away) + 1e-4 * np.eye(3)
    steps = _steps(logs, lit)
    change = steps.T @ steps / max(len(steps), 1) + 1e-5 * np.eye(3)
    sizes = np.sqrt(np.diag(change))
    together = [np.clip(change[i, j] / sizes[i] / sizes[j], -0.99, 0.99) for i, j in _PAIRS]
    green = spread[1, 1] + 1e-3
    skew = (light**3).mean() / ((light**2).mean() ** 1.5 + 1e-3)
    return np.array(
        [
            *(level[0] - level[1], level[1] - level[2], level[1]),
            *(pale[0] - pale[1], pale[1] - pale[2], pale[1]),
            *(dark[0] - dark[1], dark[1] - dark[2]),
            *np.log(np.sqrt(np.diag(spread))),
            *np.log(sizes),
            *_from_surround_to_middle(logs, lit),
            *(spread[0, 1] / green, spread[2, 1] / green),
            *np.arctanh(together),
            skew,
        ]
    )


def field_of_view(pixels: Pixels) -> tuple[slice, slice]:
    """Rows and columns of a picture, (`SIDE`, `SIDE`, 3), without the black around a round lens or padding.

    All of it if not enough would be left.
    """
    lit = np.maximum(np.maximum(pixels[:, :, 0], pixels[:, :, 1]), pixels[:, :, 2]) > LIT
    rows, columns = np.flatnonzero(lit.mean(axis=1) > FIELD), np.flatnonzero(lit.mean(axis=0) > FIELD)
    if min(len(rows), len(columns)) < 8 or min(np.ptp(rows), np.ptp(columns)) < SIDE // 4:
        return slice(0, len(pixels)), slice(0, pixels.shape[1])
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _steps(logs: Floats, lit: NDArray[np.bool_]) -> Floats:
    """From each lit place to the next, down and across, (k, 3)."""
    grid, light = logs.reshape(PLACES, PLACES, 3), lit.reshape(PLACES, PLACES)
    down, across = light[1:] & light[:-1], light[:, 1:] & light[:, :-1]
    return np.concatenate([(grid[1:] - grid[:-1])[down], (grid[:, 1:] - grid[:, :-1])[across]])


def _from_surround_to_middle(logs: Floats, lit: NDArray[np.bool_]) -> Floats:
    middle, surround = lit & _MIDDLE, lit & _SURROUND
    if min(middle.sum(), surround.sum()) < 5:
        return np.zeros(3)
    return np.asarray(np.median(logs[middle], axis=0) - np.median(logs[surround], axis=0))


@lru_cache(maxsize=1)
def _weights() -> Weights:
    record = json.loads(WEIGHTS.read_text(encoding="ascii"))
    mean, scale, kernel = (np.asarray(record[name], dtype=np.float64) for name in ("mean", "scale", "kernel"))
    return Weights(mean, scale, kernel, float(record["bias"]))
