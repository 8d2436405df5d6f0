"""The recipe's training learns, resumes exactly, and refuses what cannot be."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError, TrainingError
from dermsentry.files import read_json

torch = pytest.importorskip("torch", reason="only the bundled model's recipe needs PyTorch")

from recipe_examples import first_weights, packed
from recipes.dermoscopy import train
from recipes.dermoscopy.network import Lite
from recipes.dermoscopy.train import (
    Options,
    Photographs,
    hospital_figures,
    load_arrays,
    on_device,
    predict_logits,
    save_arrays,
    train_network,
)
from recipes.dermoscopy.views import NOTHING, Augmentation

MANY = ("MEL", "NV", "BCC", "PBK|SK") * 12
TINY = Options(
    "lite0", size=32, images=96, batch_size=16, learning_rate=2e-3, mixed_share=0.3, augmentation=NOTHING
)
LONGER = replace(TINY, images=800, learning_rate=1e-3, mixed_share=0.0, dropout=0.0, ema=0.9)


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "WARM_UP", 4)


@pytest.fixture(scope="module")
def photographs() -> Photographs:
    return on_device(packed(MANY))


def called(weights: list[NDArray[Any]], photographs: Photographs) -> list[str]:
    """What a network calls the photographs."""
    network = Lite("lite0")
    network.set_weights(weights)
    return [CODES[i] for i in predict_logits(network, photographs, 32).argmax(axis=1)]


def right(codes: list[str]) -> float:
    return float(np.mean([code in label.split("|") for code, label in zip(codes, MANY, strict=True)]))


@pytest.fixture(scope="module")
def teacher(photographs: Photographs, tmp_path_factory: pytest.TempPathFactory) -> list[NDArray[Any]]:
    """A network that has learned."""
    folder = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "WARM_UP", 4)
        weights = train_network(photographs, folder, LONGER, first_weights(), validation=photographs)
    history = pd.read_csv(folder / "history.csv")
    assert history["loss"].iloc[-1] < 0.7 * history["loss"].iloc[0]
    assert {"melanoma_roc_auc", "melanoma_roc_auc_Vienna", "balanced_accuracy"} <= set(history.columns)
    assert list(history["step"])[-1] == LONGER.steps
    return weights


def test_it_learns(teacher: list[NDArray[Any]]) -> None:
    assert right(called(teacher, on_device(packed(MANY, seed=7)))) > 0.6


def test_frozen_stages_keep_their_weights(photographs: Photographs, tmp_path: Path) -> None:
    before, after = first_weights(), train_network(photographs, tmp_path, TINY, first_weights())
    network = Lite("lite0")
    network.freeze(TINY.frozen_stages)
    trained = [p.requires_grad for name, p in network.named_parameters() if name.endswith(".kernel")]
    kernels = [(one, two) for one, two in zip(before, after, strict=True) if one.ndim == 4]
    assert [not np.array_equal(one, two) for one, two in kernels] == trained
    assert any(trained)
    assert not all(trained)


def interrupted(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """One KeyboardInterrupt, before this step."""
    learn = train._Run.learn
    left = [step]

    def learn_or_stop(run: Any, photographs: Photographs, step: int) -> Any:
        if step in left:
            left.clear()
            raise KeyboardInterrupt
        return learn(run, photographs, step)

    monkeypatch.setattr(train._Run, "learn", learn_or_stop)


@pytest.mark.parametrize("taught", [False, True])
def test_an_interrupted_training_ends_as_one_that_was_not(
    photographs: Photographs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taught: bool
) -> None:
    options = replace(TINY, rounded_share=0.5, augmentation=Augmentation())
    given: dict[str, Any] = {"teachers": [first_weights()] * 2 if taught else [], "checks": 3}
    whole = train_network(photographs, tmp_path / "whole", options, first_weights(), **given)
    interrupted(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        train_network(photographs, tmp_path / "resumed", options, first_weights(), **given)
    assert (tmp_path / "resumed" / "state.npz").is_file()
    resumed = train_network(photographs, tmp_path / "resumed", options, first_weights(), **given)
    for own, other in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(own, other)
    both = [pd.read_csv(tmp_path / name / "history.csv") for name in ("whole", "resumed")]
    assert list(both[0]["step"]) == [2, 4, 6]
    pd.testing.assert_frame_equal(both[0].drop(columns="seconds"), both[1].drop(columns="seconds"))
    names = {path.name for path in (tmp_path / "resumed").iterdir()}
    assert names == {"history.csv", "network.npz", "options.json"}


def test_an_interruption_between_two_files_counts_no_step_twice(
    photographs: Photographs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = iter([True, False])

    def save(path: Path, arrays: Any) -> None:
        if not next(saves, True):
            raise KeyboardInterrupt
        save_arrays(path, arrays)

    monkeypatch.setattr(train, "save_arrays", save)
    with pytest.raises(KeyboardInterrupt):
        train_network(photographs, tmp_path, TINY, first_weights(), checks=3)
    assert len(pd.read_csv(tmp_path / "history.csv")) == 2
    train_network(photographs, tmp_path, TINY, first_weights(), checks=3)
    assert list(pd.read_csv(tmp_path / "history.csv")["step"]) == [2, 4, 6]


def test_a_loss_that_is_no_number_ends_it(photographs: Photographs, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss is not a number after \d+ steps"):
        train_network(photographs, tmp_path, replace(TINY, learning_rate=1e30), first_weights())
    assert not (tmp_path / "network.npz").exists()


def test_a_student_learns_from_its_teachers_against_its_labels(
    photographs: Photographs, teacher: list[NDArray[Any]], tmp_path: Path
) -> None:
    """All of the loss is the divergence from the teacher, and the labels are wrong."""
    wrong = photographs.table.assign(diagnosis="VASC")
    options = replace(LONGER, distilled=1.0, seed=3)
    taught = train_network(
        replace(photographs, table=wrong), tmp_path, options, first_weights(), teachers=[teacher]
    )
    assert right(called(taught, photographs)) > 0.6


def test_a_finished_network_is_not_trained_again_and_one_of_other_options_is(
    photographs: Photographs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train_network(photographs, tmp_path, TINY, first_weights())

    def refuse(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train._Run, "learn", refuse)
    again = train_network(photographs, tmp_path, TINY, first_weights())
    assert all(np.array_equal(own, other) for own, other in zip(first, again, strict=True))
    other = replace(TINY, seed=4)
    for _ in range(2):  # what the first options left is never taken for the others'
        with pytest.raises(KeyboardInterrupt):
            train_network(photographs, tmp_path, other, first_weights())
        assert read_json(tmp_path / "options.json")["seed"] == 4
        assert not (tmp_path / "network.npz").exists()


def test_weights_that_are_damaged_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "network.npz"
    save_arrays(path, [np.arange(5000.0), np.eye(3)])
    assert [value.shape for value in load_arrays(path)] == [(5000,), (3, 3)]
    for damaged in (path.read_bytes()[:2000], b"text", b""):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"network\.npz holds no weights \([^\n]*\); remove it"):
            load_arrays(path)


def inputs(photographs: Photographs, options: Options) -> train._Inputs:
    batch = train._Inputs(options, torch.device("cpu"))
    batch.fill(photographs, np.random.default_rng(0), options)
    return batch


def test_batches_are_blended_where_asked(photographs: Photographs) -> None:
    plain = inputs(photographs, replace(TINY, mixed_share=0.0))
    mixed = inputs(photographs, replace(TINY, mixed_share=1.0))
    assert plain.share == 1
    assert torch.equal(plain.others, plain.targets)
    assert 0 < mixed.share < 1
    assert torch.equal(mixed.targets, plain.targets)
    assert not torch.equal(mixed.others, mixed.targets)
    assert sorted(mixed.others.tolist()) == sorted(mixed.targets.tolist())
    torch.testing.assert_close(plain.smoothing, torch.full((16,), TINY.label_smoothing))


def test_an_image_without_its_lesion_tells_nothing_and_stays_unblended(photographs: Photographs) -> None:
    how = replace(NOTHING, painted_out_share=1.0)
    batch = inputs(photographs, replace(TINY, augmentation=how, mixed_share=1.0))
    assert (batch.smoothing == 1).all()
    assert torch.equal(batch.others, batch.targets)


def test_all_candidates_are_right() -> None:
    table = packed(("PBK|SK", "MEL", "NV", "MEL")).table
    logits = np.zeros((4, len(CODES)), np.float32)
    for row, code in zip(logits, ("SK", "MEL", "NV", "NV"), strict=True):
        row[CODES.index(code)] = 3
    figures = hospital_figures(table, logits)
    assert figures["balanced_accuracy"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert figures["melanoma_roc_auc"] == pytest.approx(figures["melanoma_roc_auc_Vienna"]) == 0.875


def test_training_needs_no_other_framework() -> None:
    """On the machine with a GPU there may be none."""
    told = "import sys, recipes.dermoscopy.leave_one_out; print(*{'tensorflow', 'keras'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert found.stdout == "\n"


def test_a_run_without_its_pack_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        train.main()
    assert ended.value.code == InputError.exit_code
    assert capsys.readouterr().err.count("\n") == 1
