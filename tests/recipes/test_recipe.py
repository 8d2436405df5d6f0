"""The bundled model's recipe on drawn sets: a bundle that screens, the same network as was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dermoscopic import draw_sets
from dermsentry.diagnoses import CODES
from dermsentry.evaluation.predictions import evaluate_predictions
from dermsentry.files import read_json
from dermsentry.model import open_bundle, read_network
from dermsentry.screening import screen
from dermsentry.training import Run
from dermsentry.training.networks import efficientnet_lite
from dermsentry.training.pretrained import load_onnx

pytest.importorskip("torch", reason="only the bundled model's recipe needs PyTorch")

from recipes.dermoscopy import claims
from recipes.dermoscopy.claims import measure_claims
from recipes.dermoscopy.data import HOSPITALS, WEIGHTS_LICENCE
from recipes.dermoscopy.pack import read_pack
from recipes.dermoscopy.recipe import train_dermoscopy
from recipes.dermoscopy.targets import HAM10000, ISIC2017, LEFT_OUT, NINE, TARGETS
from recipes.dermoscopy.train import Options

pytestmark = pytest.mark.slow

TEACHERS = {"teacher-1": Options("lite0", size=32, images=32, batch_size=16, frozen_stages=0, seed=1)}
STUDENT = Options("lite0", size=32, images=64, batch_size=16, rounded_share=0.5)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_sets(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def run(sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "dermoscopy"
    # So small a network, hardly trained, computes something else in 8 bits.
    return train_dermoscopy(
        sets, folder, student=STUDENT, teachers=TEACHERS, quantised=False, stored=64, screened=64, steps=4
    )


def test_the_run_has_its_history_and_its_split(run: Run) -> None:
    assert {"loss", "melanoma_roc_auc", "balanced_accuracy"} <= set(run.history.columns)
    assert list(run.history["step"]) == [1, 2, 3, 4]
    assert (run.folder / "split.csv").is_file()


def test_what_training_reads_holds_nothing_that_is_held_out(run: Run) -> None:
    table = read_pack(run.folder / "photographs.tar", 32).table
    assert set(table["part"]) == {"train", "validation"}
    assert set(table["hospital"]) == set(HOSPITALS)


def test_the_bundle_is_small_and_says_what_made_it(run: Run) -> None:
    card = open_bundle(run.bundle).card
    assert (run.bundle / "model.onnx").stat().st_size < 8e6
    assert card.size == 64
    assert card.training["weights_licence"] == WEIGHTS_LICENCE
    assert card.training["configuration"]["teachers"]["teacher-1"]["seed"] == 1
    assert card.training["configuration"]["rounded_share"] == 0.5
    assert "torch" in card.training["versions"]
    prior = card.training["configuration"]["prior"]
    assert sum(prior.values()) == pytest.approx(1, abs=1e-3)
    assert set(card.evaluation["validation"]) >= {"accuracy", "balanced_accuracy", "melanoma_roc_auc"}
    methods = {method["method"] for method in card.evaluation["calibration"]}
    assert methods == {"none", "temperature", "bias-corrected temperature"}


def test_it_screens(run: Run, sets: Path) -> None:
    findings = screen([sets / "isic9" / "Train"], run.bundle)
    assert len(findings) == 6
    for finding in findings:
        assert finding.probabilities is not None
        assert sum(finding.probabilities.values()) == pytest.approx(1, abs=1e-3)


def test_a_network_can_begin_with_the_bundles_weights(run: Run) -> None:
    card, onnx = read_network(run.bundle)
    network = efficientnet_lite("lite0", card.size, normalised=False)
    load_onnx(network, onnx)
    pixels = np.random.default_rng(0).integers(0, 256, (3, card.size, card.size, 3), dtype=np.uint8)
    logits = network.predict(pixels, verbose=0) / card.temperature
    expected = open_bundle(run.bundle).predict(pixels).probability
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(shares / shares.sum(axis=1, keepdims=True), expected, atol=2e-3)
    assert expected.shape == (3, len(CODES))


def test_the_claims_are_measured_and_kept_in_the_card(run: Run, sets: Path, tmp_path: Path) -> None:
    bundle = measure_claims(run.folder, sets, tmp_path)
    measured = bundle.card.evaluation
    assert {HAM10000, NINE} <= set(measured)
    assert ISIC2017 not in measured
    assert measured[HAM10000]["photographs"] > 10
    assert measured[HAM10000]["melanomas"] > 0
    assert "decisions_flipped_by_a_turn" in measured[HAM10000]
    assert measured[HAM10000]["alerts_per_melanoma_found_at_2_percent_prevalence"]["value"] >= 1
    assert len(measured["targets"]) == len(TARGETS)
    assert {row["reached"] for row in measured["targets"] if row["photographs"] == ISIC2017} == {None}
    page = tmp_path / "HAM10000-held-out-lesions"
    assert read_json(page / "evaluation.json")["photographs"] == measured[HAM10000]["photographs"]


def test_the_locked_test_is_measured_only_when_asked(
    run: Run, sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an evaluation gives is tested above; here, which images it is given."""
    labels = ["MEL", "NV"] * 5
    some = evaluate_predictions(labels, np.full((10, 9), 1 / 9), list("abcdefghij"), resamples=2)
    monkeypatch.setattr(claims, "evaluate", lambda *_, **__: some)
    monkeypatch.setattr(claims, "shortcuts_left", lambda *_, **__: [])
    seen = {"failures": ["Melanomas without pigment."]}
    measured = measure_claims(run.folder, sets, tmp_path, locked=True, observed=seen).card.evaluation
    assert measured[ISIC2017]["photographs"] == 10
    assert measured["failures"] == seen["failures"]


@pytest.mark.parametrize("without", [None, "BCN20000 (Barcelona)"])
def test_a_target_that_was_not_measured_everywhere_has_no_value(
    run: Run, sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: str | None
) -> None:
    labels = ["MEL", "NV"] * 5
    some = evaluate_predictions(labels, np.full((10, 9), 1 / 9), list("abcdefghij"), resamples=2)
    monkeypatch.setattr(claims, "evaluate", lambda *_, **__: some)
    monkeypatch.setattr(claims, "shortcuts_left", lambda *_, **__: [])
    rows = []
    for hospital, value in zip(HOSPITALS, (0.8, 0.9, 0.7), strict=True):
        row = {"way": "recipe", "left_out": hospital, "melanoma_roc_auc": {"value": value}}
        if hospital != without:
            row["melanoma_roc_auc_lesion_painted_out"] = {"value": value - 0.25}
        rows.append(row)
    found = measure_claims(run.folder, sets, tmp_path, left_out=rows).card.evaluation["targets"]
    measured = {row["figure"]: row["measured"] for row in found if row["photographs"] == LEFT_OUT}
    assert measured["mean_melanoma_roc_auc"] == "0.800"
    assert measured["worst_melanoma_roc_auc"] == "0.700"
    assert measured["worst_melanoma_roc_auc_lesion_painted_out"] == (None if without else "0.650")
