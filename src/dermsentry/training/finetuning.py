"""A pretrained network trained on photographs of many sources: one loop, read from top to bottom.

What makes it fit for two cores: most epochs see small pictures, and batch normalisation adapts in the first
epochs alone and then stands still, which halves the time of a step.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from dermsentry.errors import TrainingError
from dermsentry.files import fingerprint, write_bytes, write_text
from dermsentry.progress import track
from dermsentry.training.batches import targets
from dermsentry.training.fitting import prepare
from dermsentry.training.networks import candidate_crossentropy
from dermsentry.training.strong_augmentation import Variation, vary

BALANCE = 1 / 3
EVERY = 8  # steps between two updates of the averaged weights


@dataclass(frozen=True)
class Phase:
    """Epochs at one picture size; `adapting`: whether batch normalisation still learns its statistics."""

    epochs: int
    size: int
    adapting: bool = False


@dataclass(frozen=True)
class Plan:
    """How a network is trained: AdamW, a warm-up and a cosine over all phases, averaged weights kept.

    `dropout` is of the embedding. A `mixed_share` of the batches blends each photograph with another, by a
    share drawn from Beta(`mixup`, `mixup`), and their losses alike (Zhang et al., ICLR 2018).
    """

    phases: tuple[Phase, ...]
    learning_rate: float = 4e-4
    weight_decay: float = 0.05
    warm_up: int = 300
    batch_size: int = 32
    label_smoothing: float = 0.05
    dropout: float = 0.2
    mixup: float = 0.3
    mixed_share: float = 0.5
    averaging: float = 0.998
    variation: Variation = field(default_factory=Variation)
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Views:
    """Photographs, each with its files: other sizes and crops of it.

    `pixels` (M, S, S, 3) uint8 holds every file; `rows` lists each photograph's, `labels` its label, and
    `weights` (N,) how often it is drawn.
    """

    pixels: NDArray[np.uint8]
    rows: tuple[tuple[int, ...], ...]
    labels: tuple[str, ...]
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)


Validate = Callable[[keras.Model, int], Mapping[str, float]]
"""The figures of a network at a picture size, by name."""


def balanced_weights(
    labels: Sequence[str], sources: Sequence[str], power: float = BALANCE
) -> NDArray[np.float64]:
    """How often each photograph is drawn, (N,), adding up to 1.

    As how many there are of its diagnosis from its source, to the power of `-power`: at 0 all alike, at 1
    every diagnosis of every source alike. In between, neither a common class nor a large archive has all the
    say, and a rare one is not learned by heart.
    """
    cells = pd.Series(list(zip(labels, sources, strict=True)))
    weights = cells.map(cells.value_counts()).to_numpy(dtype=np.float64) ** -power
    return np.asarray(weights / weights.sum())


def finetune(
    build: Callable[[int], keras.Model],
    plan: Plan,
    train: Views,
    validate: Validate,
    folder: Path,
    *,
    name: str = "training",
    quiet: bool = True,
) -> tuple[keras.Model, pd.DataFrame]:
    """Train, or go on where the last call with the same plan and photographs stopped.

    Parameters
    ----------
    build
        Gives the network for a picture size with its first weights; their shapes depend on no size.
    validate
        Judges the averaged weights after each epoch.
    folder
        Gets `configuration.json`, `history.csv` and, after each epoch, `state.npz`.

    Returns
    -------
    The network with the averaged weights at the last phase's size, and a row per epoch.

    Raises
    ------
    TrainingError
        The loss is not a number.
    OutputError
        The folder cannot be written.
    """
    prepare(folder, {"configuration": asdict(plan), "data": _fingerprint(train)})
    steps = -(-len(train) // plan.batch_size)
    epochs = [phase for phase in plan.phases for _ in range(phase.epochs)]
    state = _State.load(folder / "state.npz")
    history: list[dict[str, Any]] = []
    if state:
        history = [dict(row) for _, row in pd.read_csv(folder / "history.csv").iterrows()]
    network, optimiser = None, cast(Any, None)
    for epoch in range(state.epoch if state else 0, len(epochs)):
        phase = epochs[epoch]
        new_phase = epoch == 0 or phase != epochs[epoch - 1]
        if network is None or new_phase:
            network = _at_size(build, phase.size, network, state)
            optimiser = _optimiser(plan, network, optimiser, state)
            step = _training_step(network, optimiser, plan, phase.adapting)
            # Each phase averages its own weights.
            average = state.average if state and not new_phase else network.get_weights()
            average = [np.array(value) for value in average]
        state = None
        started, losses = time.perf_counter(), []
        batches = _batches(train, plan, phase.size, epoch, steps)
        for i, batch in enumerate(track(batches, f"{name}, epoch {epoch + 1}", steps, quiet)):
            optimiser.learning_rate.assign(_rate(plan, epoch * steps + i, len(epochs) * steps))
            losses.append(step(*batch))
            if i % EVERY == 0:
                keep = min(plan.averaging**EVERY, (epoch * steps + i + 1) / (epoch * steps + i + 10 * EVERY))
                for kept, now in zip(average, network.get_weights(), strict=True):
                    kept += (1 - keep) * (now - kept)
        loss = float(np.mean(losses))
        if not np.isfinite(loss):
            raise TrainingError(
                f"{name}: the loss is not a number in epoch {epoch + 1}; lower the learning rate."
            )
        seconds = time.perf_counter() - started
        own = network.get_weights()
        network.set_weights(average)
        figures = validate(network, phase.size)
        network.set_weights(own)
        history.append({"epoch": epoch, "size": phase.size, "seconds": seconds, "loss": loss, **figures})
        _State(epoch + 1, own, average, [v.numpy() for v in optimiser.variables]).save(folder / "state.npz")
        write_text(folder / "history.csv", pd.DataFrame(history).to_csv(index=False, lineterminator="\n"))
        if not quiet:
            told = ", ".join(f"{key} {value:.4g}" for key, value in history[-1].items())
            print(f"{name}: {told}", file=sys.stderr, flush=True)
    finished = build(epochs[-1].size)
    finished.set_weights(state.average if state else average)
    return finished, pd.DataFrame(history)


@dataclass(frozen=True, eq=False)
class _State:
    epoch: int
    weights: list[NDArray[Any]]
    average: list[NDArray[Any]]
    optimiser: list[NDArray[Any]]

    def save(self, path: Path) -> None:
        named = {
            f"{kind}{i:05}": value
            for kind in ("weights", "average", "optimiser")
            for i, value in enumerate(getattr(self, kind))
        }
        buffer = io.BytesIO()
        np.savez(buffer, epoch=np.array(self.epoch), **named)
        write_bytes(path, buffer.getvalue())

    @staticmethod
    def load(path: Path) -> _State | None:
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as kept:
            lists = [
                [kept[key] for key in kept.files if key.startswith(kind)]
                for kind in ("weights", "average", "optimiser")
            ]
            return _State(int(kept["epoch"]), *lists)


def _fingerprint(train: Views) -> str:
    rows = (f"{label}:{','.join(map(str, own))}" for own, label in zip(train.rows, train.labels, strict=True))
    return fingerprint([str(train.pixels.shape), *rows, train.weights.astype(np.float32).tobytes().hex()])


def _at_size(
    build: Callable[[int], keras.Model], size: int, network: keras.Model | None, state: _State | None
) -> keras.Model:
    made = build(size)
    if state is not None:
        made.set_weights(state.weights)
    elif network is not None:
        made.set_weights(network.get_weights())
    return made


def _optimiser(plan: Plan, network: keras.Model, before: Any, state: _State | None) -> Any:
    """A new one for the network's variables, with the moments of the one before."""
    made = keras.optimizers.AdamW(plan.learning_rate, weight_decay=plan.weight_decay)
    made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    made.build(network.trainable_variables)
    values = state.optimiser if state else [v.numpy() for v in before.variables] if before else []
    for variable, value in zip(made.variables, values, strict=bool(values)):
        variable.assign(value)
    return made


