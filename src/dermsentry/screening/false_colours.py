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

from dermsentry.screening.field_of_view import Field

Floats = NDArray[np.float64]

WEIGHTS = Path(__file__).with_suffix(".json")
PLACES = 16
_DARK = 30.0
_ACROSS = np.hypot(*np.meshgrid(*[np.arange(PLACES) - (PLACES - 1) / 2] * 2)).ravel() / (PLACES / 2)
_INNER = _ACROSS < 0.85  # what is laid beside a lesion, such as a sticker, is at the edge
_MIDDLE, _SURROUND = _ACROSS < 0.4, (_ACROSS > 0.55) & _INNER
_PAIRS = ((0, 1), (1, 2), (0, 2))


@dataclass(frozen=True, eq=False)
class Weights:
    """Log-odds of false colours: (linear + x squares) · x + bias, with x = (features - mean) / scale."""

    mean: Floats
    scale: Floats
    linear: Floats
    squares: Floats
    bias: float


def log_odds(field: Field) -> float:
    """The log-odds that a photograph has false colours."""
    weights = _weights()
    scaled = (colour_features(field) - weights.mean) / weights.scale
    return float((weights.linear + scaled @ weights.squares) @ scaled + weights.bias)


def quadratic(features: Floats) -> Floats:
    """Features (N, f), and the product of each with itself and each later one: (N, f + f (f + 1) / 2)."""
    first, second = np.triu_indices(features.shape[1])
    return np.concatenate([features, features[:, first] * features[:, second]], axis=1)


def colour_features(field: Field) -> Floats:
    """Statistics of the colours of a photograph, (23,)."""
    grid = Image.fromarray(field.seen).resize((PLACES, PLACES), Image.Resampling.BOX)
    colours = np.asarray(grid, dtype=np.float64).reshape(-1, 3)
    logs = np.log(colours + 8)
    lit = (colours.max(axis=1) > _DARK) & _INNER
    if lit.sum() < 40:
        lit = _INNER
    own = logs[lit]
    level = _median(own)
    away = own - level
    light = away.mean(axis=1)
    order = np.argsort(light)
    fifth = max(len(order) // 5, 1)
    pale, dark = _median(own[order[-fifth:]]), _median(own[order[:fifth]])
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


def _steps(logs: Floats, lit: NDArray[np.bool_]) -> Floats:
    """From each lit place to the next, down and across, (k, 3)."""
    grid, light = logs.reshape(PLACES, PLACES, 3), lit.reshape(PLACES, PLACES)
    down, across = light[1:] & light[:-1], light[:, 1:] & light[:, :-1]
    return np.concatenate([(grid[1:] - grid[:-1])[down], (grid[:, 1:] - grid[:, :-1])[across]])


def _from_surround_to_middle(logs: Floats, lit: NDArray[np.bool_]) -> Floats:
    middle, surround = lit & _MIDDLE, lit & _SURROUND
    if min(middle.sum(), surround.sum()) < 5:
        return np.zeros(3)
    return _median(logs[middle]) - _median(logs[surround])


def _median(values: Floats) -> Floats:
    """Of each column; NumPy's own takes five times as long for so few rows."""
    ordered, count = np.sort(values, axis=0), len(values)
    return np.asarray((ordered[(count - 1) // 2] + ordered[count // 2]) / 2)


@lru_cache(maxsize=1)
def _weights() -> Weights:
    record = json.loads(WEIGHTS.read_text(encoding="ascii"))
    mean, scale, kernel = (np.asarray(record[name], dtype=np.float64) for name in ("mean", "scale", "kernel"))
    squares = np.zeros((len(mean), len(mean)))
    squares[np.triu_indices(len(mean))] = kernel[len(mean) :]  # in the order of `quadratic`
    return Weights(mean, scale, kernel[: len(mean)], squares, float(record["bias"]))
