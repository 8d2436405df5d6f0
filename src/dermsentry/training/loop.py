"""The training loop: every network goes through it, and resumes after its last whole epoch.

A folder holds `configuration.json`, `history.csv` (a row per epoch, counted from 1) and `state.npz`: the same
history, the weights, those that are kept, and the optimizer's variables. A run resumes from `state.npz`, so
that no interruption leaves two files that do not fit.
"""

from __future__ import annotations

import io
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from dermsentry.errors import OutputError, TrainingError
from dermsentry.files import fingerprint, plain, to_json, write_bytes, write_text
from dermsentry.progress import Work, say, watched
from dermsentry.stats.metrics import targets
from dermsentry.training import devices
from dermsentry.training.batches import Examples
from dermsentry.training.configuration import Configuration
from dermsentry.training.fitted import Fitted, predict_logits
from dermsentry.training.networks import accuracy, candidate_crossentropy
from dermsentry.training.options import Schedule
from dermsentry.training.pixels import digest
from dermsentry.training.pretrained import build

# It warns about every new network that one process trains.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

Arrays = list[NDArray[Any]]
Validate = Callable[[keras.Model], Mapping[str, float]]
"""The validation figures of a network, by name."""
AfterEpoch = Callable[[Mapping[str, Any]], None]
"""Takes an epoch's row of the history."""


def fit(
    configuration: Configuration,
    train: Examples,
    validation: Examples,
    folder: Path,
    *,
    name: str = "training",
    after_epoch: AfterEpoch | None = None,
    quiet: bool = True,
) -> Fitted:
    """Train a network and keep the weights of the epoch with the highest validation accuracy.

    Run it again to resume; with another configuration or other data it starts from the beginning.

    Raises
    ------
    TrainingError
        The loss is not a number, or there is nothing to train or validate on.
    OutputError
        The folder cannot be written.
    """
    if not len(train) or not len(validation):
        raise TrainingError(
            f"{name}: {len(train)} photographs to train and {len(validation)} to validate on; "
            "expected some of both."
        )
    hot, batch = targets(validation.labels), 2 * configuration.batch_size

    def validate(network: keras.Model) -> dict[str, float]:
        logits = predict_logits(network, validation, batch)
        losses, right = candidate_crossentropy(hot, logits), accuracy(hot, logits)
        return {"val_accuracy": float(np.mean(right)), "val_loss": float(np.mean(losses))}

    parts = [train.fingerprint(), validation.fingerprint(), digest(train.pixels)]
    if validation.pixels is not train.pixels:
        parts.append(digest(validation.pixels))
    return run_loop(
        configuration,
        train,
        validate,
        folder,
        data=fingerprint(parts),
        name=name,
        after_epoch=after_epoch,
        quiet=quiet,
    )


