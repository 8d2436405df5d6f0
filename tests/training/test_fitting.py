"""A training that was interrupted ends as one that was not; whatever cannot go on says why in one line."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest

from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError, OutputError, TrainingError
from dermsentry.files import read_json
from dermsentry.training import callbacks, fitting
from dermsentry.training.batches import Examples
from dermsentry.training.callbacks import KeepState, RichProgress, StopOnNaN
from dermsentry.training.fitting import Configuration, Fitted, build, fit, predict_logits
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
    assert list(fitted.history["epoch"]) == list(range(SMALL.epochs))
    np.testing.assert_allclose(fitted.history, other.history, rtol=1e-5)
    assert fitted.best_epoch == other.best_epoch
    for one, two in zip(fitted.network.get_weights(), other.network.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


class Interruptions:
    """Raise KeyboardInterrupt at one batch of one epoch, once; remember which epochs began."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, epoch: int, batch: int) -> None:
        self.begun: list[int] = []
        self.at = (epoch, batch)
        monkeypatch.setattr(
            RichProgress, "on_epoch_begin", lambda _, epoch, logs=None: self.begun.append(epoch)
        )
        monkeypatch.setattr(RichProgress, "on_train_batch_end", lambda _, batch, logs=None: self.batch(batch))

    def batch(self, batch: int) -> None:
        if (self.begun[-1], batch) == self.at:
            self.at = (-1, -1)
            raise KeyboardInterrupt


@pytest.mark.parametrize("killed", [False, True], ids=["interrupted", "killed"])
def test_an_interrupted_training_ends_as_one_that_was_not(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    seen = Interruptions(monkeypatch, epoch=2, batch=1)
    with pytest.raises(KeyboardInterrupt):
        fit(SMALL, TRAIN, VALIDATION, tmp_path)
    assert seen.begun == [0, 1, 2]
    assert not (tmp_path / "done.json").exists()
    assert [path.name for path in (tmp_path / "backups").iterdir()] == ["after-2"]
    if killed:  # what a process leaves that had no time to tidy up
        with (tmp_path / "history.csv").open("a") as history:
            history.write("2,0.2500")
        (tmp_path / "candidate.weights.h5").write_bytes(b"half")
        shutil.copytree(tmp_path / "backups" / "after-2", tmp_path / "backups" / "writing")
        (tmp_path / "backups" / "writing" / "latest.weights.h5").write_bytes(b"half")
        shutil.copytree(tmp_path / "backups" / "after-2", tmp_path / "backups" / "after-1")
    seen.begun.clear()
    assert_same(fit(SMALL, TRAIN, VALIDATION, tmp_path), done.fitted)
    assert seen.begun == [2]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.weights.h5", "configuration.json", "done.json", "history.csv",
    ]  # fmt: skip


