"""Class imbalance rectified: copies drawn with the Augmentor library, or weights in the loss."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

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
    change = _pipeline()
    names = np.asarray(labels)
    rng = np.random.default_rng(seed)
    origins = [
        int(origin)
        for label, needed in copies_needed(labels, per_class).items()
        for origin in rng.choice(np.flatnonzero(names == label), needed)
    ]
    copies = np.empty((len(origins), *pixels.shape[1:]), dtype=np.uint8)
    size = (pixels.shape[2], pixels.shape[1])
    with _global_seed(seed):
        for i, origin in enumerate(origins):
            changed = change(Image.fromarray(pixels[origin]))
            if changed.size != size:
                changed = changed.resize(size, Image.Resampling.BILINEAR)
            copies[i] = np.asarray(changed)
    return copies, np.array(origins, dtype=np.int64)


def class_weights(labels: Sequence[str]) -> NDArray[np.float32]:
    """Each photograph's weight, (N,): N / (classes × count), scikit-learn's `balanced` heuristic.

    Raises InputError for no labels.
    """
    if not len(labels):
        raise InputError("Received no labels to weigh; expected at least one photograph to train on.")
    _, index, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    weights: NDArray[np.float32] = (len(labels) / (len(counts) * counts)).astype(np.float32)
    return weights[index]


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """Seed Python's and NumPy's global generators, which Augmentor draws from, and put them back after."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


def _pipeline() -> Callable[[Image.Image], Image.Image]:
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
    change: Callable[[Image.Image], Image.Image] = pipeline.torch_transform()  # needs no torch
    return change
