"""The figures of a cross-validation against an evaluation's, against scikit-learn, and by hand."""

from __future__ import annotations

import csv
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as theirs

from dermsentry.diagnoses import CODES
from dermsentry.evaluation import evaluate_predictions
from dermsentry.evaluation.cross_validation import CrossValidation
from dermsentry.evaluation.cross_validation.figures import (
    FoldPredictions,
    LeftOut,
    measure_left_out,
    over_folds,
    over_seeds,
    read_left_out,
    summarise,
)
from dermsentry.evaluation.cross_validation.report import as_text, write_cross_validation
from dermsentry.evaluation.cross_validation.results import FIGURES
from dermsentry.split import Fold, Split
from dermsentry.split.table import COLUMNS

MEL = CODES.index("MEL")
THRESHOLD = 0.3


def left_out(
    seed: int, n: int = 120, skill: float = 1.2, codes: str = "MEL NV BCC NV", noise: int = 0
) -> LeftOut:
    """Predictions that know the labels a little; with another `noise` of the same photographs."""
    rng = np.random.default_rng(seed)
    labels = [codes.split()[i] for i in rng.integers(0, len(codes.split()), n)]
    logits = np.random.default_rng([seed, noise]).normal(size=(n, 9))
    for row, label in zip(logits, labels, strict=True):
        row[CODES.index(label[:3].rstrip("|"))] += skill
    raised = np.exp(logits)
    probability = raised / raised.sum(axis=1, keepdims=True)
    groups = tuple(f"{seed} lesion {i // 2}" for i in range(n))
    return LeftOut(tuple(labels), probability, groups, probability[:, MEL] >= THRESHOLD)


def fold(name: str, *runs: LeftOut) -> FoldPredictions:
    table = pd.DataFrame({column: ["x"] for column in COLUMNS}).assign(part="train")
    seeds = tuple(range(len(runs)))
    folders = tuple(Path(f"fold-{name}/seed-{seed}") for seed in seeds)
    return FoldPredictions(
        Fold(name, Split(table), across=3, across_groups=1, unknown=2), seeds, folders, runs
    )


def summed(*folds: FoldPredictions, resamples: int = 100, **given: Any) -> CrossValidation:
    about = {"synthetic": True, "configuration": {"leave_out": "source"}}
    options = {"resamples": resamples, "seed": 0, "warnings": [], "about": about} | given
    return summarise("source", folds, **options)


def auroc(*parts: LeftOut) -> float:
    truth = [label == "MEL" for part in parts for label in part.labels]
    return float(theirs.roc_auc_score(truth, np.concatenate([part.probability[:, MEL] for part in parts])))


def test_a_run_has_the_figures_of_an_evaluation() -> None:
    one = left_out(1)
    run = summed(fold("a", one)).folds[0].runs[0].figures
    expected = evaluate_predictions(
        one.labels, one.probability, one.groups, threshold=THRESHOLD, resamples=100
    )
    melanoma = expected.melanoma
    assert run.melanoma_roc_auc == melanoma.roc_auc
    assert run.melanoma_average_precision == melanoma.average_precision
    assert run.melanoma_calibration_error == melanoma.calibration_error
    assert run.balanced_accuracy == expected.balanced_accuracy
    assert (run.sensitivity, run.specificity) == (expected.sensitivity, expected.specificity)
    assert run.specificity_at_95_sensitivity == melanoma.at_sensitivity[-1].specificity


@pytest.mark.parametrize("codes", ["MEL", "NV", "NV BCC", "MEL MEL|NV"])
def test_a_run_with_little_to_measure_has_the_figures_of_an_evaluation(codes: str) -> None:
    one = left_out(2, n=5, codes=codes)
    one = LeftOut(one.labels, one.probability, ("one",) * 5, one.alert)
    run = summed(fold("a", one), resamples=20).folds[0].runs[0].figures
    expected = evaluate_predictions(
        one.labels, one.probability, one.groups, threshold=THRESHOLD, resamples=20
    )
    assert run.melanoma_roc_auc == expected.melanoma.roc_auc
    assert run.melanoma_calibration_error == expected.melanoma.calibration_error
    assert (run.sensitivity, run.specificity) == (expected.sensitivity, expected.specificity)
    assert run.balanced_accuracy == expected.balanced_accuracy


def test_means_are_those_of_the_folds_and_seeds() -> None:
    runs = [[left_out(i, noise=seed) for seed in range(3)] for i in (1, 2)]
    result = summed(fold("a", *runs[0]), fold("b", *runs[1]))
    areas = np.array([[auroc(run) for run in own] for own in runs])
    for row, own in zip(areas, result.folds, strict=True):
        assert own.figures.melanoma_roc_auc.value == pytest.approx(row.mean())
        assert own.spread["melanoma_roc_auc"] == pytest.approx(row.std(ddof=1))
        assert [run.figures.melanoma_roc_auc.value for run in own.runs] == pytest.approx(list(row))
    assert result.mean.melanoma_roc_auc.value == pytest.approx(areas.mean())
    assert result.spread["melanoma_roc_auc"] == pytest.approx(areas.mean(axis=0).std(ddof=1))
    together = np.mean([auroc(runs[0][seed], runs[1][seed]) for seed in range(3)])
    assert result.together.melanoma_roc_auc.value == pytest.approx(together)
    assert result.seeds == (0, 1, 2)
    alerts = np.concatenate([run.alert[np.array(run.labels) == "MEL"] for run in (runs[0][0], runs[1][0])])
    one = summed(fold("a", runs[0][0]), fold("b", runs[1][0]))
    assert one.together.sensitivity.value == pytest.approx(alerts.mean())
    assert one.spread == dict.fromkeys(FIGURES)


