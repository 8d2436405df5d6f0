"""The training loop: every network goes through it, and resumes after its last whole epoch.

A folder holds `configuration.json`, `history.csv` (a row per epoch, counted from 1) and `state.npz`: the same
history, the weights, those that are kept, and the optimizer's variables. A run resumes from `state.npz`, so
that no interruption leaves two files that do not fit.
"""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from dermsentry.csv_tables import read_table
from dermsentry.errors import InputError, OutputError, TrainingError
from dermsentry.files import fingerprint, plain, to_json, write_bytes, write_text
from dermsentry.progress import Work, say, watched
from dermsentry.training.batches import Batch, Examples, TrainingData, targets
from dermsentry.training.configuration import Configuration, FineTuning, Phase
from dermsentry.training.fitted import Fitted, predict_logits
from dermsentry.training.networks import accuracy, candidate_crossentropy, freeze
from dermsentry.training.pixels import digest
from dermsentry.training.pretrained import build

# It warns about every new network that one process trains.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

CLIP = 5.0
"""The global norm that the gradients of a fine-tuning are clipped to (Pascanu et al., ICML 2013)."""
EVERY = 8
"""Steps between two updates of the averaged weights."""

Arrays = list[NDArray[Any]]
Validate = Callable[[keras.Model, int], Mapping[str, float]]
"""The validation figures of a network at an image size, by name."""


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
    """Train a network and keep the weights of the epoch with the highest validation accuracy.

    Run it again to resume; with another configuration or other data it starts from the beginning.

    Raises
    ------
    TrainingError
        The loss is not a number, or there is nothing to train or validate on.
    OutputError
        The folder cannot be written.
    InputError
        `tensorboard` is asked for and not installed.
    """
    if not len(train) or not len(validation):
        raise TrainingError(
            f"{name}: {len(train)} photographs to train and {len(validation)} to validate on; "
            "expected some of both."
        )
    hot, batch = targets(validation.labels), 2 * configuration.batch_size

    def validate(network: keras.Model, size: int) -> dict[str, float]:
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
        tensorboard=tensorboard,
        quiet=quiet,
    )


