"""`study` without its framework: what it takes and gives.

This module needs no training framework, so that `dermsentry.study` can be looked at without one; calling it
imports Keras and TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dermsentry.training import require_framework

if TYPE_CHECKING:
    from dermsentry.collection import Collection
    from dermsentry.images import Aspect
    from dermsentry.nine_class.results import Study
    from dermsentry.training.options import Precision


def study(
    collection: Collection,
    out: str | Path | None = None,
    *,
    epochs: Sequence[int] = (20, 20, 30),
    fast: bool = False,
    labels: Mapping[str, str] | None = None,
    per_class: int = 500,
    precision: Precision | None = None,
    size: int = 180,
    aspect: Aspect = "squash",
    notebook: str | Path | None = None,
    seed: int = 0,
    force: bool = False,
    quiet: bool = True,
) -> Study:
    """Run the nine-class assignment: its three networks, as assigned and with groups kept apart.

    Writes `study.json`, `study.html`, `split.csv`, `audit.json`, `audit.html`, `figures/`, `bundle/` and the
    run of each training into `out`. Run it again to resume: what is finished is not repeated.

    Parameters
    ----------
    collection
        The images, such as the nine-class set with its `Train/` and `Test/`.
    out
        The folder to write. Without one, the next of `runs/study-1` and so on, or the one of this very study.
    epochs
        Epochs of the baseline, the augmented and the balanced networks.
    fast
        Whether to train only a linear head on a frozen network: minutes instead of an hour.
    labels
        Reference labels by image id; they settle conflicts in the honest protocol.
    per_class
        How many images Augmentor's copies fill each class up to in the balanced experiment.
    precision
        Numeric precision of training; by default the faster one on this machine.
    size
        Side of the networks' input in pixels.
    aspect
        How an image is made square: `squash`, `crop` or `pad`.
    notebook
        A new `.ipynb` file for the assignment as a notebook in plain Keras, executed with the trainings of
        this study, for a student to comment and hand in. Needs the extra `notebook`, and a collection of
        `Train/` and `Test/` with a folder for each diagnosis.
    seed
        Random seed.
    force
        Whether to replace another study in `out`, a file of this one that was edited, or `notebook`, which is
        refused otherwise.
    quiet
        Whether to show no progress on stderr.

    Returns
    -------
    Study
        Its `conclusions` are sentences, `to_frame()` compares the networks, `bundle` is the best honest one.

    Raises
    ------
    InputError
        The extra `train` is not installed, the collection cannot be used, or `epochs` are not three numbers
        of at least 1; with `notebook`, the extra is not installed, or the collection is laid out otherwise.
    TrainingError
        There is nothing to learn: one class only, an empty part, a loss that is not a number.
    OutputError
        `out` or `notebook` cannot be written, `out` holds another study, or `notebook` exists.

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> done = dermsentry.study(collection, "study", fast=True)  # doctest: +SKIP
    >>> done.to_frame(), done.conclusions  # doctest: +SKIP
    """
    require_framework()
    from dermsentry.nine_class.study import study as run

    return run(
        collection, out, epochs=epochs, fast=fast, labels=labels, per_class=per_class, precision=precision,
        size=size, aspect=aspect, notebook=notebook, seed=seed, force=force, quiet=quiet,
    )  # fmt: skip
