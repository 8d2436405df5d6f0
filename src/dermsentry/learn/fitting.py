"""One network fitted to one part of a collection: interruptible, resumable, and recorded as it ran."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.errors import OutputError, TrainingError
from dermsentry.files import fingerprint, read_json, to_json, write_json
from dermsentry.images import Aspect
from dermsentry.learn.balancing import class_weights, sample_weights
from dermsentry.learn.batches import Batches, Examples
from dermsentry.learn.callbacks import RichProgress, StopOnNaN
from dermsentry.learn.networks import NETWORKS, accuracy, candidate_crossentropy
from dermsentry.learn.pretrained import load_imagenet

NetworkName = Literal["cnn", "lite0"]
Precision = Literal["float32", "mixed_bfloat16"]


@dataclass(frozen=True)
class Configuration:
    """How a network is trained. Adam; loss: cross-entropy over the candidate classes."""

    network: NetworkName = "cnn"
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    size: int = 180
    aspect: Aspect = "squash"
    augmented: bool = False
    class_weights: bool = False
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
    """bfloat16 where this machine computes in it, or has a GPU; float32 elsewhere."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return "mixed_bfloat16"
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as handle:  # noqa: PTH123
            flags = next((line for line in handle if line.startswith("flags")), "")
    except OSError:
        return "float32"
    return "mixed_bfloat16" if {"avx512_bf16", "amx_bf16"} & set(flags.split()) else "float32"


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
    `backup/`. The weights kept are those of the epoch with the highest validation accuracy.

    Raises
    ------
    TrainingError
        The loss is not a number, or there is nothing to train or validate on.
    OutputError
        The folder cannot be written.
    """
    if not len(train) or not len(validation):
        raise TrainingError(
            f"{name}: {len(train)} photographs to train and {len(validation)} to validate on; expected some of both."
        )
    record = {"configuration": asdict(configuration), "data": _fingerprint(train, validation)}
    _prepare(folder, record)
    done = folder / "done.json"
    if not done.is_file():
        seconds = _run(configuration, train, validation, folder, name, tensorboard, quiet)
        write_json(done, {"seconds": seconds})
        shutil.rmtree(folder / "backup", ignore_errors=True)
    history = _read_history(folder / "history.csv")
    network = build(configuration)
    network.load_weights(folder / "best.weights.h5")
    best = int(history.loc[history["val_accuracy"].idxmax(), "epoch"]) + 1
    seconds = float(read_json(done)["seconds"])
    images = len(train) * len(history)
    return Fitted(network, history, best, seconds, images / seconds if seconds else 0.0)


def build(configuration: Configuration, precision: Precision = "float32") -> keras.Model:
    """The network of a configuration with its first weights: ImageNet's, or random ones by its seed."""
    keras.utils.set_random_seed(configuration.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        network = NETWORKS[configuration.network](configuration.size)
    finally:
        keras.config.set_dtype_policy(before)
    if configuration.network == "lite0":
        load_imagenet(network)
    return network


def predict_logits(network: keras.Model, examples: Examples, batch_size: int = 64) -> NDArray[np.float32]:
    """Logits (N, 9) of photographs, in their order."""
    return np.asarray(network.predict(Batches(examples, batch_size=batch_size), verbose=0), dtype=np.float32)


def _fingerprint(train: Examples, validation: Examples) -> str:
    parts = []
    for examples in (train, validation):
        some = examples.gather(np.arange(0, len(examples), max(1, len(examples) // 16)))
        parts += [f"{row}:{label}" for row, label in zip(examples.rows, examples.labels, strict=True)]
        parts.append(str(int(some.astype(np.int64).sum())))
    return fingerprint(parts)


def _prepare(folder: Path, record: dict[str, Any]) -> None:
    """Make the folder; one of another configuration or other data is cleared, never mixed in."""
    kept = folder / "configuration.json"
    if kept.is_file() and read_json(kept) != _as_read(record):
        for stale in ("done.json", "history.csv", "best.weights.h5"):
            (folder / stale).unlink(missing_ok=True)
        shutil.rmtree(folder / "backup", ignore_errors=True)
    write_json(kept, record)


def _as_read(record: dict[str, Any]) -> Any:
    import json

    return json.loads(to_json(record))


def _run(
    configuration: Configuration,
    train: Examples,
    validation: Examples,
    folder: Path,
    name: str,
    tensorboard: bool,
    quiet: bool,
) -> float:
    started_at = _epochs_done(folder / "backup")
    weights = (
        sample_weights(train.labels, class_weights(train.labels)) if configuration.class_weights else None
    )
    size, seed = configuration.batch_size, configuration.seed
    batches = Batches(
        train, batch_size=size, shuffle=True, augmented=configuration.augmented,
        weights=weights, seed=seed, epoch=started_at,
    )  # fmt: skip
    held_out = Batches(validation, batch_size=2 * size)
    network = build(configuration, configuration.precision)
    network.compile(
        keras.optimizers.Adam(configuration.learning_rate), candidate_crossentropy, metrics=[accuracy]
    )
    history = folder / "history.csv"
    so_far = _trim_history(history, started_at)
    progress = RichProgress(name, configuration.epochs, len(batches), quiet)
    stop = StopOnNaN()
    clock = _Clock(folder / "seconds.json", started_at)
    callbacks: list[keras.callbacks.Callback] = [
        stop,
        progress,
        keras.callbacks.CSVLogger(str(history), append=started_at > 0),
        keras.callbacks.ModelCheckpoint(
            str(folder / "best.weights.h5"), monitor="val_accuracy", mode="max", save_best_only=True,
            save_weights_only=True, initial_value_threshold=so_far,
        ),
        clock,
        keras.callbacks.BackupAndRestore(str(folder / "backup"), delete_checkpoint=False),
    ]  # fmt: skip
    if tensorboard:
        callbacks.append(keras.callbacks.TensorBoard(str(folder / "tensorboard")))
    try:
        network.fit(
            batches, validation_data=held_out, epochs=configuration.epochs, callbacks=callbacks, verbose=0
        )
    except OSError as error:
        raise OutputError(
            f"Cannot write {folder}: {error.strerror or error}. Free space, then run the same command to go on."
        ) from error
    finally:
        progress.close()
    if stop.at is not None:
        shutil.rmtree(folder / "backup", ignore_errors=True)
        raise TrainingError(
            f"{name}: the loss is not a number in epoch {stop.at + 1}; lower the learning rate (it was {configuration.learning_rate:g})."
        )
    return clock.seconds


class _Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Training time without validation, kept beside the backup so that it adds up over interruptions."""

    def __init__(self, path: Path, started_at: int) -> None:
        super().__init__()
        self.path = path
        self.seconds = float(read_json(path)["seconds"]) if started_at and path.is_file() else 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start = time.perf_counter()

    def on_test_begin(self, logs: Any = None) -> None:
        self.seconds += time.perf_counter() - self._start
        write_json(self.path, {"seconds": self.seconds})


def _epochs_done(backup: Path) -> int:
    notes = backup / "training_metadata.json"
    return int(read_json(notes)["epoch"]) if notes.is_file() else 0


def _read_history(path: Path) -> pd.DataFrame:
    return pd.read_csv(path).drop_duplicates("epoch", keep="last").sort_values("epoch", ignore_index=True)


def _trim_history(path: Path, epochs: int) -> float | None:
    """Drop what an interruption left beyond the backup; give the best validation accuracy before it."""
    if not epochs or not path.is_file():
        path.unlink(missing_ok=True)
        return None
    history = _read_history(path)
    history = history[history["epoch"] < epochs]
    history.to_csv(path, index=False)
    return float(history["val_accuracy"].max()) if len(history) else None


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
