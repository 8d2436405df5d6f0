"""Small material for the recipe's tests: photographs to learn from, and ImageNet's weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from examples import pictures
from recipes.dermoscopy.pack import MASK, Packed
from recipes.dermoscopy.recipe import imagenet

SKIN, LESION, OTHER = (200, 160, 140), (60, 30, 20), (120, 90, 60)
S = 64


def disc(
    radius: int = 12, x: int = 32, y: int = 32, skin: tuple[int, int, int] = SKIN
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A dark disc on light skin, (S, S, 3), and its mask, (S, S)."""
    rows, columns = np.mgrid[:S, :S]
    inside = np.hypot(rows - y, columns - x) < radius
    return np.where(inside[..., None], LESION, skin).astype(np.uint8), inside


def packed(labels: Sequence[str], size: int = 32, seed: int = 0, part: str = "train") -> Packed:
    """Photographs whose colour tells their class, one file each, with the mask of their disc."""
    count = len(labels)
    places = np.arange(MASK) - (MASK - 1) / 2
    mask = places[:, None] ** 2 + places[None, :] ** 2 < (MASK / 3) ** 2
    table = pd.DataFrame(
        {
            "photograph": [f"P{i}" for i in range(count)],
            "rows": [(i,) for i in range(count)],
            "diagnosis": labels,
            "group": [f"G{i}" for i in range(count)],
            "part": part,
            "hospital": [("Vienna", "Barcelona")[i // 4 % 2] for i in range(count)],
        }
    )
    return Packed(table, pictures(labels, size, seed), np.stack([mask] * count))


@cache
def first_weights(name: str = "lite0") -> list[NDArray[Any]]:
    """What a training begins with."""
    return imagenet(name, 32)
