"""A training that was interrupted ends as one that was not; whatever cannot go on says why in one line."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from dermsentry import files
from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError, OutputError, TrainingError
from dermsentry.files import read_json
from dermsentry.training import loop, networks
from dermsentry.training.augmentation import StrongAugmentation
from dermsentry.training.batches import Examples
from dermsentry.training.configuration import Configuration, FineTuning, Phase
from dermsentry.training.fitted import Fitted, predict_logits
from dermsentry.training.loop import Validate, fit, run_loop
from dermsentry.training.pretrained import build
from examples import examples, pictures
from recipes.dermoscopy.views import Views

SMALL = Configuration(size=32, epochs=3, batch_size=8, learning_rate=0.01, augmented=True, class_weights=True)
TRAIN = examples([("MEL", "NV", "NV", "PBK|SK")[i % 4] for i in range(20)])
VALIDATION = examples([("MEL", "NV", "SK")[i % 3] for i in range(9)], seed=1)
STEPS = 3


class Done(NamedTuple):
    fitted: Fitted
    folder: Path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("done") / "run"
    return Done(fit(SMALL, TRAIN, VALIDATION, folder), folder)


def assert_same(fitted: Fitted, other: Fitted) -> None:
    assert list(fitted.history["epoch"]) == list(range(1, SMALL.epochs + 1))
    np.testing.assert_allclose(fitted.history, other.history, rtol=1e-5)
    assert fitted.best_epoch == other.best_epoch
    for one, two in zip(fitted.network.get_weights(), other.network.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


class Interruptions:
    """Raise KeyboardInterrupt at one batch of one epoch, once; remember which epochs began."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, epoch: int, batch: int) -> None:
        self.begun: list[int] = []
        self.at: tuple[int, int] | None = (epoch, batch)
        batches = Examples.batches

        def interrupted(examples: Examples, configuration: Configuration, size: int, epoch: int) -> Any:
            self.begun.append(epoch)
            for i, batch in enumerate(batches(examples, configuration, size, epoch)):
                yield batch
                if (epoch, i) == self.at:
                    self.at = None
                    raise KeyboardInterrupt

        monkeypatch.setattr(Examples, "batches", interrupted)