def run_loop(
    configuration: Configuration,
    train: TrainingData,
    validate: Validate,
    folder: Path,
    *,
    data: str,
    start: Path | None = None,
    name: str = "training",
    tensorboard: bool = False,
    quiet: bool = True,
) -> Fitted:
    """Train a network, or resume after the last whole epoch of a run with this configuration and `data`.

    Parameters
    ----------
    configuration
        Without `fine_tuning` the weights kept are those of the highest `val_accuracy`; with it the moving
        average over the last phase.
    train
        What each epoch's batches are made of.
    validate
        Called with the network and its image size after each epoch; its figures go into the history.
    folder
        See the module.
    data
        A fingerprint of what it is trained and validated on.
    start
        The folder of a finished run of the same network, whose weights it begins with.
    name, quiet
        The run's name in progress and errors; whether to show any progress.
    tensorboard
        Also write logs for TensorBoard.

    Raises
    ------
    TrainingError
        A loss is not a number.
    OutputError
        The folder cannot be written.
    InputError
        `start` is no finished run of this network, or `tensorboard` is asked for and not installed.
    """
    if tensorboard and not importlib.util.find_spec("tensorboard"):
        raise InputError("TensorBoard is not installed; run `pip install tensorboard`, or train without it.")
    first_weights, begun = ([], {}) if start is None else _finished(start, configuration)
    prepare(folder, {"configuration": configuration.record(), "data": data, **begun})
    epochs = [phase for phase in configuration.phases for _ in range(phase.epochs)]
    steps = math.ceil(len(train) / configuration.batch_size)
    state = _resume(folder)
    if not state.epoch:
        state = replace(state, weights=first_weights)
    history = list(state.history)
    trainer = None
    if state.epoch:
        resuming = f"resuming after epoch {state.epoch} of {len(epochs)}"
        say(f"{name}: {'already trained' if state.epoch == len(epochs) else resuming}", quiet=quiet)
    with Work(name, len(epochs) * steps, quiet=quiet, done=state.epoch * steps) as shown:
        for epoch in range(state.epoch, len(epochs)):
            phase = epochs[epoch]
            first = epoch == 0 or phase is not epochs[epoch - 1]
            if trainer is None or first:
                trainer = _set_up(configuration, phase, state, first)
            shown.advance(0, f"{name}: epoch {epoch + 1}/{len(epochs)}")
            started, losses = time.perf_counter(), _Losses(name, epoch, configuration.learning_rate)
            for i, batch in enumerate(train.batches(configuration, phase.size, epoch)):
                losses.add(*trainer.learn(batch, epoch * steps + i, len(epochs) * steps), len(batch.pixels))
                if i % EVERY == 0:
                    trainer.update_average(epoch * steps + i)
                shown.advance()
            seconds = time.perf_counter() - started
            figures = trainer.validate(validate, phase.size)
            losses.refuse_nan(figures.get("val_loss", 0.0), "validation loss")
            row = {"epoch": epoch + 1, **losses.means(), **figures}
            if configuration.fine_tuning:
                row |= {"size": phase.size, "seconds": seconds}
            history.append(row)
            best = _best(configuration, history) == epoch
            state = trainer.state(history, state, state.seconds + seconds, best)
            state.save(folder / "state.npz")
            _write_history(folder, history)
            if tensorboard:
                _log(folder / "tensorboard", row)
            figures_told = ", ".join(f"{key} {value:.3f}" for key, value in row.items() if key != "epoch")
            say(f"{shown.what}, {figures_told}", quiet=quiet or watched())
    if state.weights:
        replace(state, weights=[], optimizer=[]).save(folder / "state.npz")
    _write_history(folder, history)  # an interruption may have come before the last one's
    network = build(configuration)
    network.set_weights(state.kept)
    speed = len(train) * len(history) / state.seconds if state.seconds else 0.0
    best_epoch = _best(configuration, history) + 1
    return Fitted(network, pd.DataFrame(history), best_epoch, state.seconds, speed)


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
    """After whole epochs: their history, training seconds, weights, those that are kept, the optimizer's."""

    history: Sequence[Mapping[str, Any]] = ()
    seconds: float = 0.0
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
        np.savez(buffer, history=history, seconds=np.array(self.seconds), **arrays)
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
        seconds, epochs = float(saved["seconds"]), int(saved["epoch"]) if "epoch" in saved.files else None
        history = _history_beside(folder, epochs) if epochs else json.loads(str(saved["history"]))
    return _State(history, seconds, *lists) if epochs in (None, len(history)) else _State()


def _finished(folder: Path, configuration: Configuration) -> tuple[Arrays, dict[str, str]]:
    """The weights that a finished run kept, and what the run that begins with them records of it."""
    state = _resume(folder)
    shapes = [tuple(weight.shape) for weight in build(configuration).weights]
    if state.weights or [value.shape for value in state.kept] != shapes:
        raise InputError(
            f"{folder} is no finished run of {configuration.network}; expected one to start from."
        )
    return state.kept, {"start": fingerprint(value.tobytes().hex() for value in state.kept)}


def _history_beside(folder: Path, epochs: int) -> list[dict[str, Any]]:
    """The history of a run of an earlier version, whose epochs counted from 0; none where it is missing."""
    table = folder / "history.csv"
    rows = read_table(table).head(epochs).to_dict("records") if table.is_file() else []
    return [
        {str(name): int(value) if name == "size" else float(value or "nan") for name, value in row.items()}
        | {"epoch": epoch}
        for epoch, row in enumerate(rows, 1)
    ]


def _best(configuration: Configuration, history: Sequence[Mapping[str, Any]]) -> int:
    """The epoch that is kept: the first of the highest validation accuracy, of a fine-tuning the last."""
    if configuration.fine_tuning:
        return len(history) - 1
    return int(np.argmax([row["val_accuracy"] for row in history]))


