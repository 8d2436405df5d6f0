"""Each fold is trained in a folder of its own, without what it leaves out, once, and summed up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import dermsentry
from dermsentry.cli import app
from dermsentry.collection import Collection
from dermsentry.errors import InputError, OutputError, TrainingError
from dermsentry.evaluation.cross_validation import CrossValidation
from dermsentry.evaluation.cross_validation.figures import LeftOut, left_out_of
from dermsentry.evaluation.cross_validation.results import FoldFigures
from dermsentry.files import plain, read_json
from dermsentry.phantoms import Phantoms
from dermsentry.split import Split, make_split, read_split, write_split
from dermsentry.training import cross_validation
from dermsentry.training.cross_validation import cross_validate

SMALL: dict[str, Any] = {"network": "cnn", "epochs": 1, "size": 32, "resamples": 20}


@pytest.fixture(scope="module")
def hospitals(phantom_collection: Collection) -> Collection:
    """The phantoms, no Test among them, in two hospitals of which metadata tells; a few of neither."""
    table = phantom_collection.table.assign(split="")
    table["hospital"] = ["south" if i % 3 else "north" for i in range(len(table))]
    table.loc[4, "hospital"] = ""
    return replace(phantom_collection, table=table)


@pytest.fixture(scope="module")
def split(hospitals: Collection) -> Split:
    return make_split(hospitals)


class Done:
    """A cross-validation, and where it was written."""

    def __init__(self, result: CrossValidation, out: Path) -> None:
        self.result, self.out = result, out


@pytest.fixture(scope="module")
def done(hospitals: Collection, split: Split, tmp_path_factory: pytest.TempPathFactory) -> Done:
    out = tmp_path_factory.mktemp("cross") / "out"
    return Done(cross_validate(hospitals, split, out, leave_out="hospital", **SMALL), out)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The folders that a network was trained in."""
    folders: list[Path] = []
    train = cross_validation.train

    def listen(collection: Collection, split: Split, out: Path, **options: Any) -> Any:
        folders.append(out)
        return train(collection, split, out, **options)

    monkeypatch.setattr(cross_validation, "train", listen)
    return folders


def test_each_fold_is_in_a_numbered_folder_and_its_figures_in_the_table(done: Done) -> None:
    written = {f"cross_validation.{suffix}" for suffix in ("csv", "html", "json")}
    assert {path.name for path in done.out.iterdir()} == written | {
        ".dermsentry.json",
        "cache",
        "fold-01",
        "fold-02",
    }
    run = done.out / "fold-02" / "seed-0"
    assert (run / "bundle" / "card.json").is_file()
    assert not (run / "cache").exists()
    found = read_json(done.out / "cross_validation.json")
    assert [fold["name"] for fold in found["folds"]] == ["north", "south"]
    assert found["left_out"] == "hospital"
    assert found["synthetic"] is True
    assert found["configuration"]["training"] == {"network": "cnn", "epochs": 1, "size": 32}
    own = read_json(run / "evaluation" / "evaluation.json")
    assert found["folds"][1]["runs"][0]["figures"]["melanoma_roc_auc"] == own["melanoma"]["roc_auc"]
    assert found["folds"][1]["figures"]["balanced_accuracy"] == own["balanced_accuracy"]
    assert found["folds"][1]["photographs"] == own["photographs"]
    assert done.result.mean.melanoma_roc_auc.value == pytest.approx(
        sum(fold.figures.melanoma_roc_auc.value for fold in done.result.folds) / 2
    )
    assert "Synthetic photographs" in (done.out / "cross_validation.html").read_text(encoding="utf-8")


def test_nothing_of_what_is_left_out_was_learned_from(
    done: Done, hospitals: Collection, split: Split
) -> None:
    hospital = dict(zip(hospitals.table["path"], hospitals.table["hospital"], strict=True))
    group = dict(zip(split.table["path"], split.table["group"], strict=True))
    for number, name in enumerate(("north", "south"), 1):
        folder = done.out / f"fold-{number:02}" / "seed-0"
        table = read_split(folder / "split.csv", hospitals).table
        parts = dict(zip(table["path"], table["part"], strict=True))
        held = {group[path] for path in parts if hospital[path] in (name, "")}
        learned = {path for path, part in parts.items() if part in ("train", "validation", "calibration")}
        assert learned
        assert not {group[path] for path in learned} & held
        predicted = pd.read_csv(folder / "evaluation" / "truth.csv")["path"]
        assert {hospital[path] for path in predicted} == {name}
        assert read_json(folder / "run.json")["photographs"]["train"] < split.counts()["train"] + len(held)
        fold = done.result.fold(name)
        assert fold.learned_from == len(learned)
        assert fold.quarantined > 0


def numbers(figures: FoldFigures) -> dict[str, float | None]:
    """Every number of some figures by its name."""
    return {
        f"{name} {part}": number
        for name, figure in plain(figures).items()
        for part, number in (figure.items() if isinstance(figure, dict) else [("", figure)])
    }