def _training_step(network: keras.Model, optimiser: Any, plan: Plan, adapting: bool) -> Any:
    variables = network.trainable_variables
    trunk = keras.Model(network.input, network.get_layer("embedding").output)
    head = network.get_layer("logits")

    @tf.function  # type: ignore[untyped-decorator]
    def step(pixels: Any, wanted: Any, other: Any, share: Any) -> Any:
        with tf.GradientTape() as tape:
            embedding = tf.nn.dropout(trunk(pixels, training=adapting), plan.dropout)
            logits = tf.cast(head(embedding), tf.float32)
            own, blended = (candidate_crossentropy(y, logits) for y in (wanted, other))
            towards_all = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
            right = share * own + (1 - share) * blended
            loss = tf.reduce_mean((1 - plan.label_smoothing) * right + plan.label_smoothing * towards_all)
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), 5.0)
        optimiser.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    return step


def _rate(plan: Plan, step: int, steps: int) -> float:
    """The learning rate: linear at first, then half a cosine (Loshchilov and Hutter, ICLR 2017)."""
    warm = min(1.0, (step + 1) / plan.warm_up)
    return float(plan.learning_rate * warm * (0.5 + 0.5 * np.cos(np.pi * step / steps)))


Batch = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32], np.float32]
"""Pixels, their candidates, those of the photographs blended in, and the share of the former."""


def _batches(train: Views, plan: Plan, size: int, epoch: int, steps: int) -> Iterator[Batch]:
    """An epoch's batches, made ahead on a thread; they depend on the seed, the epoch and the batch alone."""
    hot = targets(train.labels)
    order = np.random.default_rng((plan.seed, epoch))
    drawn = order.choice(len(train), steps * plan.batch_size, p=train.weights)

    def make(i: int) -> Batch:
        rng = np.random.default_rng((plan.seed, epoch, i))
        chosen = drawn[i * plan.batch_size : (i + 1) * plan.batch_size]
        rows = np.array([train.rows[j][rng.integers(len(train.rows[j]))] for j in chosen])
        pixels, wanted = vary(train.pixels[rows], size, rng, plan.variation), hot[chosen]
        if rng.random() >= plan.mixed_share:
            return pixels, wanted, wanted, np.float32(1)
        partner, share = rng.permutation(len(chosen)), np.float32(rng.beta(plan.mixup, plan.mixup))
        blended = share * pixels.astype(np.float32) + (1 - share) * pixels[partner]
        return np.rint(blended).astype(np.uint8), wanted, wanted[partner], share

    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(make, i) for i in range(min(4, steps))]
        for i in range(steps):
            result = waiting.pop(0).result()
            if i + 4 < steps:
                waiting.append(pool.submit(make, i + 4))
            yield result