def test_the_interval_of_a_mean_is_that_of_independent_folds() -> None:
    """Of four folds as uncertain as each other: half as wide; of four seeds of one fold: as wide."""
    one = measure_left_out([left_out(1, n=400)], 200, 0)[0]
    own, mean = one.figures.melanoma_roc_auc, over_folds([one] * 4).melanoma_roc_auc
    assert (mean.high - mean.low) / (own.high - own.low) == pytest.approx(0.5)
    same = over_seeds([one] * 4).figures.melanoma_roc_auc
    assert (same.low, same.high) == pytest.approx((own.low, own.high))


def test_the_worst_fold_is_named_for_each_figure() -> None:
    good, bad = left_out(1, skill=3), left_out(2, skill=0)
    result = summed(fold("good", good), fold("bad", bad))
    assert set(result.worst.values()) == {"bad"}
    assert result.worst["melanoma_roc_auc"] == "bad"
    assert "worst 0.5" in repr(result) or "worst 0.4" in repr(result)
    errors = {own.name: own.figures.melanoma_calibration_error.value for own in result.folds}
    assert errors["bad"] == max(errors.values())


def test_a_fold_without_melanomas_is_told_and_left_out_of_the_mean() -> None:
    some, none = left_out(1), left_out(2, codes="NV BCC")
    result = summed(fold("some", some), fold("none", none))
    assert result.fold("none").figures.melanoma_roc_auc is None
    assert result.fold("none").figures.specificity is not None
    assert result.mean.melanoma_roc_auc.value == pytest.approx(auroc(some))
    assert result.worst["melanoma_roc_auc"] == "some"
    assert any("1 of 2 folds have no melanoma AUROC" in line and "(none)" in line for line in result.warnings)
    nothing = summed(fold("none", none))
    assert nothing.mean.melanoma_roc_auc is None
    assert nothing.worst["melanoma_roc_auc"] is None
    assert "–" in as_text(nothing)
    assert "–" in repr(nothing)
    few = summed(fold("few", left_out(3, n=30)), fold("some", some))
    assert any("1 of 2 folds have fewer than 10 melanoma lesions (few)" in line for line in few.warnings)


def test_text_names_every_fold_then_the_mean_the_worst_and_the_spread() -> None:
    both = [fold(name, left_out(i), left_out(i, noise=1)) for i, name in ((1, "Wien"), (2, "Graz"))]
    lines = as_text(summed(*both)).splitlines()
    named = ["left out", "Wien", "Graz", "mean of 2", "all left-out together"]
    assert [line.split("  ")[0] for line in lines[:5]] == named
    assert lines[5].startswith("worst melanoma AUROC: 0.")
    assert lines[6].startswith("standard deviation over 2 seeds: melanoma AUROC 0.0")
    assert len(as_text(summed(fold("Wien", left_out(1)))).splitlines()) == 2


def test_the_table_is_written_as_json_csv_and_a_page(tmp_path: Path) -> None:
    both = [fold(name, left_out(i), left_out(i, noise=1)) for i, name in ((1, "<b>Wien"), (2, "Graz"))]
    result = summed(*both, warnings=["Beware."])
    write_cross_validation(result, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"cross_validation.{suffix}" for suffix in ("json", "csv", "html")}
    found = json.loads((tmp_path / "cross_validation.json").read_text())
    assert found["schema"] == 1
    assert found["configuration"] == {"leave_out": "source"}
    assert found["mean"]["melanoma_roc_auc"]["value"] == result.mean.melanoma_roc_auc.value
    assert [own["folder"] for own in found["folds"][0]["runs"]] == [
        "fold-<b>Wien/seed-0",
        "fold-<b>Wien/seed-1",
    ]
    assert found["folds"][1]["quarantined"] == 5
    with (tmp_path / "cross_validation.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["row"] for row in rows] == ["run"] * 4 + ["fold"] * 2 + ["mean", "worst", "together"] + [
        "spread"
    ] * 3
    assert float(rows[6]["melanoma_roc_auc_low"]) == result.mean.melanoma_roc_auc.low
    assert float(rows[7]["sensitivity"]) == min(own.figures.sensitivity.value for own in result.folds)
    assert float(rows[0]["sensitivity"]) == result.folds[0].runs[0].figures.sensitivity.value
    assert len(result.to_frame()) == len(rows)
    page = (tmp_path / "cross_validation.html").read_text()
    assert "&lt;b&gt;Wien" in page
    assert "<b>Wien" not in page
    assert "Beware." in page
    assert "Synthetic photographs" in page
    assert "fold-Graz/seed-1/evaluation/evaluation.html" in page
    assert "cross-validation by source" in page.lower()


def test_predictions_are_kept_for_what_they_are_of(tmp_path: Path) -> None:
    one, path = left_out(1), tmp_path / "left_out.npz"
    one.save(path, "key")
    kept = read_left_out(path, "key")
    assert kept is not None
    assert (kept.labels, kept.groups, kept.unreadable) == (one.labels, one.groups, 0)
    np.testing.assert_array_equal(kept.probability, one.probability)
    np.testing.assert_array_equal(kept.alert, one.alert)
    assert read_left_out(path, "another") is None
    path.write_bytes(path.read_bytes()[:200])
    assert read_left_out(path, "key") is None
    assert read_left_out(tmp_path / "missing", "key") is None


def test_every_figure_is_on_the_page() -> None:
    assert [own.name for own in fields(summed(fold("a", left_out(1))).mean)] == list(FIGURES)
