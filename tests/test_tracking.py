"""Trainings, evaluations and cross-validations in MLflow, in a store of SQLite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.entities import Run as MlflowRun

from dermsentry.collection import Collection
from dermsentry.errors import DataWarning, InputError, MissingExtraError
from dermsentry.evaluation import evaluate
from dermsentry.files import read_json
from dermsentry.model import open_bundle
from dermsentry.split import Split, make_split
from dermsentry.tracking import RUN_FILE, tracked_run
from dermsentry.training import Run, loop, train
from dermsentry.training.cross_validation import cross_validate
from dermsentry.training.options import TrainingOptions

# Of MLflow's own queries.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
SMALL = TrainingOptions(network="cnn", epochs=2, size=32)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mlflow.MlflowClient]:
    """A store of the tests' own, which MLflow's settings name."""
    folder = tmp_path_factory.mktemp("mlflow")
    address = f"sqlite:///{folder / 'mlflow.db'}"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(address)
    mlflow.set_experiment(
        experiment_id=mlflow.create_experiment("tests", artifact_location=(folder / "artifacts").as_uri())
    )
    yield mlflow.MlflowClient(address)
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def split(phantom_collection: Collection) -> Split:
    return make_split(phantom_collection)


@pytest.fixture(scope="module")
def trained(
    store: mlflow.MlflowClient,
    phantom_collection: Collection,
    split: Split,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    folder = tmp_path_factory.mktemp("tracked") / "run"
    return train(phantom_collection, split, folder, mlflow=True, seed=3, **SMALL)


def run_of(store: mlflow.MlflowClient, folder: Path) -> MlflowRun:
    """The MLflow run that a folder remembers."""
    return store.get_run(read_json(folder / RUN_FILE)["run_id"])


def names_below(store: mlflow.MlflowClient, run: MlflowRun, path: str) -> set[str]:
    return {Path(file.path).name for file in store.list_artifacts(run.info.run_id, path)}


def test_a_training_is_logged_whole(store: mlflow.MlflowClient, trained: Run, split: Split) -> None:
    run = run_of(store, trained.folder)
    assert run.info.status == "FINISHED"
    assert run.data.params["recipe"] == "cnn"
    assert run.data.params["learning_rate"] == "0.001"
    assert run.data.params["split"] == split.fingerprint()
    for name in ("loss", "val_accuracy"):
        logged = store.get_metric_history(run.info.run_id, name)
        assert [metric.step for metric in logged] == [1, 2]
        assert [metric.value for metric in logged] == pytest.approx(list(trained.history[name]))
    card = open_bundle(trained.bundle).card
    accuracy = card.evaluation["validation"]["accuracy"]
    for part, name in (("value", ""), ("low", ".low"), ("high", ".high")):
        assert run.data.metrics[f"validation/accuracy{name}"] == pytest.approx(accuracy[part])
    assert run.data.metrics["thresholds/alert/value"] == pytest.approx(card.thresholds["alert"].value)
    assert run.data.metrics["kept_epoch"] == trained.best_epoch
    assert {"card.json", "model.onnx"} <= names_below(store, run, "bundle")
    assert "command" in run.data.tags


def test_the_evaluation_goes_into_the_run_of_its_training(
    store: mlflow.MlflowClient, trained: Run, phantom_collection: Collection, split: Split, tmp_path: Path
) -> None:
    found = evaluate(
        trained.bundle, phantom_collection, split, out=tmp_path / "out", resamples=20, mlflow=True
    )
    run = run_of(store, trained.folder)
    area = found.melanoma.roc_auc
    assert area is not None
    for name, value in (("", area.value), (".low", area.low), (".high", area.high)):
        if value is not None:
            assert run.data.metrics[f"test/melanoma/roc_auc{name}"] == pytest.approx(value)
    assert {"evaluation.json", "evaluation.html"} <= names_below(store, run, "evaluation/test")
    assert run.info.status == "FINISHED"
    (tmp_path / "moved").mkdir()
    moved = trained.bundle.rename(tmp_path / "moved" / "bundle")
    evaluate(moved, phantom_collection, split, resamples=20, mlflow=True)
    moved.rename(trained.bundle)
    newest = store.search_runs(run.info.experiment_id.split(), order_by=["attributes.start_time DESC"])[0]
    assert newest.info.run_id != run.info.run_id
    assert newest.info.run_name.endswith(", test")


def test_a_resumed_training_goes_on_in_its_run(
    store: mlflow.MlflowClient,
    phantom_collection: Collection,
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_write_history", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(phantom_collection, split, tmp_path, mlflow=True, **SMALL)
    first = run_of(store, tmp_path)
    assert first.info.status == "KILLED"
    assert store.get_metric_history(first.info.run_id, "loss") == []
    train(phantom_collection, split, tmp_path, mlflow=True, **SMALL)
    run = run_of(store, tmp_path)
    assert (run.info.run_id, run.info.status) == (first.info.run_id, "FINISHED")
    assert sorted(metric.step for metric in store.get_metric_history(run.info.run_id, "loss")) == [1, 2]
    train(phantom_collection, split, tmp_path, mlflow=True, force=True, **{**SMALL, "epochs": 1})
    assert run_of(store, tmp_path).info.run_id != run.info.run_id


def test_folds_are_runs_of_their_own_below_the_cross_validation(
    store: mlflow.MlflowClient, phantom_collection: Collection, split: Split, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"folds": 2, "resamples": 20, **SMALL, "epochs": 1}
    result = cross_validate(phantom_collection, split, tmp_path, mlflow=True, **given)
    whole = run_of(store, tmp_path)
    assert whole.data.params["folds"] == "2"
    mean = result.mean.balanced_accuracy
    assert mean is not None
    assert whole.data.metrics["mean/balanced_accuracy"] == pytest.approx(mean.value)
    assert names_below(store, whole, "") >= {"cross_validation.json", "cross_validation.html"}
    for fold in ("fold-01", "fold-02"):
        own = run_of(store, tmp_path / fold / "seed-0")
        assert own.data.tags["mlflow.parentRunId"] == whole.info.run_id
        assert "test/balanced_accuracy" in own.data.metrics
    again = cross_validate(phantom_collection, split, tmp_path, **given)  # not another one without MLflow
    assert again.mean == result.mean


def test_what_mlflow_does_not_take_ends_no_training(
    store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise mlflow.exceptions.MlflowException("the disk is full\nand more")

    with tracked_run(tmp_path, "one") as tracked:
        monkeypatch.setattr(mlflow, "log_metrics", refuse)
        with pytest.warns(DataWarning, match=r"did not take epoch 1: the disk is full\.$"):
            tracked.epoch({"epoch": 1, "loss": 0.5})
    assert run_of(store, tmp_path).info.status == "FINISHED"


def test_a_server_that_is_gone_at_the_end_hides_neither_result_nor_error(
    store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise mlflow.exceptions.MlflowException("nobody answers")

    monkeypatch.setattr(mlflow.MlflowClient, "set_terminated", gone)
    said = r"did not take the end of the run \({}\): nobody answers\.$"
    with pytest.warns(DataWarning, match=said.format("FINISHED")), tracked_run(tmp_path, "one"):
        pass
    with (
        pytest.warns(DataWarning, match=said.format("FAILED")),
        pytest.raises(ZeroDivisionError),
        tracked_run(tmp_path, "one"),
    ):
        raise ZeroDivisionError
    assert mlflow.active_run() is None


def test_a_run_that_cannot_begin_leaves_the_one_around_it_active(
    store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise mlflow.exceptions.MlflowException("nobody answers")

    with mlflow.start_run() as outer:
        monkeypatch.setattr(mlflow, "set_tags", gone)
        with pytest.raises(InputError, match="nobody answers"), tracked_run(tmp_path, "one"):
            pass
        assert mlflow.active_run() is outer
    assert store.get_run(outer.info.run_id).info.status == "FINISHED"


def test_an_exception_ends_the_run_as_failed(store: mlflow.MlflowClient, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), tracked_run(tmp_path, "one"):
        raise ZeroDivisionError
    assert run_of(store, tmp_path).info.status == "FAILED"
    assert mlflow.active_run() is None


def test_a_server_that_does_not_answer_is_one_line(
    store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    said = r"MLflow at http://127\.0\.0\.1:9 cannot be used: .*set MLFLOW_TRACKING_URI"
    try:
        with pytest.raises(InputError, match=said), tracked_run(tmp_path, "one"):
            pass
    finally:
        mlflow.set_tracking_uri(store.tracking_uri)
    assert not (tmp_path / RUN_FILE).exists()


def test_without_mlflow_the_extra_is_named_before_anything_is_decoded(
    phantom_collection: Collection, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dermsentry import errors

    real = errors.find_spec
    monkeypatch.setattr(errors, "find_spec", lambda name: None if name == "mlflow" else real(name))
    with pytest.raises(MissingExtraError, match="mlflow is not installed; it comes with the extra mlflow"):
        train(phantom_collection, split, tmp_path / "run", mlflow=True, **SMALL)
    assert not (tmp_path / "run").exists()


def test_logging_changes_nothing_of_what_is_trained(
    trained: Run, phantom_collection: Collection, split: Split, tmp_path: Path
) -> None:
    plain = train(phantom_collection, split, tmp_path / "plain", seed=3, **SMALL)
    pd.testing.assert_frame_equal(plain.history, trained.history)
    again = train(phantom_collection, split, trained.folder, seed=3, **SMALL)  # the same run, not another one
    assert again.seconds == trained.seconds
