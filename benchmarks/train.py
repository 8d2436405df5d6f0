"""Training: images/s and minutes to the same validation accuracy, against the plain notebook way, in one run.

    python benchmarks/train.py DATA [--epochs 6] [--target 0.5]

The plain way is the assignment's: `image_dataset_from_directory` on the folder and `fit`, float32. Both
train the same network on the same images, in turn. DATA is a folder with `Train/` of class folders;
without it, phantoms are drawn.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from dermsentry.collection import read_collection
from dermsentry.diagnoses import CODES
from dermsentry.phantoms import draw_phantoms
from dermsentry.stats.metrics import targets
from dermsentry.training.batches import Examples
from dermsentry.training.configuration import Configuration, best_precision
from dermsentry.training.fitted import predict_logits
from dermsentry.training.loop import run_loop
from dermsentry.training.networks import accuracy
from dermsentry.training.pixels import decode
from dermsentry.training.pretrained import build

SIZE, BATCH = 180, 32


class Timed(keras.callbacks.Callback):
    """Seconds of training in each epoch, and the clock when validation first reached the target."""

    def __init__(self, target: float) -> None:
        super().__init__()
        self.target, self.seconds, self.reached = target, [], None

    def on_train_begin(self, logs=None):
        self.begun = time.perf_counter()

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_test_begin(self, logs=None):
        self.seconds.append(time.perf_counter() - self.start)

    def on_epoch_end(self, epoch, logs=None):
        if self.reached is None and logs["val_accuracy"] >= self.target:
            self.reached = time.perf_counter() - self.begun


def plain(folder: Path, epochs: int, target: float) -> tuple[Timed, int, float]:
    """The notebook's way, its reading included: float32, `image_dataset_from_directory`, `fit`."""
    started = time.perf_counter()
    options = {"validation_split": 0.2, "seed": 0, "image_size": (SIZE, SIZE), "batch_size": BATCH}
    train = keras.utils.image_dataset_from_directory(folder, subset="training", verbose=False, **options)
    held = keras.utils.image_dataset_from_directory(folder, subset="validation", verbose=False, **options)
    images = len(train.file_paths)
    network = build(Configuration(size=SIZE))
    network.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    # The network takes whole numbers; the notebook's data come as float32.
    network_float = keras.models.clone_model(
        network, input_tensors=keras.Input((SIZE, SIZE, 3), dtype="float32")
    )
    network_float.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    ready = time.perf_counter() - started
    timed = Timed(target)
    network_float.fit(train, validation_data=held, epochs=epochs, callbacks=[timed], verbose=0)
    return timed, images, ready


def ours(folder: Path, cache: Path, epochs: int, target: float) -> tuple[Timed, int, float]:
    """Dermsentry's way, its decoding included."""
    started = time.perf_counter()
    collection = read_collection(folder)
    decoded = decode(collection, cache, size=SIZE)
    labels = tuple(collection.table["diagnosis"])
    order = np.random.default_rng(0).permutation(len(labels))
    at = len(order) // 5

    def examples(rows):
        return Examples(decoded.pixels, rows, tuple(labels[i] for i in rows))

    train, held = examples(order[at:]), examples(order[:at])
    configuration = Configuration(epochs=epochs, batch_size=BATCH, size=SIZE, precision=best_precision())
    hot, timed = targets(held.labels), Timed(target)

    def validate(network):
        timed.on_test_begin()
        found = float(np.mean(accuracy(hot, predict_logits(network, held, 2 * BATCH))))
        timed.on_epoch_end(0, {"val_accuracy": found})
        timed.on_epoch_begin(0)
        return {"val_accuracy": found}

    ready = time.perf_counter() - started
    timed.on_train_begin()
    timed.on_epoch_begin(0)
    shutil.rmtree(cache / "run", ignore_errors=True)
    run_loop(configuration, train, validate, cache / "run", data="benchmark")
    return timed, len(train), ready


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--target", type=float, default=0.5, help="validation accuracy to reach")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        data = arguments.data
        if data is None:
            draw_phantoms(
                scratch / "phantoms", per_class=80, test_per_class=1, defects=False, size=(240, 180)
            )
            data = scratch / "phantoms"
        folder = data / "Train"
        speeds: dict[str, list[float]] = {"plain": [], "dermsentry": []}
        clock: dict[str, list[float | None]] = {"plain": [], "dermsentry": []}
        for _ in range(arguments.rounds):
            shutil.rmtree(scratch / "cache", ignore_errors=True)
            for way in ("plain", "dermsentry"):
                if way == "plain":
                    timed, images, ready = plain(folder, arguments.epochs, arguments.target)
                else:
                    timed, images, ready = ours(folder, scratch / "cache", arguments.epochs, arguments.target)
                speed = images / statistics.median(timed.seconds[1:])
                reached = None if timed.reached is None else ready + timed.reached
                speeds[way].append(speed)
                clock[way].append(reached)
                when = "not reached" if reached is None else f"{reached / 60:.2f} min"
                print(
                    f"{way:<11} {speed:7.1f} images/s; {arguments.target:.0%} validation accuracy: {when}",
                    flush=True,
                )
    ratios = [b / a for a, b in zip(speeds["plain"], speeds["dermsentry"], strict=True)]
    print(f"precision {best_precision()}, {len(CODES)} classes, {SIZE} px, batches of {BATCH}")
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"images/s, dermsentry / plain: {statistics.median(ratios):.2f} (each round: {each})")
    pairs = [(a, b) for a, b in zip(clock["plain"], clock["dermsentry"], strict=True) if a and b]
    if pairs:
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"minutes to {arguments.target:.0%}, plain / dermsentry: {ratio:.2f}")


if __name__ == "__main__":
    main()
