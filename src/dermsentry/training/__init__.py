"""Training: from a collection and its split to a model bundle.

This module needs no training framework, so that `dermsentry.train` can be looked at without one; calling it
imports Keras and TensorFlow.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dermsentry.errors import InputError, require_extra
from dermsentry.progress import stderr_held_back
from dermsentry.training.options import Balance, Precision, Recipe, Run, Schedule, Weights

if TYPE_CHECKING:
    from dermsentry.collection import Collection
    from dermsentry.images import Aspect
    from dermsentry.split import Split

__all__ = ["Run", "require_framework", "train"]

# Both are read when Keras and TensorFlow are first imported, which the modules below do.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def require_framework() -> None:
    """Import Keras and TensorFlow, without what TensorFlow says on stderr whatever its log level.

    Raises InputError, saying what to install, where the extra `train` is missing, or where Keras is to run on
    another backend.
    """
    require_extra("train-cpu", "train", "audit")
    backend = sys.modules["keras"].config.backend() if "keras" in sys.modules else os.environ["KERAS_BACKEND"]
    if backend != "tensorflow":
        raise InputError(
            f"Received the Keras backend {backend} (KERAS_BACKEND); expected tensorflow, by which Dermsentry "
            "trains and writes bundles. Unset KERAS_BACKEND."
        )
    if "dermsentry.training.networks" not in sys.modules:
        with stderr_held_back():
            import dermsentry.training.networks  # noqa: F401


def train(
    collection: Collection,
    split: Split,
    out: str | Path | None = None,
    *,
    network: Recipe = "linear",
    epochs: int = 20,
    augmented: bool = False,
    balance: Balance = "none",
    size: int = 180,
    aspect: Aspect = "squash",
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    schedule: Schedule = "constant",
    patience: int | None = None,
    weights: Weights = "imagenet",
    keep_learned: bool = False,
    precision: Precision | None = None,
    quantised: bool = False,
    labels: Mapping[str, str] | None = None,
    seed: int = 0,
    tensorboard: bool = False,
    mlflow: bool = False,
    cache: str | Path | None = None,
    force: bool = False,
    quiet: bool = True,
) -> Run:
    """Train a network on the parts of a split and write its model bundle.

    After an interruption, run it again to resume.

    Parameters
    ----------
    collection
        The images.
    split
        Which image is in which part, as `make_split` or `read_split` gives it: `train` is learned from,
        `validation` chooses the epoch, `calibration` the temperature, both together the thresholds.
    out
        The folder of the run; its bundle is in `bundle/`. Without one, the next of `runs/train-1`,
        `runs/train-2` and so on, or the one of this very run, which is resumed.
    network
        `linear`: a linear head on a frozen EfficientNet-Lite0 (with weights `dermoscopy`, on the bundled
        model's network), minutes; `cnn`: a network of three convolutions; `lite0`, `lite1`, `lite2`: an
        EfficientNet-Lite, all of it trained.
    epochs
        Epochs, at most; `linear` has none, so that `batch_size`, `learning_rate`, `schedule` and `patience`
        change nothing of it.
    augmented
        Whether every image is rotated, flipped, zoomed and brightened at random; not with `linear`.
    balance
        What is done about rare diagnoses: `none`, `augmentor` (augmented copies) or `class-weights`.
        `linear` always weighs every class the same.
    size
        Side of the network's input in pixels.
    aspect
        How an image is made square: `squash`, `crop` or `pad`; the bundle keeps it.
    batch_size
        Images in a batch.
    learning_rate
        Adam learning rate.
    schedule
        How it changes: `constant`; `cosine`, to 0 over all epochs (Keras's `CosineDecay`); `plateau`, halved
        whenever the validation loss has not fallen for 3 epochs (`ReduceLROnPlateau`).
    patience
        Stop when the validation accuracy, which chooses the epoch that is kept, has not risen for so many
        epochs (`EarlyStopping`); by default every epoch is trained.
    weights
        Initial weights of all but `cnn`: `imagenet`, or `dermoscopy`, the bundled model's, which are of
        the network that its card names. Images of validation and calibration that these learned from, by the
        bundle's hashes, are left out and counted; `evaluate` leaves them out, too.
    keep_learned
        Whether to validate and calibrate on those all the same.
    precision
        Numeric precision of training; by default the faster one on this machine.
    quantised
        Whether the bundle's network computes its convolutions in 8-bit integers: about half the time and the
        bytes of single precision. It is calibrated so; the card holds what it cost.
    labels
        Reference labels by image id, as `read_labels` gives them, in place of the split's own where these
        contradict them or say less. Every image stays in its part: `make_split` settles conflicts by them.
    seed
        Random seed.
    tensorboard
        Whether to write logs for TensorBoard as well.
    mlflow
        Whether to log to MLflow as well (extra `mlflow`), where its own `MLFLOW_TRACKING_URI` and
        `MLFLOW_EXPERIMENT_NAME` say: the configuration, each epoch, the final figures with their intervals,
        and the bundle.
    cache
        A folder for the decoded images, which several runs may share; by default `cache/` in `out`, or
        `runs/cache` without `out`.
    force
        Whether to replace a run of another configuration or of other data in `out`, which is refused
        otherwise.
    quiet
        Whether to show no progress on stderr.

    Returns
    -------
    Run
        Its `bundle` is the folder to evaluate and to screen with.

    Raises
    ------
    InputError
        The extra `train` or `mlflow` is not installed, Keras is to run on another backend than TensorFlow,
        MLflow cannot be reached, the split's parts share a group or have images that the collection has not,
        or an option is none of the above.
    TrainingError
        A part is empty or has one class only, or the loss is not a number.

    Warns
    -----
    DataWarning
        Two parts of the split show one lesion or patient, by what the collection knows and the split's groups
        do not; or images were left out that the initial weights learned from.
    BundleError
        With `quantised`, 8-bit integers change too many classes, or the order of melanomas.
    OutputError
        `out` cannot be written, or holds another run.

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> split = dermsentry.make_split(collection)
    >>> run = dermsentry.train(collection, split, "run")  # doctest: +SKIP
    >>> dermsentry.screen("photographs/Test", run.bundle)  # doctest: +SKIP
    """
    require_framework()
    from dermsentry.training import pipeline

    return pipeline.train(
        collection, split, out, network=network, epochs=epochs, augmented=augmented, balance=balance,
        size=size, aspect=aspect, batch_size=batch_size, learning_rate=learning_rate, schedule=schedule,
        patience=patience, weights=weights, keep_learned=keep_learned, precision=precision,
        quantised=quantised, labels=labels, seed=seed, tensorboard=tensorboard, mlflow=mlflow,
        cache=cache, force=force, quiet=quiet,
    )  # fmt: skip
