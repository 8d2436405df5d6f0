"""On several devices a network is trained as on one: two logical processors stand for two GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from dermsentry.files import read_json
from dermsentry.training import devices

PROGRAM = Path(__file__).with_name("on_two_devices.py")
TOLERANCE = 1e-4
"""Of losses and logits, relative: sums of half batches round otherwise, and a training carries that on. They
differed by less than 1e-6 where this was written."""
EPOCHS = {"cnn": 3, "few": 1}
ALONE = {"cnn": [8, 8, 5], "few": [8, 8, 1]}
PARTS = {"cnn": [(4, 4), (4, 4), (3, 2)], "few": [(4, 4), (4, 4), (1, 1)]}
"""The images of each step; a single one is computed on both devices, as no batch may be empty."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("devices")
    environment = {**os.environ, "PYTHONPATH": str(PROGRAM.parents[1])}  # as pytest has it
    own = subprocess.run(
        [sys.executable, PROGRAM, folder], capture_output=True, text=True, check=False, env=environment
    )
    assert own.returncode == 0, own.stderr[-4000:]
    return read_json(folder / "found.json")


def assert_close(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["history"].keys() == other["history"].keys()
    for name, column in one["history"].items():
        np.testing.assert_allclose(column, other["history"][name], rtol=TOLERANCE, err_msg=name)
    np.testing.assert_allclose(one["logits"], other["logits"], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["cnn", "few"])
def test_two_devices_share_each_step_and_train_what_one_does(found: dict[str, Any], name: str) -> None:
    alone, both = found[f"{name} on 1"], found[f"{name} on 2"]
    assert [images for _, images in alone["ran"]] == EPOCHS[name] * ALONE[name]
    steps = [sorted(both["ran"][i : i + 2]) for i in range(0, len(both["ran"]), 2)]
    assert [[device for device, _ in step] for step in steps] == [["CPU:0", "CPU:1"]] * len(steps)
    assert [tuple(images for _, images in step) for step in steps] == EPOCHS[name] * PARTS[name]
    assert (alone["devices"], both["devices"]) == (1, 2)
    assert_close(both, alone)


def test_batch_normalisation_is_over_all_devices(found: dict[str, Any]) -> None:
    """An EfficientNet's gradients are those of one device; each part's own mean and variance give others."""
    assert found["lite"]["apart"] < 0.02


@pytest.mark.parametrize(("name", "devices"), [("two", 2), ("one, then two", 2), ("two, then one", 1)])
def test_an_interrupted_training_resumes_on_any_number_of_devices(
    found: dict[str, Any], name: str, devices: int
) -> None:
    resumed = found[f"resumed: {name}"]
    assert resumed["devices"] == devices
    assert_close(resumed, found["cnn on 2"])


def test_a_run_says_how_many_devices_it_was_trained_on(found: dict[str, Any]) -> None:
    assert found["run"] == {"devices": 2, "run.json": 2, "card": 2}


def test_one_device_is_left_as_it_is() -> None:
    assert devices.gpus() == []
    assert devices.count() == 1
    assert not devices.shared()
    batch = np.arange(6).reshape(3, 2)
    assert devices.share(devices.strategy(), batch)[0] is batch
    with tf.distribute.get_strategy().scope():
        assert not devices.shared()