def run_loop(
    configuration: Configuration,
    train: Examples,
    validate: Validate,
    folder: Path,
    *,
    data: str,
    name: str = "training",
    after_epoch: AfterEpoch | None = None,
    quiet: bool = True,
) -> Fitted:
    """Train a network, or resume after the last whole epoch of a run with this configuration and `data`.

    Parameters
    ----------
    configuration, train
        How the network is trained, and on what.
    validate
        Called with the network after each epoch; its figures go into the history. The weights of the highest
        `val_accuracy` are kept.
    folder
        See the module.
    data
        A fingerprint of what it is trained and validated on.
    name, quiet
        The run's name in progress and errors; whether to show any progress.
    after_epoch
        Called with the row of each epoch once it is written.

    Raises
    ------
    TrainingError
        A loss is not a number.
    OutputError
        The folder cannot be written.
    """
    prepare(folder, {"configuration": asdict(configuration), "data": data})
    epochs, steps = configuration.epochs, math.ceil(len(train) / configuration.batch_size)
    state = _resume(folder)
    history = list(state.history)
    if state.epoch:
        trained = state.epoch == epochs or _stops(history, configuration)
        resuming = f"resuming after epoch {state.epoch} of {epochs}"
        say(f"{name}: {'already trained' if trained else resuming}", quiet=quiet)
    trainer: _Trainer | None = None
    with Work(name, epochs * steps, quiet=quiet, done=state.epoch * steps) as shown:
        for epoch in range(state.epoch, epochs):
            if _stops(history, configuration):
                break
            if trainer is None:
                trainer = _set_up(configuration, state, steps)
                if devices.count() > 1:
                    say(f"{name}: training on {devices.count()} GPUs", quiet=quiet)
            shown.advance(0, f"{name}: epoch {epoch + 1}/{epochs}")
            started, losses = time.perf_counter(), _Losses(name, epoch, configuration.learning_rate)
            for batch in train.batches(configuration, epoch):
                loss, right = trainer.step(batch)
                losses.add(float(loss), float(right), len(batch.pixels))
                shown.advance()
            seconds = time.perf_counter() - started
            figures = validate(trainer.network)
            losses.refuse_nan(figures.get("val_loss", 0.0), "validation loss")
            history.append(row := {"epoch": epoch + 1, **losses.means(), **figures, **trainer.rate()})
            trainer.after_epoch(row)
            state = trainer.state(history, state, state.seconds + seconds)
            state.save(folder / "state.npz")
            _write_history(folder, history)
            if after_epoch is not None:
                after_epoch(row)
            figures_told = ", ".join(f"{key} {value:.3g}" for key, value in row.items() if key != "epoch")
            say(f"{shown.what}, {figures_told}", quiet=quiet or watched())
    if len(history) < epochs:
        best = f"validation accuracy was highest in epoch {_best(history) + 1}"
        say(f"{name}: stopped after epoch {len(history)} of {epochs}, {best}", quiet=quiet)
    if state.weights:
        replace(state, weights=[], optimizer=[]).save(folder / "state.npz")
    _write_history(folder, history)  # an interruption may have come before the last one's
    network = build(configuration)
    network.set_weights(state.kept)
    speed = len(train) * len(history) / state.seconds if state.seconds else 0.0
    table = pd.DataFrame(history)
    return Fitted(network, table, _best(history) + 1, state.seconds, speed, devices=state.devices)


def prepare(folder: Path, record: Mapping[str, Any]) -> None:
    """Make a run's folder; what another configuration or other data left there is removed, never mixed in.

    Raises OutputError.
    """
    path, wanted = folder / "configuration.json", to_json(record)
    try:
        same = path.read_text(encoding="utf-8") == wanted
    except (OSError, ValueError):
        same = False
    if same:
        return
    try:
        for stale in ("history.csv", "state.npz"):
            (folder / stale).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write {folder}: {error.strerror}. Choose another folder.") from error
    write_text(path, wanted)


@dataclass(frozen=True, eq=False)
class _State:
    """After whole epochs: their history, training seconds, the devices of the last, weights, those that are
    kept, the optimizer's."""

    history: Sequence[Mapping[str, Any]] = ()
    seconds: float = 0.0
    devices: int = 1
    weights: Arrays = field(default_factory=list)
    kept: Arrays = field(default_factory=list)
    optimizer: Arrays = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """How many whole epochs were trained."""
        return len(self.history)

    def save(self, path: Path) -> None:
        arrays = {
            f"{kind}{i:05}": value
            for kind in ("weights", "kept", "optimizer")
            for i, value in enumerate(getattr(self, kind))
        }
        buffer = io.BytesIO()
        history = np.array(json.dumps(plain(self.history)))
        np.savez(
            buffer, history=history, seconds=np.array(self.seconds), devices=np.array(self.devices), **arrays
        )
        write_bytes(path, buffer.getvalue())


