"""Images and their labels in batches.

The order and every random change depend on the seed, the epoch and the batch alone, so that a resumed
training sees the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dermsentry.files import fingerprint
from dermsentry.parallel import map_ordered
from dermsentry.stats.metrics import targets
from dermsentry.training.augmentation import augment
from dermsentry.training.balancing import class_weights
from dermsentry.training.configuration import Configuration
from dermsentry.training.pixels import digest

AHEAD = 4
"""Batches made before they are needed."""


class Batch(NamedTuple):
    """What one step learns from.

    `pixels` (B, size, size, 3) uint8; `targets` (B, 9) float32; `weights` (B,) float32, of each loss.
    """

    pixels: NDArray[np.uint8]
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Examples:
    """Images to fit or evaluate: N labels, and where each one's pixels are.

    `rows` (N,) index `pixels` (M, size, size, 3) uint8 and, from M on, `copies` of the same shape.
    """

    pixels: NDArray[np.uint8]
    rows: NDArray[np.int64]
    labels: tuple[str, ...]
    copies: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, positions: NDArray[np.int64] | slice) -> NDArray[np.uint8]:
        """The pixels of these of the N, (B, size, size, 3) uint8."""
        rows = self.rows[positions]
        if self.copies is None:
            return np.asarray(self.pixels[rows])
        known = len(self.pixels)
        return np.stack([self.pixels[row] if row < known else self.copies[row - known] for row in rows])

    def fingerprint(self) -> str:
        """SHA-256 over rows, labels and copies; `digest` is that of the pixels."""
        rows = [f"{row}:{label}" for row, label in zip(self.rows, self.labels, strict=True)]
        return fingerprint([*rows, "" if self.copies is None else digest(self.copies)])

    def batches(self, configuration: Configuration, epoch: int) -> Iterator[Batch]:
        """Every image once, in the epoch's order, made ahead on a thread of their own."""
        hot, ones = targets(self.labels), np.ones(len(self), dtype=np.float32)
        each = class_weights(self.labels) if configuration.class_weights else ones
        key = (configuration.seed, epoch + 1)
        order = np.random.default_rng(key).permutation(np.arange(len(self)))

        def make(start: int) -> Batch:
            chosen = order[start : start + configuration.batch_size]
            pixels = self.gather(chosen)
            if configuration.augmented:
                streams = (np.random.default_rng((*key, int(i))) for i in chosen)
                pixels = np.stack([augment(image, rng) for image, rng in zip(pixels, streams, strict=True)])
            return Batch(pixels, hot[chosen], each[chosen])

        starts = range(0, len(self), configuration.batch_size)
        return map_ordered(make, starts, threads=1, ahead=AHEAD)


def joined(first: Examples, second: Examples) -> Examples:
    """Both as one; where they share no pixels, those are copied into one array."""
    labels = (*first.labels, *second.labels)
    if second.pixels is first.pixels and first.copies is second.copies:
        rows = np.concatenate([first.rows, second.rows])
        return Examples(first.pixels, rows, labels, first.copies)
    pixels = np.concatenate([part.gather(slice(None)) for part in (first, second)])
    return Examples(pixels, np.arange(len(pixels)), labels)
