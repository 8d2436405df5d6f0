"""The images that the bundled model learns from, each with its files, its masks and its source."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dermsentry.files import fingerprint
from dermsentry.parallel import map_ordered
from dermsentry.training.augmentation import augment_strongly
from dermsentry.training.batches import AHEAD, Batch, targets
from dermsentry.training.configuration import Configuration
from recipes.dermoscopy.lesions import SEEN, SKINS, Surround, changed_surround, lesion_boxes, without_lesion


@dataclass(frozen=True, eq=False)
class Views:
    """N images, each with its files: other sizes and crops.

    Parameters
    ----------
    pixels, masks
        Of every file, (M, S, S, 3) uint8 and (M, S, S) uint8, 255 in the lesion; S is a multiple of 32.
    rows
        The files of each image.
    labels
        Of each image.
    weights
        How often each image is drawn, (N,), adding up to 1.
    surround
        What happens to the surroundings of lesions.
    """

    pixels: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    rows: tuple[tuple[int, ...], ...]
    labels: tuple[str, ...]
    weights: NDArray[np.float64]
    surround: Surround = field(default_factory=Surround)

    def __len__(self) -> int:
        return len(self.rows)

    def fingerprint(self) -> str:
        """SHA-256 over rows, labels, weights and surround; the decoded files have one of their own."""
        rows = (
            f"{label}:{','.join(map(str, own))}" for own, label in zip(self.rows, self.labels, strict=True)
        )
        weights = self.weights.astype(np.float32).tobytes().hex()
        return fingerprint([str(self.pixels.shape), repr(self.surround), *rows, weights])

    @cached_property
    def skins(self) -> NDArray[np.uint8]:
        """Up to `SKINS` images without their lesions, (K, S, S, 3)."""
        rng = np.random.default_rng(0)
        files = rng.permutation([own[0] for own in self.rows])
        seen = (row for row in files if (self.masks[row] > 127).mean() >= SEEN)
        chosen = [row for row, _ in zip(seen, range(SKINS), strict=False)]
        made = (without_lesion(self.pixels[row], self.masks[row], rng) for row in chosen)
        return np.stack(list(made)) if chosen else self.pixels[:1]

    def batches(self, configuration: Configuration, size: int, epoch: int) -> Iterator[Batch]:
        """Images drawn by their weights, a file of each, changed at random, and some batches blended."""
        tuning = configuration.fine_tuning
        if tuning is None:
            raise ValueError("Views are for fine-tuning")
        count, seed = configuration.batch_size, configuration.seed
        steps = math.ceil(len(self) / count)
        hot, ones = targets(self.labels), np.ones(count, dtype=np.float32)
        drawn = np.random.default_rng((seed, epoch)).choice(len(self), steps * count, p=self.weights)
        skins = self.skins

        def make(i: int) -> Batch:
            rng = np.random.default_rng((seed, epoch, i))
            chosen = drawn[i * count : (i + 1) * count]
            rows = np.array([self.rows[j][rng.integers(len(self.rows[j]))] for j in chosen])
            masks, wanted = self.masks[rows], hot[chosen]
            pixels, empty = changed_surround(self.pixels[rows], masks, skins, rng, self.surround)
            pixels = augment_strongly(pixels, size, rng, tuning.augmentation, lesion_boxes(masks))
            smoothing = np.where(empty, 1.0, tuning.label_smoothing).astype(np.float32)
            # An image without its lesion stays unblended: it is the one that tells nothing.
            if empty.any() or rng.random() >= tuning.mixed_share:
                return Batch(pixels, wanted, ones, wanted, smoothing)
            partner, share = rng.permutation(len(chosen)), np.float32(rng.beta(tuning.mixup, tuning.mixup))
            blended = np.rint(share * pixels.astype(np.float32) + (1 - share) * pixels[partner])
            return Batch(blended.astype(np.uint8), wanted, ones, wanted[partner], smoothing, share)

        return map_ordered(make, range(steps), threads=1, ahead=AHEAD)
