"""One network fitted to one part of a collection: interruptible, resumable, and recorded as it ran."""

from __future__ import annotations

import csv
import importlib.util
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.errors import InputError, OutputError, TrainingError
from dermsentry.files import fingerprint, read_json, to_json, write_json, write_text
from dermsentry.images import Aspect
from dermsentry.model import read_network
from dermsentry.training import Precision, Weights
from dermsentry.training.balancing import class_weights, sample_weights
from dermsentry.training.batches import Batches, Examples
from dermsentry.training.callbacks import KeepState, RichProgress, StopOnNaN
from dermsentry.training.networks import NETWORKS, accuracy, candidate_crossentropy, efficientnet_lite0
from dermsentry.training.pixels import digest
from dermsentry.training.pretrained import load_imagenet, load_onnx

# It wonders at every new network that one process trains.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

NetworkName = Literal["cnn", "lite0"]


@dataclass(frozen=True)
class Configuration:
    """How a network is trained. Adam; loss: cross-entropy over the candidate classes.

    `weights`: what `lite0` begins with, ImageNet's or those of the bundled dermoscopy model.
    """

    network: NetworkName = "cnn"
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    size: int = 180
    aspect: Aspect = "squash"
    augmented: bool = False
    class_weights: bool = False
    weights: Weights = "imagenet"
    precision: Precision = "float32"
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained float32 network with the weights of its best epoch, and how it came to them.

    `history` has a row per epoch: `epoch`, `loss`, `accuracy`, `val_loss`, `val_accuracy`; `best_epoch`
    counts from 1; `seconds` is the training time over all sittings.
    """

    network: keras.Model
    history: pd.DataFrame
    best_epoch: int
    seconds: float
    images_per_second: float


def best_precision() -> Precision:
    """bfloat16 where this machine multiplies matrices in it (AMX, or a GPU); float32 elsewhere.

    AVX-512's bfloat16 alone is no gain: a step of `cnn` was a fifth slower with it (docs/why.md).
    """
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return "mixed_bfloat16"
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "float32"
    return "mixed_bfloat16" if "amx_bf16" in told.split() else "float32"


def fit(
    configuration: Configuration,
    train: Examples,
    validation: Examples,
    folder: Path,
    *,
    name: str = "training",
    tensorboard: bool = False,
    quiet: bool = True,
) -> Fitted:
    """Train a network, or go on where the last call with the same configuration and data stopped.

    The folder gets `configuration.json`, `history.csv`, `best.weights.h5` and, while training goes on,
    `backups/`. The weights kept are those of the epoch with the highest validation accuracy.

    Raises
    ------
    TrainingError
        The loss is not a number, or there is nothing to train or validate on.
    OutputError
        The folder cannot be written.
    InputError
        `tensorboard` is asked for and not installed.
    """
    if tensorboard and not importlib.util.find_spec("tensorboard"):
        raise InputError("TensorBoard is not installed; run `pip install tensorboard`, or train without it.")
    if not len(train) or not len(validation):
        raise TrainingError(
            f"{name}: {len(train)} photographs to train and {len(validation)} to validate on; "
            "expected some of both."
        )
    with _writing(folder):
        prepare(folder, {"configuration": asdict(configuration), "data": _fingerprint(train, validation)})
        done, best = folder / "done.json", folder / "best.weights.h5"
        if not (done.is_file() and best.is_file() and (folder / "history.csv").is_file()):
            seconds = _run(configuration, train, validation, folder, name, tensorboard, quiet)
            write_json(done, {"seconds": seconds})
            shutil.rmtree(folder / "backups", ignore_errors=True)
        history = _read_history(folder / "history.csv")
        network = build(configuration)
        network.load_weights(best)
    seconds = float(read_json(done)["seconds"])
    images = len(train) * len(history)
    best_epoch = int(history["val_accuracy"].to_numpy().argmax()) + 1
    return Fitted(network, history, best_epoch, seconds, images / seconds if seconds else 0.0)


def prepare(folder: Path, record: Mapping[str, Any]) -> None:
    """Make a run's folder; what another configuration or other data left there is cleared, never mixed in.

    Raises OutputError.
    """
    kept, wanted = folder / "configuration.json", to_json(record)
    try:
        same = kept.read_text(encoding="utf-8") == wanted
    except (OSError, ValueError):
        same = False
    if not same:
        with _writing(folder):
            for stale in ("done.json", "history.csv", "best.weights.h5", "state.npz"):
                (folder / stale).unlink(missing_ok=True)
            shutil.rmtree(folder / "backups", ignore_errors=True)
        write_text(kept, wanted)


def build(configuration: Configuration, precision: Precision = "float32") -> keras.Model:
    """The network of a configuration with its first weights: learned before, or random ones by its seed."""
    keras.utils.set_random_seed(configuration.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    from_bundle = configuration.network == "lite0" and configuration.weights == "dermoscopy"
    try:
        if from_bundle:
            network = efficientnet_lite0(configuration.size, normalised=False)
        else:
            network = NETWORKS[configuration.network](configuration.size)
    finally:
        keras.config.set_dtype_policy(before)
    if from_bundle:
        load_onnx(network, read_network()[1])
    elif configuration.network == "lite0":
        load_imagenet(network)
    return network


def predict_logits(network: keras.Model, examples: Examples, batch_size: int = 64) -> NDArray[np.float32]:
    """Logits (N, 9) of photographs, in their order."""
    return np.asarray(network.predict(Batches(examples, batch_size=batch_size), verbose=0), dtype=np.float32)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """What the machine refuses becomes OutputError."""
    try:
        yield
    except OSError as error:
        told = re.search(r"errno = (\d+)", str(error))  # HDF5 puts its reason into words of many lines
        problem = os.strerror(int(told[1])) if told else error.strerror or str(error).splitlines()[0]
        raise OutputError(
            f"Cannot write {folder}: {problem}. Free space or choose another folder, then run the same "
            "command to go on."
        ) from error


def _fingerprint(train: Examples, validation: Examples) -> str:
    parts = []
    for examples in (train, validation):
        parts += [f"{row}:{label}" for row, label in zip(examples.rows, examples.labels, strict=True)]
        parts.append("" if examples.copies is None else digest(examples.copies))
    parts.append(digest(train.pixels))
    if validation.pixels is not train.pixels:
        parts.append(digest(validation.pixels))
    return fingerprint(parts)


def _run(
    configuration: Configuration,
    train: Examples,
    validation: Examples,
    folder: Path,
    name: str,
    tensorboard: bool,
    quiet: bool,
) -> float:
    """Train to the last epoch, from the last whole backup on; the seconds of all sittings."""
    state, history = KeepState(folder), folder / "history.csv"
    if not (history.is_file() and state.best.is_file()):
        shutil.rmtree(state.backups, ignore_errors=True)
    started_at = state.restore()
    so_far = _trim_history(history, started_at)
    weights = (
        sample_weights(train.labels, class_weights(train.labels)) if configuration.class_weights else None
    )
    batches = Batches(
        train,
        batch_size=configuration.batch_size,
        shuffle=True,
        augmented=configuration.augmented,
        weights=weights,
        seed=configuration.seed,
        epoch=started_at,
    )
    network = build(configuration, configuration.precision)
    network.compile(
        keras.optimizers.Adam(configuration.learning_rate), candidate_crossentropy, metrics=[accuracy]
    )
    progress = RichProgress(name, configuration.epochs, len(batches), quiet)
    log = keras.callbacks.CSVLogger(str(history), append=started_at > 0)
    callbacks: list[keras.callbacks.Callback] = [
        StopOnNaN(name, configuration.learning_rate),
        progress,
        log,
        keras.callbacks.ModelCheckpoint(
            str(state.candidate),
            monitor="val_accuracy",
            mode="max",
            save_best_only=True,
            save_weights_only=True,
            initial_value_threshold=so_far,
        ),
        keras.callbacks.BackupAndRestore(str(state.writing), delete_checkpoint=False),
        state,
    ]
    if tensorboard:
        callbacks.append(keras.callbacks.TensorBoard(str(folder / "tensorboard")))
    try:
        network.fit(
            batches,
            validation_data=Batches(validation, batch_size=2 * configuration.batch_size),
            epochs=configuration.epochs,
            callbacks=callbacks,
            shuffle=False,  # Keras would shuffle the batches by Python's global generator as well
            verbose=0,
        )
    finally:
        progress.close()
        log.on_train_end()
        state.discard()
    return state.seconds


def _read_history(path: Path) -> pd.DataFrame:
    # A killed run may leave half a row; read by `float`, every figure is exactly what it was.
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    figures = [{key: float(value) for key, value in row.items()} for row in rows if all(row.values())]
    history = pd.DataFrame(figures).astype({"epoch": int})
    return history.drop_duplicates("epoch", keep="last").sort_values("epoch", ignore_index=True)


def _trim_history(path: Path, epochs: int) -> float | None:
    """Drop what an interruption left beyond the backup; give the best validation accuracy before it."""
    if not epochs:
        path.unlink(missing_ok=True)
        return None
    history = _read_history(path)
    history = history[history["epoch"] < epochs]
    write_text(path, history.to_csv(index=False, lineterminator="\n"))
    return float(history["val_accuracy"].max())