@dataclass(frozen=True, eq=False)
class _Trainer:
    """A network while it trains, at one image size; `average` is that of its weights in fine-tuning."""

    configuration: Configuration
    network: keras.Model
    optimizer: Any
    step: Callable[..., Any]
    average: Arrays

    def learn(self, batch: Batch, done: int, steps: int) -> tuple[float, float]:
        """Take the step after `done` of `steps`; the batch's mean loss and its accuracy."""
        tuning = self.configuration.fine_tuning
        if tuning:
            warm, cosine = min(1.0, (done + 1) / tuning.warm_up), 0.5 + 0.5 * np.cos(np.pi * done / steps)
            self.optimizer.learning_rate.assign(float(self.configuration.learning_rate * warm * cosine))
        # Dropout depends on the seed and the step alone, so that a resumed run goes the same way.
        key = np.array([self.configuration.seed, done], dtype=np.int32)
        loss, right = self.step(key, *batch)
        return float(loss), float(right)

    def update_average(self, done: int) -> None:
        """Move the average towards the weights; early ones count less (Polyak and Juditsky, 1992)."""
        tuning = self.configuration.fine_tuning
        if tuning:
            keep = min(tuning.ema**EVERY, (done + 1) / (done + 10 * EVERY))
            for kept, now in zip(self.average, self.network.get_weights(), strict=True):
                kept += (1 - keep) * (now - kept)

    def validate(self, validate: Validate, size: int) -> Mapping[str, float]:
        """The figures of the weights that would be kept."""
        if not self.configuration.fine_tuning:
            return validate(self.network, size)
        own = self.network.get_weights()
        self.network.set_weights(self.average)
        figures = validate(self.network, size)
        self.network.set_weights(own)
        return figures

    def state(
        self, history: Sequence[Mapping[str, Any]], before: _State, seconds: float, best: bool
    ) -> _State:
        """What the next epoch, or a resumed run, begins with."""
        own = self.network.get_weights()
        kept = self.average if self.configuration.fine_tuning else own if best else before.kept
        variables = [variable.numpy() for variable in self.optimizer.variables]
        return _State(tuple(history), seconds, own, kept, variables)


def _set_up(configuration: Configuration, phase: Phase, state: _State, first: bool) -> _Trainer:
    """The network and its optimizer as the state left them, for a phase that begins or is resumed."""
    tuning = configuration.fine_tuning
    network = build(configuration, size=phase.size, precision=configuration.precision)
    if tuning:
        freeze(network, tuning.frozen_stages)
    optimizer = keras.optimizers.Adam(
        configuration.learning_rate, weight_decay=tuning.weight_decay if tuning else None
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(network.trainable_variables)
    if state.weights:
        network.set_weights(state.weights)
    if state.epoch:
        for variable, value in zip(optimizer.variables, state.optimizer, strict=True):
            variable.assign(value)
    # Each phase averages its own weights.
    average = network.get_weights() if first else state.kept
    step = _training_step(network, optimizer, tuning, phase.adapting)
    return _Trainer(configuration, network, optimizer, step, [np.array(value) for value in average])


def _training_step(network: keras.Model, optimizer: Any, tuning: FineTuning | None, adapting: bool) -> Any:
    """A function of a key for dropout and a batch: it takes one step; the mean loss and the accuracy."""
    variables = network.trainable_variables
    if tuning:
        trunk = keras.Model(network.input, network.get_layer("embedding").output)
        head = network.get_layer("logits")

    def logits_of(pixels: Any, key: Any) -> Any:
        if not tuning:
            return network(pixels, training=adapting)
        embedding = trunk(pixels, training=adapting)
        return head(tf.nn.experimental.stateless_dropout(embedding, tuning.dropout, seed=key))

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(
        key: Any, pixels: Any, wanted: Any, weights: Any, others: Any, smoothing: Any, share: Any
    ) -> Any:
        with tf.GradientTape() as tape:
            logits = tf.cast(logits_of(pixels, key), tf.float32)
            losses = candidate_crossentropy(wanted, logits)
            if tuning:
                losses = share * losses + (1 - share) * candidate_crossentropy(others, logits)
                towards_all = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
                losses = (1 - smoothing) * losses + smoothing * towards_all
            loss = tf.reduce_mean(weights * losses)
        gradients = tape.gradient(loss, variables)
        if tuning:
            gradients, _ = tf.clip_by_global_norm(gradients, CLIP)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss, tf.reduce_mean(accuracy(wanted, logits))

    return step


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


def _log(folder: Path, row: Mapping[str, float]) -> None:
    """An epoch's figures for TensorBoard, under the names that Keras gives them."""
    for part in ("train", "validation"):
        with tf.summary.create_file_writer(str(folder / part)).as_default(step=int(row["epoch"])):
            for figure, value in row.items():
                if figure.startswith("val_") == (part == "validation") and figure != "epoch":
                    tf.summary.scalar(f"epoch_{figure.removeprefix('val_')}", value)
