"""Class imbalance rectified: copies drawn with the Augmentor library, or weights in the loss."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermsentry.errors import InputError
from dermsentry.images import Pixels

PER_CLASS = 500
"""How many photographs each class is filled up to: a little above the largest class of the nine-class set."""


def copies_needed(labels: Sequence[str], per_class: int) -> dict[str, int]:
    """How many copies each class lacks to have `per_class`; classes that have them need none."""
    names, counts = np.unique(np.asarray(labels), return_counts=True)
    return {str(name): max(0, per_class - int(count)) for name, count in zip(names, counts, strict=True)}


def balanced_copies(
    pixels: NDArray[np.uint8], labels: Sequence[str], *, per_class: int = PER_CLASS, seed: int = 0
) -> tuple[Pixels, NDArray[np.int64]]:
    """Draw copies with Augmentor until every class has `per_class` photographs.

    Each copy is a random rotation by up to 25 degrees, mirroring, zoom, and brightness, as the assignment's
    pipeline does.

    Parameters
    ----------
    pixels
        (N, size, size, 3) uint8.
    labels
        N labels.

    Returns
    -------
    The copies, (M, size, size, 3) uint8, and which of the N photographs each was drawn from, (M,).
    """
    pipeline = _pipeline()
    rng = np.random.default_rng(seed)
    own = random.getstate()
    random.seed(seed)  # Augmentor draws from Python's global generator
    try:
        origins: list[int] = []
        copies: list[Pixels] = []
        names = np.asarray(labels)
        for label, needed in copies_needed(labels, per_class).items():
            for origin in rng.choice(np.flatnonzero(names == label), needed):
                origins.append(int(origin))
                copies.append(_changed(pipeline, pixels[origin]))
    finally:
        random.setstate(own)
    shape = (len(copies), *pixels.shape[1:])
    return np.asarray(copies, dtype=np.uint8).reshape(shape), np.asarray(origins, dtype=np.int64)


def class_weights(labels: Sequence[str]) -> dict[str, float]:
    """N / (classes × count), scikit-learn's `balanced` heuristic. Raises InputError for no labels."""
    if not len(labels):
        raise InputError("Received no labels to weigh; expected at least one photograph to train on.")
    names, counts = np.unique(np.asarray(labels), return_counts=True)
    return {str(n): len(labels) / (len(names) * int(c)) for n, c in zip(names, counts, strict=True)}


def sample_weights(labels: Sequence[str], weights: Mapping[str, float]) -> NDArray[np.float32]:
    """Each photograph's weight, (N,)."""
    return np.array([weights[label] for label in labels], dtype=np.float32)


def _pipeline():  # type: ignore[no-untyped-def]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # old escapes in Augmentor's docstrings
        warnings.simplefilter("ignore", DeprecationWarning)
        import Augmentor
    pipeline = Augmentor.Pipeline()
    pipeline.rotate(probability=0.7, max_left_rotation=25, max_right_rotation=25)
    pipeline.flip_left_right(probability=0.5)
    pipeline.flip_top_bottom(probability=0.5)
    pipeline.zoom_random(probability=0.3, percentage_area=0.85)
    pipeline.random_brightness(probability=0.3, min_factor=0.85, max_factor=1.15)
    return pipeline


def _changed(pipeline, pixels: Pixels) -> Pixels:  # type: ignore[no-untyped-def]
    images = [Image.fromarray(pixels)]
    for operation in pipeline.operations:
        if random.random() <= operation.probability:
            images = operation.perform_operation(images)
    changed = images[0]
    size = (pixels.shape[1], pixels.shape[0])
    return np.asarray(changed if changed.size == size else changed.resize(size, Image.Resampling.BILINEAR))