def test_one_interrupted_in_its_first_epoch_begins_anew(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Interruptions(monkeypatch, epoch=0, batch=STEPS - 1)
    with pytest.raises(KeyboardInterrupt):
        fit(SMALL, TRAIN, VALIDATION, tmp_path)
    assert_same(fit(SMALL, TRAIN, VALIDATION, tmp_path), done.fitted)
    assert seen.begun == [0, 0, 1, 2]


def test_one_that_ends_just_before_it_is_noted_needs_no_epoch_more(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk in the last moment: the backup of the last epoch is there, `done.json` is not."""

    def refuse(*_: object) -> None:
        raise OutputError("Cannot write done.json: No space left on device.")

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "write_json", refuse)
        with pytest.raises(OutputError):
            fit(SMALL, TRAIN, VALIDATION, tmp_path)
    seen = Interruptions(monkeypatch, -1, -1)
    assert_same(fit(SMALL, TRAIN, VALIDATION, tmp_path), done.fitted)
    assert seen.begun == []


def test_a_disk_that_runs_full_is_one_line_and_can_be_gone_on_from(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    left: Iterator[int] = iter([usage.free, 1_000_000])
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.shutil, "disk_usage", lambda _: usage._replace(free=next(left)))
        with pytest.raises(
            OutputError, match=r"Cannot write .*: No space left on device\. Free space"
        ) as full:
            fit(SMALL, TRAIN, VALIDATION, tmp_path)
    assert full.value.exit_code == 4
    assert "\n" not in str(full.value)
    assert_same(fit(SMALL, TRAIN, VALIDATION, tmp_path), done.fitted)


def test_hdf5_many_lines_become_one() -> None:
    text = (
        "Can't synchronously write data (file write failed: time = Sun Nov 22 13:39:27 2026\n"
        ", filename = 'w.h5', file descriptor = 4, errno = 28, error message = 'No space left on device')"
    )
    one = r"^Cannot write run: No space left on device\. Free space[^\n]*$"
    with pytest.raises(OutputError, match=one), fitting._writing(Path("run")):
        raise OSError(text)


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

    monkeypatch.setattr(fitting, "_run", refuse)
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
    (finished / "backups" / "after-2").mkdir(parents=True)
    with pytest.raises(AssertionError, match="trained"):
        fit(configuration, train, validation, finished)
    assert [path.name for path in finished.iterdir()] == ["configuration.json"]


@pytest.mark.parametrize("name", ["best.weights.h5", "history.csv", "configuration.json", "done.json"])
def test_a_run_that_lost_a_file_is_trained_again(finished: Path, name: str) -> None:
    (finished / name).unlink()
    with pytest.raises(AssertionError, match="trained"):
        fit(SMALL, TRAIN, VALIDATION, finished)


def test_a_loss_that_is_no_number_is_a_training_error(tmp_path: Path) -> None:
    wild = replace(SMALL, learning_rate=1e20)
    with pytest.raises(
        TrainingError, match=r"^wild: the loss is not a number in epoch \d.*\(it was 1e\+20\)"
    ) as no:
        fit(wild, TRAIN, VALIDATION, tmp_path, name="wild")
    assert no.value.exit_code == 5
    assert not (tmp_path / "done.json").exists()


def test_the_validation_loss_is_looked_at_too() -> None:
    stop = StopOnNaN("run", 0.1)
    stop.on_epoch_begin(4)
    stop.on_epoch_end(4, {"loss": 1.0, "val_loss": 2.0})
    with pytest.raises(TrainingError, match="the validation loss is not a number in epoch 5"):
        stop.on_epoch_end(4, {"loss": 1.0, "val_loss": float("nan")})
    with pytest.raises(TrainingError, match="the loss is not a number in epoch 5"):
        stop.on_train_batch_end(0, {"loss": float("inf")})


@pytest.mark.parametrize("empty", ["train", "validation"])
def test_nothing_to_learn_or_to_choose_by_is_a_training_error(tmp_path: Path, empty: str) -> None:
    nothing = Examples(TRAIN.pixels, np.array([], dtype=np.int64), ())
    given = {"train": TRAIN, "validation": VALIDATION, empty: nothing}
    with pytest.raises(TrainingError, match="expected some of both"):
        fit(SMALL, given["train"], given["validation"], tmp_path)


def test_tensorboard_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting.importlib.util, "find_spec", lambda _: None)
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


def test_the_seed_decides_the_first_weights() -> None:
    first, again, other = (build(replace(SMALL, seed=seed)).get_weights() for seed in (1, 1, 2))
    assert all((one == two).all() for one, two in zip(first, again, strict=True))
    assert any((one != two).any() for one, two in zip(first, other, strict=True))


def test_a_state_keeps_only_the_last_whole_backup(tmp_path: Path) -> None:
    state = KeepState(tmp_path)
    for epoch in range(12):  # beyond ten, where names no longer sort as numbers
        state.writing.mkdir(parents=True)
        (state.writing / "latest").write_text(str(epoch))
        state.candidate.write_text(str(epoch))
        state.seconds += 1
        state.on_epoch_end(epoch)
    assert [path.name for path in state.backups.iterdir()] == ["after-12"]
    assert state.best.read_text() == "11"
    shutil.copytree(state.backups / "after-12", state.backups / "after-9")
    again = KeepState(tmp_path)
    assert again.restore() == 12
    assert again.seconds == 12
    assert (again.writing / "latest").read_text() == "11"