def test_run_again_it_trains_only_what_is_new(
    done: Done, hospitals: Collection, split: Split, trained: list[Path]
) -> None:
    again = cross_validate(hospitals, split, done.out, leave_out="hospital", **SMALL)
    assert trained == []
    assert again.mean == done.result.mean
    with pytest.raises(OutputError, match="leave_out hospital, now hospital=south"):
        cross_validate(hospitals, split, done.out, leave_out="hospital=south", seeds=2, **SMALL)
    one = cross_validate(hospitals, split, done.out, leave_out="hospital=south", seeds=2, force=True, **SMALL)
    assert trained == [done.out / "fold-02" / "seed-1"]
    assert one.seeds == (0, 1)
    before, after = (numbers(run.figures) for run in (done.result.folds[1], one.folds[0].runs[0]))
    assert after == pytest.approx(before)  # sums may differ in their last digit
    assert one.spread["specificity"] is not None
    (done.out / "fold-02" / "seed-1" / "left_out.npz").unlink()
    cross_validate(hospitals, split, done.out, leave_out="hospital=south", seeds=2, force=True, **SMALL)
    assert len(trained) == 2


def test_a_fold_that_cannot_be_trained_is_named(hospitals: Collection, split: Split, tmp_path: Path) -> None:
    table = split.table.copy()
    table.loc[table["diagnosis"] != "NV", "part"] = "quarantined"
    with pytest.raises(TrainingError, match=r"^Fold 1 of 2, left out: north: The training part holds") as no:
        cross_validate(hospitals, Split(table), tmp_path, leave_out="hospital", **SMALL)
    assert no.value.exit_code == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "seeds=0"),
        ({"folds": 2, "leave_out": "hospital"}, "both of leave_out and folds"),
        ({"folds": 2, "network": "vgg"}, "Fold 1 of 2, left out: 1 of 2: Received network 'vgg'"),
        ({"leave_out": "clinic"}, r"no column 'clinic'; its columns with values are .*hospital \(2 values\)"),
    ],
)
def test_what_cannot_be_used_is_refused(
    hospitals: Collection, split: Split, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        cross_validate(hospitals, split, tmp_path, **{**SMALL, **options})


def test_with_seeds_alone_the_splits_own_test_is_evaluated(
    hospitals: Collection, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A linear head has nothing random, which is told; nothing is trained here but what is handed over."""
    seen: list[tuple[Split, int, Any]] = []

    def instead(self: Any, part: Split, folder: Path, seed: int) -> LeftOut:
        seen.append((part, seed, self.options))
        return left_out_of(dermsentry.evaluate("dermoscopy", hospitals, part, resamples=20))

    monkeypatch.setattr(cross_validation._Work, "_train", instead)
    result = cross_validate(hospitals, split, tmp_path, seeds=2, seed=5, resamples=20, weights="dermoscopy")
    assert [(part.table.equals(split.table), seed) for part, seed, _ in seen] == [(True, 5), (True, 6)]
    assert (result.left_out, result.seeds) == ("test", (5, 6))
    assert result.folds[0].photographs == split.counts()["test"]
    assert any("nothing random" in line for line in result.warnings)
    assert any("began with the weights of the bundled model" in line for line in result.warnings)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_trains_folds_and_prints_the_table(phantoms: Phantoms, tmp_path: Path) -> None:
    collection = dermsentry.read_collection(phantoms.root)
    write_split(make_split(collection), tmp_path / "split.csv")
    options = ("--split", tmp_path / "split.csv", "--network", "cnn", "--epochs", 1, "--size", 32)
    result = run("train", phantoms.root, *options, "--folds", 2, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[1:3]] == ["1 of 2", "2 of 2"]
    assert lines[3].startswith("mean of 2 ")
    assert "Fold 2 of 2, left out: 2 of 2; " in result.stderr
    assert "of the collection's own Test set aside" in result.stderr
    assert "Note: 2 of 2 folds have fewer than 10 melanoma lesions" in result.stderr
    assert (tmp_path / "out" / "cross_validation.html").is_file()


def test_split_writes_a_file_for_each_fold(phantoms: Phantoms, tmp_path: Path) -> None:
    out = tmp_path / "split.csv"
    result = run("split", phantoms.root, "--leave-out", "sex", "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("left out: female\n")
    assert {path.name for path in tmp_path.iterdir()} == {"split-1.csv", "split-2.csv"}
    one = run("split", phantoms.root, "--leave-out", "sex=male", "--out", out)
    assert one.exit_code == 0, one.output
    assert out.read_bytes() == (tmp_path / "split-2.csv").read_bytes()
    wrong = run("split", phantoms.root, "--leave-out", "sex=other", "--out", out)
    assert "it has male (40), female (37)." in str(wrong.exception)
