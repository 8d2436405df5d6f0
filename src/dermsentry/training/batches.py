"""Batches for Keras, shuffled and augmented by seed and epoch: an interrupted run goes on the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from dermsentry.diagnoses import CODES, codes_of
from dermsentry.training.augmentation import augment


def targets(labels: Sequence[str]) -> NDArray[np.float32]:
    """Multi-hot candidates, (N, 9): one 1 where the diagnosis is known, several where it may be several."""
    hot = np.zeros((len(labels), len(CODES)), dtype=np.float32)
    for row, label in zip(hot, labels, strict=True):
        row[[CODES.index(code) for code in codes_of(label)]] = 1.0
    return hot


@dataclass(frozen=True, eq=False)
class Examples:
    """Photographs to fit or judge: N labels, and where each one's pixels are.

    `rows` (N,) index `pixels` (M, size, size, 3) uint8 and, from M on, `copies` of the same shape.
    """

    pixels: NDArray[np.uint8]
    rows: NDArray[np.int64]
    labels: tuple[str, ...]
    copies: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The pixels of these of the N, (B, size, size, 3) uint8."""
        rows = self.rows[positions]
        if self.copies is None:
            return np.asarray(self.pixels[rows])
        known = len(self.pixels)
        return np.stack([self.pixels[row] if row < known else self.copies[row - known] for row in rows])


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Photographs in batches: pixels (B, size, size, 3) uint8, targets (B, 9) float32[, weights (B,)].

    The order and every random change depend on `seed` and the epoch alone.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        batch_size: int = 32,
        shuffle: bool = False,
        augmented: bool = False,
        weights: NDArray[np.float32] | None = None,
        seed: int = 0,
        epoch: int = 0,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self.examples, self.batch_size = examples, batch_size
        self.targets, self.weights = targets(examples.labels), weights
        self.shuffle, self.augmented, self.seed = shuffle, augmented, seed
        self.epoch = epoch
        self._reorder()

    def _reorder(self) -> None:
        natural = np.arange(len(self.examples))
        self.order = (
            np.random.default_rng((self.seed, self.epoch)).permutation(natural) if self.shuffle else natural
        )

    def on_epoch_end(self) -> None:
        """Go to the next epoch's order."""
        self.epoch += 1
        self._reorder()

    def __len__(self) -> int:
        return math.ceil(len(self.examples) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        pixels = self.examples.gather(chosen)
        if self.augmented:
            streams = (np.random.default_rng((self.seed, self.epoch, int(i))) for i in chosen)
            pixels = np.stack([augment(picture, rng) for picture, rng in zip(pixels, streams, strict=True)])
        if self.weights is None:
            return pixels, self.targets[chosen]
        return pixels, self.targets[chosen], self.weights[chosen]
