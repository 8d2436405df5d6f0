"""Small material for training: pictures whose colour tells their class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dermsentry.diagnoses import CODES
from dermsentry.training.batches import Examples


def pictures(labels: Sequence[str], size: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    """A coloured disc on skin, under noise, (N, size, size, 3): the colour is the class's."""
    rng = np.random.default_rng(seed)
    colours = np.random.default_rng(1).integers(20, 235, (len(CODES), 3))
    places = np.arange(size) - (size - 1) / 2
    disc = (places[:, None] ** 2 + places[None, :] ** 2 < (size / 3) ** 2)[:, :, None]
    inside = np.stack([colours[CODES.index(label.split("|")[0])] for label in labels])
    clean = np.where(disc, inside[:, None, None, :], np.array([190, 150, 130]))
    return np.clip(clean + rng.normal(0, 12, (len(labels), size, size, 3)), 0, 255).astype(np.uint8)


def examples(labels: Sequence[str], size: int = 32, seed: int = 0) -> Examples:
    return Examples(pictures(labels, size, seed), np.arange(len(labels)), tuple(labels))
