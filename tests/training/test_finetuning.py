"""The loop learns, keeps averaged weights, and goes on after an interruption as if there had been none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from dermsentry.diagnoses import CODES
from dermsentry.errors import TrainingError
from dermsentry.training.finetuning import Phase, Plan, Views, balanced_weights, finetune
from dermsentry.training.strong_augmentation import Variation
from examples import pictures

LABELS = ("MEL", "NV", "BCC", "PBK|SK") * 12
QUIETLY = Variation(light=0, gain=0, saturation=0, gamma=0, coarse_share=0, noise_share=0, erased_share=0)
PLAN = Plan(
    (Phase(1, 24, adapting=True), Phase(2, 32)),
    learning_rate=2e-2,
    warm_up=4,
    batch_size=8,
    variation=QUIETLY,
)


def small(size: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 128, offset=-1)(image)
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    return keras.Model(image, layers.Dense(len(CODES), name="logits")(x))


def photographs() -> Views:
    rows = tuple((i,) if i % 3 else (i, (i + 4) % len(LABELS)) for i in range(len(LABELS)))
    return Views(pictures(LABELS, 32), rows, LABELS, balanced_weights(LABELS, ["a"] * len(LABELS)))


def nothing(network: keras.Model, size: int) -> dict[str, float]:
    return {"size_seen": float(size)}


def test_it_learns_at_every_size(tmp_path: Path) -> None:
    plan = Plan(
        (Phase(2, 24, adapting=True), Phase(10, 32)), 2e-2, warm_up=4, batch_size=8, variation=QUIETLY
    )
    network, history = finetune(small, plan, photographs(), nothing, tmp_path)
    assert network.input.shape[1] == 32
    assert list(history["size"]) == [24.0] * 2 + [32.0] * 10
    assert history["loss"].iloc[-1] < 0.75 * history["loss"].iloc[0]
    called = network.predict(pictures(LABELS, 32, seed=7), verbose=0).argmax(axis=1)
    right = [CODES[code] in label.split("|") for code, label in zip(called, LABELS, strict=True)]
    assert np.mean(right) > 0.6


def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, history = finetune(small, PLAN, photographs(), nothing, tmp_path / "whole")
    calls = []

    def stop(network: keras.Model, size: int) -> dict[str, float]:
        calls.append(size)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return nothing(network, size)

    with pytest.raises(KeyboardInterrupt):
        finetune(small, PLAN, photographs(), stop, tmp_path / "resumed")
    resumed, again = finetune(small, PLAN, photographs(), nothing, tmp_path / "resumed")
    assert list(again["epoch"]) == list(history["epoch"])
    assert np.allclose(again["loss"], history["loss"], rtol=1e-4)
    for own, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-4)


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first, _ = finetune(small, PLAN, photographs(), nothing, tmp_path)

    def refuse(network: keras.Model, size: int) -> Any:
        raise AssertionError("trained again")

    second, history = finetune(small, PLAN, photographs(), refuse, tmp_path)
    assert len(history) == 3
    for own, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)


def test_another_plan_starts_anew(tmp_path: Path) -> None:
    finetune(small, PLAN, photographs(), nothing, tmp_path)
    other = Plan((Phase(1, 32),), learning_rate=1e-2, warm_up=2, batch_size=8, variation=QUIETLY)
    _, history = finetune(small, other, photographs(), nothing, tmp_path)
    assert len(history) == 1


def test_batch_normalisation_stands_still_once_adapted(tmp_path: Path) -> None:
    still = Plan((Phase(1, 32),), learning_rate=1e-2, warm_up=2, batch_size=8, variation=QUIETLY)
    network, _ = finetune(small, still, photographs(), nothing, tmp_path)
    layer = next(layer for layer in network.layers if isinstance(layer, layers.BatchNormalization))
    np.testing.assert_array_equal(layer.moving_mean.numpy(), 0)


def test_a_loss_that_is_no_number_ends_it(tmp_path: Path) -> None:
    wild = Plan((Phase(3, 32),), learning_rate=1e30, warm_up=1, batch_size=8, variation=QUIETLY)
    with pytest.raises(TrainingError, match="not a number in epoch"):
        finetune(small, wild, photographs(), nothing, tmp_path)


def test_a_rare_class_of_a_small_source_is_drawn_more_often() -> None:
    labels, sources = ["NV"] * 100 + ["MEL"] * 4, ["a"] * 104
    weights = balanced_weights(labels, sources, 0.5)
    assert weights.sum() == pytest.approx(1)
    assert weights[-1] / weights[0] == pytest.approx(5)
    assert np.ptp(balanced_weights(labels, sources, 0)) == 0
    assert balanced_weights(labels, sources, 1)[-4:].sum() == pytest.approx(0.5)