def _write_history(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    write_text(folder / "history.csv", pd.DataFrame(history).to_csv(index=False, lineterminator="\n"))


def _resume(folder: Path) -> _State:
    """The last state; a new one where there is none."""
    path = folder / "state.npz"
    if not path.is_file():
        return _State()
    with np.load(path, allow_pickle=False) as saved:
        lists = [
            [saved[key] for key in saved.files if key.startswith(kind)]
            for kind in ("weights", "kept", "optimizer")
        ]
        used = int(saved["devices"]) if "devices" in saved.files else 1  # as earlier versions trained
        return _State(json.loads(str(saved["history"])), float(saved["seconds"]), used, *lists)


def _best(history: Sequence[Mapping[str, Any]]) -> int:
    """The epoch that is kept: the first of the highest validation accuracy."""
    return int(np.argmax([row["val_accuracy"] for row in history]))


def _stops(history: Sequence[Mapping[str, Any]], configuration: Configuration) -> bool:
    """Whether validation accuracy has not risen for as many epochs as the training's patience."""
    patience = configuration.patience
    return patience is not None and len(history) > 0 and len(history) - 1 - _best(history) >= patience


@dataclass(frozen=True, eq=False)
class _Trainer:
    """A network while it trains; `step` takes a `Batch` and gives mean loss and accuracy."""

    network: keras.Model
    optimizer: Any
    step: Callable[..., Any]
    schedule: Schedule
    plateau: keras.callbacks.ReduceLROnPlateau | None

    def rate(self) -> dict[str, float]:
        """The learning rate, by its name in the history, where a schedule changes it."""
        if self.schedule == "constant":
            return {}
        return {"learning_rate": float(f"{float(self.optimizer.learning_rate):.6g}")}

    def after_epoch(self, row: Mapping[str, Any]) -> None:
        """Lower the learning rate if the validation loss of these epochs no longer falls."""
        if self.plateau is not None:
            self.plateau.on_epoch_end(row["epoch"] - 1, dict(row))

    def state(self, history: Sequence[Mapping[str, Any]], before: _State, seconds: float) -> _State:
        """What the next epoch, or a resumed run, begins with."""
        own = self.network.get_weights()
        kept = own if _best(history) == len(history) - 1 else before.kept
        variables = [variable.numpy() for variable in self.optimizer.variables]
        return _State(tuple(history), seconds, devices.count(), own, kept, variables)


def _set_up(configuration: Configuration, state: _State, steps: int) -> _Trainer:
    """The network and its optimizer as the state left them, for so many steps an epoch."""
    strategy = devices.strategy()
    with strategy.scope():
        network = build(configuration, precision=configuration.precision)
        rate: Any = configuration.learning_rate
        if configuration.schedule == "cosine":  # of the optimizer's own count of steps, which the state has
            rate = keras.optimizers.schedules.CosineDecay(rate, configuration.epochs * steps)
        optimizer = keras.optimizers.Adam(rate)
        variables = network.trainable_variables
        optimizer.build(variables)
    plateau = None
    if configuration.schedule == "plateau":
        plateau = keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=3)
        plateau.set_model(SimpleNamespace(optimizer=optimizer))
        plateau.on_train_begin()

    def learn(pixels: Any, wanted: Any, weights: Any) -> Any:
        """One device's part of a step, and of the batch's mean loss and accuracy."""
        images = devices.over_all(tf.cast(tf.shape(pixels)[0], tf.float32))
        with tf.GradientTape() as tape:
            logits = tf.cast(network(pixels, training=True), tf.float32)
            loss = tf.reduce_sum(weights * candidate_crossentropy(wanted, logits)) / images
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss, tf.reduce_sum(accuracy(wanted, logits)) / images

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(parts: Any) -> Any:
        each = strategy.run(learn, args=parts)
        return [strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for value in each]

    trainer = _Trainer(
        network,
        optimizer,
        lambda batch: step(devices.share(strategy, *batch)),
        configuration.schedule,
        plateau,
    )
    for row in state.history:
        trainer.after_epoch(row)
    if state.epoch:  # the learning rate among the rest, as these epochs left it
        network.set_weights(state.weights)
        for variable, value in zip(optimizer.variables, state.optimizer, strict=True):
            variable.assign(value)
    return trainer


class _Losses:
    """An epoch's losses and accuracies; one that is not a number ends the training."""

    def __init__(self, name: str, epoch: int, learning_rate: float) -> None:
        self.name, self.epoch, self.learning_rate = name, epoch, learning_rate
        self.sums = np.zeros(3)

    def add(self, loss: float, right: float, count: int) -> None:
        self.refuse_nan(loss, "loss")
        self.sums += count * np.array([right, loss, 1.0])

    def means(self) -> dict[str, float]:
        right, loss, count = self.sums
        return {"accuracy": right / count, "loss": loss / count}

    def refuse_nan(self, value: float, what: str) -> None:
        if not np.isfinite(value):
            raise TrainingError(
                f"{self.name}: the {what} is not a number in epoch {self.epoch + 1}; "
                f"lower the learning rate (it was {self.learning_rate:g})."
            )