@pytest.mark.parametrize("killed", [False, True], ids=["interrupted", "killed"])
def test_an_interrupted_training_ends_as_one_that_was_not(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    seen = Interruptions(monkeypatch, epoch=2, batch=1)
    with pytest.raises(KeyboardInterrupt):
        fit(SMALL, TRAIN, VALIDATION, tmp_path)
    assert seen.begun == [0, 1, 2]
    if killed:  # between the state of an epoch and its history
        lines = (tmp_path / "history.csv").read_text().splitlines(keepends=True)
        (tmp_path / "history.csv").write_text("".join(lines[:-1]))
    seen.begun.clear()
    assert_same(fit(SMALL, TRAIN, VALIDATION, tmp_path), done.fitted)
    assert seen.begun == [2]
    assert list(pd.read_csv(tmp_path / "history.csv")["epoch"]) == [1, 2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "configuration.json",
        "history.csv",
        "state.npz",
    ]


def test_one_interrupted_in_its_first_epoch_begins_anew(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Interruptions(monkeypatch, epoch=0, batch=STEPS - 1)
    with pytest.raises(KeyboardInterrupt):
        fit(SMALL, TRAIN, VALIDATION, tmp_path)
    assert_same(fit(SMALL, TRAIN, VALIDATION, tmp_path), done.fitted)
    assert seen.begun == [0, 0, 1, 2]


@pytest.mark.parametrize("writes", [0, 2])
def test_a_disk_that_runs_full_is_one_line_and_can_be_resumed_from(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """Full at the first epoch's state, or at the last one's."""
    left = iter(range(writes))
    write = files.write_bytes

    def full(path: Path, data: bytes) -> None:
        if next(left, None) is None:
            with files.whole_file(path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_bytes", full)
        with pytest.raises(
            OutputError, match=r"Cannot write .*: No space left on device\.[^\n]*$"
        ) as refused:
            fit(SMALL, TRAIN, VALIDATION, tmp_path)
    assert refused.value.exit_code == 4
    seen = Interruptions(monkeypatch, -1, -1)
    assert_same(fit(SMALL, TRAIN, VALIDATION, tmp_path), done.fitted)
    assert seen.begun == list(range(writes, 3))


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write") as refused:
        fit(SMALL, TRAIN, VALIDATION, tmp_path / "file" / "run")
    assert refused.value.exit_code == 4


def test_the_weights_are_those_of_the_best_epoch(done: Done) -> None:
    history = done.fitted.history
    best = history.iloc[done.fitted.best_epoch - 1]
    assert best["val_accuracy"] == history["val_accuracy"].max()
    chosen = predict_logits(done.fitted.network, VALIDATION).argmax(axis=1)
    right = [CODES[i] == label for i, label in zip(chosen, VALIDATION.labels, strict=True)]
    assert np.mean(right) == pytest.approx(best["val_accuracy"])
    assert done.fitted.seconds > 0
    assert done.fitted.images_per_second == pytest.approx(3 * len(TRAIN) / done.fitted.seconds)


def test_the_record_says_what_ran(done: Done) -> None:
    record = read_json(done.folder / "configuration.json")
    assert record["configuration"]["epochs"] == 3
    assert record["configuration"]["learning_rate"] == SMALL.learning_rate
    assert len(record["data"]) == 64


@pytest.fixture
def finished(done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run's folder, where another training would be noticed."""

    def refuse(*_: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(loop, "_set_up", refuse)
    return shutil.copytree(done.folder, tmp_path / "run")


def test_a_finished_training_is_not_run_again(done: Done, finished: Path) -> None:
    assert_same(fit(SMALL, TRAIN, VALIDATION, finished), done.fitted)


OTHER_PIXELS = TRAIN.pixels.copy()
OTHER_PIXELS[7, 3, 3, 1] ^= 1
COPIES = np.zeros((2, 32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    ("configuration", "train", "validation"),
    [
        (replace(SMALL, learning_rate=1e-4), TRAIN, VALIDATION),
        (replace(SMALL, seed=3), TRAIN, VALIDATION),
        (SMALL, replace(TRAIN, labels=("NV", *TRAIN.labels[1:])), VALIDATION),
        (SMALL, replace(TRAIN, rows=TRAIN.rows[::-1]), VALIDATION),
        (SMALL, replace(TRAIN, pixels=OTHER_PIXELS), VALIDATION),
        (SMALL, replace(TRAIN, copies=COPIES), VALIDATION),
        (SMALL, TRAIN, replace(VALIDATION, rows=VALIDATION.rows[1:], labels=VALIDATION.labels[1:])),
        (SMALL, TRAIN, replace(VALIDATION, pixels=255 - VALIDATION.pixels)),
    ],
    ids=["rate", "seed", "labels", "rows", "pixels", "copies", "validation", "validation pixels"],
)
def test_what_changed_is_trained_anew(
    finished: Path, configuration: Configuration, train: Examples, validation: Examples
) -> None:
    with pytest.raises(AssertionError, match="trained"):
        fit(configuration, train, validation, finished)
    assert [path.name for path in finished.iterdir()] == ["configuration.json"]


@pytest.mark.parametrize("name", ["state.npz", "configuration.json"])
def test_a_run_that_lost_a_file_is_trained_again(finished: Path, name: str) -> None:
    (finished / name).unlink()
    with pytest.raises(AssertionError, match="trained"):
        fit(SMALL, TRAIN, VALIDATION, finished)


def as_an_earlier_version_wrote(folder: Path) -> None:
    """The history only in its CSV, epochs counted from 0."""
    with np.load(folder / "state.npz") as saved:
        arrays = dict(saved)
    history = pd.DataFrame(json.loads(str(arrays.pop("history"))))
    np.savez(folder / "state.npz", epoch=np.array(len(history)), **arrays)
    history.assign(epoch=range(len(history))).to_csv(folder / "history.csv", index=False)


def test_a_run_of_an_earlier_version_is_resumed_and_counted_from_1(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Interruptions(monkeypatch, epoch=2, batch=1)
    with pytest.raises(KeyboardInterrupt):
        fit(SMALL, TRAIN, VALIDATION, tmp_path)
    as_an_earlier_version_wrote(tmp_path)
    seen.begun.clear()
    assert_same(fit(SMALL, TRAIN, VALIDATION, tmp_path), done.fitted)
    assert seen.begun == [2]


def test_an_interruption_between_two_files_loses_no_epoch(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_write_history", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fit(SMALL, TRAIN, VALIDATION, tmp_path)
    seen = Interruptions(monkeypatch, -1, -1)
    assert_same(fit(SMALL, TRAIN, VALIDATION, tmp_path), done.fitted)
    assert seen.begun == [1, 2]


def test_a_history_that_was_lost_is_written_again(done: Done, finished: Path) -> None:
    kept = (finished / "history.csv").read_text()
    (finished / "history.csv").unlink()
    assert_same(fit(SMALL, TRAIN, VALIDATION, finished), done.fitted)
    assert (finished / "history.csv").read_text() == kept


def test_a_loss_that_is_no_number_is_a_training_error(tmp_path: Path) -> None:
    wild = replace(SMALL, learning_rate=1e20)
    with pytest.raises(
        TrainingError, match=r"^wild: the loss is not a number in epoch \d.*\(it was 1e\+20\)"
    ) as no:
        fit(wild, TRAIN, VALIDATION, tmp_path, name="wild")
    assert no.value.exit_code == 5
    assert not (tmp_path / "state.npz").exists()


def test_the_validation_loss_is_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "predict_logits", lambda *_: np.full((len(VALIDATION), 9), np.nan, np.float32))
    with pytest.raises(TrainingError, match="the validation loss is not a number in epoch 1"):
        fit(SMALL, TRAIN, VALIDATION, tmp_path)


@pytest.mark.parametrize("empty", ["train", "validation"])
def test_nothing_to_learn_or_to_choose_by_is_a_training_error(tmp_path: Path, empty: str) -> None:
    nothing = Examples(TRAIN.pixels, np.array([], dtype=np.int64), ())
    given = {"train": TRAIN, "validation": VALIDATION, empty: nothing}
    with pytest.raises(TrainingError, match="expected some of both"):
        fit(SMALL, given["train"], given["validation"], tmp_path)


def test_tensorboard_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install tensorboard"):
        fit(SMALL, TRAIN, VALIDATION, tmp_path, tensorboard=True)


def test_half_precision_gives_a_float32_network_and_talks_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = replace(SMALL, precision="mixed_bfloat16", epochs=1)
    before = keras.config.dtype_policy().name
    fitted = fit(half, TRAIN, VALIDATION, tmp_path, name="half", quiet=False)
    assert keras.config.dtype_policy().name == before
    assert {layer.compute_dtype for layer in fitted.network.layers[1:]} == {"float32"}
    logits = predict_logits(fitted.network, VALIDATION)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    said = capsys.readouterr()
    assert said.out == ""
    assert "half: epoch 1/1, " in said.err
    assert "val_accuracy" in said.err
    fit(half, TRAIN, VALIDATION, tmp_path, name="half", quiet=False)
    assert capsys.readouterr().err == "half: already trained\n"


def test_the_seed_decides_the_first_weights() -> None:
    first, again, other = (build(replace(SMALL, seed=seed)).get_weights() for seed in (1, 1, 2))
    assert all((one == two).all() for one, two in zip(first, again, strict=True))
    assert any((one != two).any() for one, two in zip(first, other, strict=True))


MANY = ("MEL", "NV", "BCC", "PBK|SK") * 12
QUIETLY = StrongAugmentation(
    light=0, gain=0, saturation=0, gamma=0, coarse_share=0, noise_share=0, erased_share=0
)


def tuned(*phases: Phase, warm_up: int = 4, rate: float = 2e-2, frozen_stages: int = 0) -> Configuration:
    tuning = FineTuning(phases, warm_up=warm_up, frozen_stages=frozen_stages, augmentation=QUIETLY)
    epochs, size = sum(phase.epochs for phase in phases), phases[-1].size
    return Configuration("small", epochs, 8, rate, size, fine_tuning=tuning)  # type: ignore[arg-type]


PHASES = Phase(1, 24, adapting=True), Phase(2, 32)
TUNED = tuned(*PHASES)


@pytest.fixture
def finetune(monkeypatch: pytest.MonkeyPatch) -> Callable[[Configuration, Validate, Path], Fitted]:
    monkeypatch.setitem(networks.NETWORKS, "small", small)

    def run(configuration: Configuration, validate: Validate, folder: Path) -> Fitted:
        views = photographs()
        return run_loop(configuration, views, validate, folder, data=views.fingerprint())

    return run


Finetune = Callable[[Configuration, Validate, Path], Fitted]


def small(size: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 128, offset=-1)(image)
    x = layers.Conv2D(8, 3, strides=2, use_bias=False, name="stem_conv")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="stem_bn")(x))
    x = layers.Conv2D(8, 1, name="block1a_project_conv")(x)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    return keras.Model(image, layers.Dense(len(CODES), name="logits")(x))


def photographs() -> Views:
    rows = tuple((i,) if i % 3 else (i, (i + 4) % len(MANY)) for i in range(len(MANY)))
    masks = np.zeros((len(MANY), 32, 32), np.uint8)
    return Views(pictures(MANY, 32), masks, rows, MANY, np.full(len(MANY), 1 / len(MANY)))


def nothing(network: keras.Model, size: int) -> dict[str, float]:
    return {"size_seen": float(size)}


def test_fine_tuning_learns_at_every_size(finetune: Finetune, tmp_path: Path) -> None:
    fitted = finetune(tuned(Phase(2, 24, adapting=True), Phase(10, 32)), nothing, tmp_path)
    network, history = fitted.network, fitted.history
    assert network.input.shape[1] == 32
    assert list(history["size"]) == [24] * 2 + [32] * 10
    assert history["loss"].iloc[-1] < 0.75 * history["loss"].iloc[0]
    called = network.predict(pictures(MANY, 32, seed=7), verbose=0).argmax(axis=1)
    assert np.mean([CODES[code] in label.split("|") for code, label in zip(called, MANY, strict=True)]) > 0.6


@pytest.mark.parametrize("frozen_stages", [0, 1])
def test_an_interrupted_fine_tuning_ends_as_an_uninterrupted_one(
    finetune: Finetune, tmp_path: Path, frozen_stages: int
) -> None:
    configuration = tuned(*PHASES, frozen_stages=frozen_stages)
    whole = finetune(configuration, nothing, tmp_path / "whole")
    calls = []

    def stop(network: keras.Model, size: int) -> dict[str, float]:
        calls.append(size)
        if len(calls) == 3:  # within the second phase
            raise KeyboardInterrupt
        return nothing(network, size)

    with pytest.raises(KeyboardInterrupt):
        finetune(configuration, stop, tmp_path / "resumed")
    resumed = finetune(configuration, nothing, tmp_path / "resumed")
    np.testing.assert_allclose(resumed.history["loss"], whole.history["loss"], rtol=1e-4)
    for own, other in zip(whole.network.get_weights(), resumed.network.get_weights(), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-4)

    def refuse(network: keras.Model, size: int) -> dict[str, float]:
        raise AssertionError("trained again")

    again = finetune(configuration, refuse, tmp_path / "resumed")
    assert len(again.history) == 3
    other = finetune(tuned(Phase(1, 32)), nothing, tmp_path / "resumed")
    assert len(other.history) == 1
    # Batch normalisation stood still: nothing was adapting.
    layer = next(layer for layer in other.network.layers if isinstance(layer, layers.BatchNormalization))
    np.testing.assert_array_equal(layer.moving_mean.numpy(), 0)


def test_frozen_stages_keep_their_weights_and_statistics(finetune: Finetune, tmp_path: Path) -> None:
    before = small(32)
    after = finetune(tuned(*PHASES, frozen_stages=1), nothing, tmp_path).network
    changed = {
        layer.name
        for layer in before.layers
        if layer.weights
        for own, other in zip(layer.get_weights(), after.get_layer(layer.name).get_weights(), strict=True)
        if not np.array_equal(own, other)
    }
    assert changed == {"block1a_project_conv", "logits"}


def test_a_figure_that_is_no_number_is_resumed_from(finetune: Finetune, tmp_path: Path) -> None:
    """A set without a melanoma in validation has no AUROC; its column is empty."""

    def undefined(network: keras.Model, size: int) -> dict[str, float]:
        return {"roc_auc": float("nan"), "balanced_accuracy": 0.1 + 0.2}

    whole = finetune(tuned(Phase(2, 32)), undefined, tmp_path).history
    again = finetune(tuned(Phase(2, 32)), undefined, tmp_path).history
    pd.testing.assert_frame_equal(again, whole, check_exact=True)
    assert again["roc_auc"].isna().all()


def test_a_fine_tuning_loss_that_is_no_number_ends_it(finetune: Finetune, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not a number in epoch"):
        finetune(tuned(Phase(3, 32), warm_up=1, rate=1e30), nothing, tmp_path)


def test_epochs_and_size_are_those_of_the_phases() -> None:
    with pytest.raises(ValueError, match="those of the phases"):
        replace(TUNED, epochs=4)


def test_a_run_begins_with_the_network_of_a_finished_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(networks.NETWORKS, "small", small)
    views = photographs()

    def run(configuration: Configuration, folder: str, start: Path | None = None) -> Fitted:
        return run_loop(
            configuration, views, nothing, tmp_path / folder, data=views.fingerprint(), start=start
        )

    first = run(TUNED, "first")
    still = tuned(Phase(1, 32), rate=1e-9)
    second = run(still, "second", tmp_path / "first")
    for before, after in zip(first.network.get_weights(), second.network.get_weights(), strict=True):
        np.testing.assert_allclose(before, after, atol=1e-6)
    assert len(second.history) == 1
    assert "start" in read_json(tmp_path / "second" / "configuration.json")
    with pytest.raises(InputError, match="nowhere is no finished run of small"):
        run(still, "third", tmp_path / "nowhere")
