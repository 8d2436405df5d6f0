"""A training that was interrupted ends as one that was not; whatever cannot go on says why in one line."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd
import pytest

from dermsentry import files
from dermsentry.diagnoses import CODES
from dermsentry.errors import OutputError, TrainingError
from dermsentry.files import read_json
from dermsentry.training import loop
from dermsentry.training.batches import Examples
from dermsentry.training.configuration import Configuration
from dermsentry.training.fitted import Fitted, predict_logits
from dermsentry.training.loop import fit
from dermsentry.training.pretrained import build
from examples import examples

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

        def interrupted(examples: Examples, configuration: Configuration, epoch: int) -> Any:
            self.begun.append(epoch)
            for i, batch in enumerate(batches(examples, configuration, epoch)):
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
        (replace(SMALL, batch_size=4), TRAIN, VALIDATION),
        (replace(SMALL, schedule="cosine"), TRAIN, VALIDATION),
        (replace(SMALL, patience=2), TRAIN, VALIDATION),
        (SMALL, replace(TRAIN, labels=("NV", *TRAIN.labels[1:])), VALIDATION),
        (SMALL, replace(TRAIN, rows=TRAIN.rows[::-1]), VALIDATION),
        (SMALL, replace(TRAIN, pixels=OTHER_PIXELS), VALIDATION),
        (SMALL, replace(TRAIN, copies=COPIES), VALIDATION),
        (SMALL, TRAIN, replace(VALIDATION, rows=VALIDATION.rows[1:], labels=VALIDATION.labels[1:])),
        (SMALL, TRAIN, replace(VALIDATION, pixels=255 - VALIDATION.pixels)),
    ],
    ids=[
        "rate",
        "seed",
        "batch",
        "schedule",
        "patience",
        "labels",
        "rows",
        "pixels",
        "copies",
        "validation",
        "validation pixels",
    ],
)
def test_what_changed_is_trained_anew(
    finished: Path, configuration: Configuration, train: Examples, validation: Examples
) -> None:
    with pytest.raises(AssertionError, match="trained"):
        fit(configuration, train, validation, finished)
    assert [path.name for path in finished.iterdir()] == ["configuration.json"]


FALLING = [0.9, 0.8, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]
"""Validation losses that no longer fall from the fourth epoch on."""


def trained_on(losses: list[float], folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Fitted:
    """A training whose validation losses are these, whatever the network does."""
    given = iter(losses[pd.read_csv(folder / "history.csv").shape[0] if folder.is_dir() else 0 :])
    monkeypatch.setattr(
        loop,
        "candidate_crossentropy",
        lambda wanted, logits, own=loop.candidate_crossentropy: (
            np.full(len(VALIDATION), next(given)) if isinstance(logits, np.ndarray) else own(wanted, logits)
        ),
    )
    configuration = replace(SMALL, epochs=len(losses), learning_rate=1e-3, **options)
    return fit(configuration, TRAIN, VALIDATION, folder)


def test_a_plateau_halves_the_learning_rate_as_keras_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        whole = trained_on(FALLING, tmp_path / "whole", patch, schedule="plateau")
    assert list(whole.history["learning_rate"]) == [1e-3] * 6 + [5e-4] * 3
    with monkeypatch.context() as patch:
        Interruptions(patch, epoch=5, batch=0)  # in the midst of what the callback counts
        with pytest.raises(KeyboardInterrupt):
            trained_on(FALLING, tmp_path / "cut", patch, schedule="plateau")
    with monkeypatch.context() as patch:
        Interruptions(patch, epoch=7, batch=0)  # after it has halved the rate once
        with pytest.raises(KeyboardInterrupt):
            trained_on(FALLING, tmp_path / "cut", patch, schedule="plateau")
    with monkeypatch.context() as patch:
        resumed = trained_on(FALLING, tmp_path / "cut", patch, schedule="plateau")
    np.testing.assert_allclose(resumed.history, whole.history, rtol=1e-5)


def test_a_cosine_ends_at_nothing_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cosine = replace(SMALL, schedule="cosine")
    whole = fit(cosine, TRAIN, VALIDATION, tmp_path / "whole")
    expected = [0.01 * (1 + np.cos(np.pi * epoch / 3)) / 2 for epoch in (1, 2, 3)]
    np.testing.assert_allclose(whole.history["learning_rate"], expected, rtol=1e-5, atol=1e-9)
    with monkeypatch.context() as patch:
        Interruptions(patch, epoch=1, batch=1)
        with pytest.raises(KeyboardInterrupt):
            fit(cosine, TRAIN, VALIDATION, tmp_path / "cut")
    assert_same(fit(cosine, TRAIN, VALIDATION, tmp_path / "cut"), whole)


def test_patience_ends_a_training_that_no_longer_gains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    accuracies = iter([0.2, 0.5, 0.4, 0.5, 0.9])

    def validate(network: keras.Model) -> dict[str, float]:
        return {"val_accuracy": next(accuracies), "val_loss": 1.0}

    patient = replace(SMALL, epochs=9, patience=2)
    run = {"data": "the same", "name": "patient", "quiet": False}
    fitted = loop.run_loop(patient, TRAIN, validate, tmp_path, **run)
    assert list(fitted.history["val_accuracy"]) == [0.2, 0.5, 0.4, 0.5]
    assert fitted.best_epoch == 2
    told = "patient: stopped after epoch 4 of 9, validation accuracy was highest in epoch 2"
    assert told in capsys.readouterr().err
    monkeypatch.setattr(loop, "_set_up", lambda *_: pytest.fail("trained"))
    again = loop.run_loop(patient, TRAIN, validate, tmp_path, **run)
    pd.testing.assert_frame_equal(again.history, fitted.history)
    assert "patient: already trained\n" in capsys.readouterr().err


def test_the_batch_size_is_that_of_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    batches = Examples.batches

    def seen(examples: Examples, configuration: Configuration, epoch: int) -> Any:
        for batch in batches(examples, configuration, epoch):
            sizes.append(len(batch.pixels))
            yield batch

    monkeypatch.setattr(Examples, "batches", seen)
    fit(replace(SMALL, epochs=1, batch_size=6), TRAIN, VALIDATION, tmp_path)
    assert sizes == [6, 6, 6, 2]


@pytest.mark.parametrize("name", ["state.npz", "configuration.json"])
def test_a_run_that_lost_a_file_is_trained_again(finished: Path, name: str) -> None:
    (finished / name).unlink()
    with pytest.raises(AssertionError, match="trained"):
        fit(SMALL, TRAIN, VALIDATION, finished)


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
