"""Trainings on two devices and on one, in a process of its own: TensorFlow takes its devices once.

`python on_two_devices.py FOLDER` writes `FOLDER/found.json`. The two are one processor, as logical devices.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from dermsentry.collection import read_collection
from dermsentry.files import read_json, write_json
from dermsentry.model import open_bundle
from dermsentry.phantoms import draw_phantoms
from dermsentry.split import make_split
from dermsentry.training import devices, train
from dermsentry.training.batches import Batch, Examples
from dermsentry.training.configuration import Configuration
from dermsentry.training.fitted import Fitted, predict_logits
from dermsentry.training.loop import fit
from examples import examples, pictures

CNN = Configuration(
    size=32, epochs=3, batch_size=8, learning_rate=1e-3, augmented=True, class_weights=True, schedule="cosine"
)
LITE = Configuration(network="lite0", size=64, epochs=2, batch_size=8, learning_rate=1e-3)
LABELS = [("MEL", "NV", "NV", "PBK|SK")[i % 4] for i in range(19)]
# 19 photographs and 2 copies: batches of 8, 8 and 5, which two devices cannot share evenly.
TRAIN = replace(
    examples(LABELS),
    rows=np.arange(21),
    labels=(*LABELS, "MEL", "NV"),
    copies=pictures(("MEL", "NV"), seed=3),
)
FEW = examples(LABELS[:17])  # 8, 8 and 1, which two devices cannot share at all
LARGER = examples(LABELS[:8], size=64)
VALIDATION = examples([("MEL", "NV", "SK")[i % 3] for i in range(9)], seed=1)


ONE, TWO = 1, 2


@contextmanager
def on(number: int) -> Iterator[None]:
    """Train on so many devices; a process has one strategy, or their exchanges would be mixed up."""
    both = devices.strategy()
    assert both.num_replicas_in_sync == TWO
    with pytest.MonkeyPatch.context() as patch:
        if number == ONE:
            patch.setattr(devices, "strategy", tf.distribute.get_strategy)
        yield


def interrupted(
    folder: Path, at: tuple[int, int], configuration: Configuration = CNN, train: Examples = TRAIN
) -> None:
    """Train until a batch of an epoch."""
    batches = Examples.batches

    def cut(own: Examples, configuration: Configuration, epoch: int) -> Iterator[Batch]:
        for number, batch in enumerate(batches(own, configuration, epoch)):
            if (epoch, number) == at:
                raise KeyboardInterrupt
            yield batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Examples, "batches", cut)
        with pytest.raises(KeyboardInterrupt):
            fit(configuration, train, VALIDATION if train is TRAIN else train, folder)


def watched(folder: Path, configuration: Configuration, train: Examples) -> tuple[Fitted, list[list[Any]]]:
    """A training, and of each device's part of each step as it ran: the device, and how many images."""
    ran: list[list[Any]] = []
    over_all = devices.over_all

    def seen(images: Any) -> Any:
        device = tf.identity(images).device.rpartition("device:")[2]  # "" where nothing chooses one
        noted = tf.py_function(lambda count: ran.append([device, int(count)]), [images], [])
        with tf.control_dependencies([noted]):
            return over_all(tf.identity(images))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "over_all", seen)
        return fit(configuration, train, VALIDATION, folder), ran


def gradients(folder: Path) -> NDArray[np.float32]:
    """Those of a step of an EfficientNet-Lite, one after another, as Adam holds them (and their squares)."""
    interrupted(folder, (1, 0), LITE, LARGER)
    with np.load(folder / "state.npz") as state:
        return np.concatenate([state[key].ravel() for key in state.files if key.startswith("optimizer")])


def told(fitted: Fitted) -> dict[str, Any]:
    return {
        "devices": fitted.devices,
        "history": fitted.history.to_dict("list"),
        "logits": predict_logits(fitted.network, VALIDATION).tolist(),
    }


def main(folder: Path) -> None:
    [processor] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    devices.gpus = lambda: ["CPU:0", "CPU:1"]
    found: dict[str, Any] = {}
    for name, configuration, train_on in (("cnn", CNN, TRAIN), ("few", replace(CNN, epochs=1), FEW)):
        for number in (ONE, TWO):
            with on(number):
                fitted, ran = watched(folder / f"{name}-{number}", configuration, train_on)
            found[f"{name} on {number}"] = {**told(fitted), "ran": ran}
    for name, first, then in (("two", TWO, TWO), ("one, then two", ONE, TWO), ("two, then one", TWO, ONE)):
        with on(first):
            interrupted(folder / name, (2, 1))
        with on(then):
            found[f"resumed: {name}"] = told(fit(CNN, TRAIN, VALIDATION, folder / name))
    of = {}
    for number in (ONE, TWO):
        with on(number):
            of[number] = gradients(folder / f"lite-{number}")
    found["lite"] = {"apart": float(np.linalg.norm(of[TWO] - of[ONE]) / np.linalg.norm(of[ONE]))}
    phantoms = draw_phantoms(folder / "phantoms", per_class=5, test_per_class=2, size=(64, 48))
    collection = read_collection(phantoms.root)
    with on(TWO):
        run = train(
            collection, make_split(collection), folder / "run", network="cnn", size=32, epochs=1,
            batch_size=16, balance="class-weights", augmented=True,
        )  # fmt: skip
    found["run"] = {
        "devices": run.devices,
        "run.json": read_json(run.folder / "run.json")["devices"],
        "card": open_bundle(run.bundle).card.training["devices"],
    }
    write_json(folder / "found.json", found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
