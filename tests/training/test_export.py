"""A bundle says what Keras says, alerts from where it was chosen to, and is refused where it does not."""

from __future__ import annotations

import copy
import gc
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest

from dermsentry.diagnoses import CODES
from dermsentry.errors import BundleError, InputError, OutputError
from dermsentry.files import read_json
from dermsentry.model import Bundle, open_bundle
from dermsentry.model.card import Card
from dermsentry.stats.calibration import (
    apply_temperature,
    fit_bias_corrected_temperature,
    fit_temperature,
)
from dermsentry.training.batches import Examples
from dermsentry.training.export import (
    calibrate,
    check_parity,
    choose_thresholds,
    make_bundle,
    rounded,
    to_onnx,
)
from dermsentry.training.fitted import Fitted, head_logits, predict_logits
from dermsentry.training.networks import (
    REFUSING_NOTHING,
    cnn,
    describe,
    efficientnet_lite,
)
from dermsentry.training.refusal import Sample
from examples import pictures

LABELS = tuple(("MEL", "NV", "NV", "PBK|SK")[i % 4] for i in range(12))
PIXELS = pictures(LABELS)
MEL = CODES.index("MEL")
TRAINING = {
    "fingerprint": "0" * 64, "licences": ["none"], "synthetic": True, "configuration": {}, "versions": {},
}  # fmt: skip


def shares(*melanoma: float) -> np.ndarray:
    """Probabilities (N, 9) with these of melanoma, the rest nevus."""
    probability = np.zeros((len(melanoma), 9))
    probability[:, MEL] = melanoma
    probability[:, CODES.index("NV")] = 1 - probability[:, MEL]
    return probability


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return cnn(32)


def exported(network: keras.Model, folder: Path, **given: Any) -> Bundle:
    """The bundle of a network whose first images validate and whose last calibrate."""
    pixels, labels = given.pop("pixels", PIXELS), given.pop("labels", LABELS)
    half = len(labels) // 2
    parts = [
        Examples(pixels, np.arange(len(labels))[rows], labels[rows])
        for rows in (slice(half), slice(half, None))
    ]
    groups = {"validation": [str(i) for i in range(half)]}
    fitted = Fitted(network, pd.DataFrame(), 1, 1.0, 1.0)
    fields: dict[str, Any] = {
        "name": "made",
        "aspect": "crop",
        "training": TRAINING,
        "resamples": 20,
        **given,
    }
    known = fields.pop("known", PIXELS)
    return make_bundle(fitted, *parts, groups, Sample(known, [""] * len(known)), folder, **fields)


@pytest.fixture(scope="module")
def bundle(network: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return exported(network, tmp_path_factory.mktemp("export") / "bundle")


def test_the_bundle_says_what_keras_says(network: keras.Model, bundle: Bundle) -> None:
    opened = open_bundle(bundle.folder)
    temperature = bundle.card.temperature
    expected = [np.asarray(value) for value in describe(network, temperature, REFUSING_NOTHING)(PIXELS)]
    for count in (1, 12):
        got = opened.predict(PIXELS[:count])
        np.testing.assert_allclose(got.probability, expected[0][:count], atol=1e-4)
        np.testing.assert_allclose(got.embedding, expected[1][:count], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(got.class_activation, expected[2][:count], rtol=1e-3, atol=1e-3)


def test_the_card_says_how_it_was_made(network: keras.Model, bundle: Bundle) -> None:
    card = bundle.card
    assert (card.name, card.size, card.aspect) == ("made", 32, "crop")
    calibration = predict_logits(network, Examples(PIXELS, np.arange(6, 12), LABELS[6:]))
    assert card.temperature == pytest.approx(fit_temperature(calibration, LABELS[6:]), rel=1e-4)
    assert set(card.evaluation) == {"validation", "validation and calibration", "classes"}
    assert card.evaluation["validation"]["accuracy"]["low"] < 1
    assert card.thresholds["alert"].chosen_on == "validation and calibration"
    assert (card.no_lesion, card.out_of_distribution) == (None, None)
    assert card.synthetic


def test_a_few_photographs_say_nothing_of_what_is_familiar(bundle: Bundle) -> None:
    card, outputs = read_json(bundle.folder / "card.json"), bundle.predict(PIXELS)
    for name in ("no_lesion", "out_of_distribution"):
        assert card[name] is None
        np.testing.assert_array_equal(getattr(outputs, name) < 1e-9, True)


def test_the_bundle_refuses_what_is_no_lesion(network: keras.Model, tmp_path: Path) -> None:
    labels = tuple(CODES[i % 9] for i in range(60))
    held_out = pictures(labels, seed=3)
    made = exported(
        network, tmp_path / "bundle", labels=labels, pixels=held_out, known=pictures(labels, seed=4)
    )
    said, flagged = made.card.no_lesion, made.card.out_of_distribution
    assert said is not None
    outputs = made.predict(held_out)
    known = outputs.no_lesion
    assert flagged is not None
    assert flagged.held_out_flagged == (outputs.out_of_distribution > 0.5).mean() == 0
    assert np.median(outputs.out_of_distribution) == pytest.approx(0.1, abs=0.01)
    assert said.held_out == 60
    assert said.held_out_refused == (known > 0.5).mean() == 0
    assert np.median(known) == pytest.approx(0.1, abs=0.01)
    assert said.non_lesions_refused > 0.8
    # An even grey and a grid, neither of which it was fitted on.
    others = np.full((2, 32, 32, 3), 128, np.uint8)
    others[1, ::4] = 0
    assert (made.predict(others).no_lesion > 0.5).all()


@pytest.mark.parametrize("lite", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["cnn", "lite0"])
def test_a_quantised_bundle_is_calibrated_as_it_computes(tmp_path: Path, lite: bool) -> None:
    keras.utils.set_random_seed(0)
    network = efficientnet_lite("lite0", 32) if lite else cnn(32)
    labels = LABELS * 8
    held_out = pictures(labels, seed=3)
    own = {"pixels": held_out, "labels": labels, "known": pictures(labels, seed=4)}
    made = exported(network, tmp_path / "bundle", **own, quantised=True)
    card, opened = made.card, open_bundle(made.folder)
    # The last layer's biases are the head's alone, so that the embedding gives the logits that chose.
    outputs = opened.predict(held_out)
    logits = head_logits(network, outputs.embedding)
    assert card.temperature == pytest.approx(fit_temperature(logits[48:], labels[48:]), rel=1e-3)
    np.testing.assert_allclose(outputs.probability, apply_temperature(logits, card.temperature), atol=1e-4)
    chosen = choose_thresholds(apply_temperature(logits, card.temperature), labels)
    assert card.thresholds["alert"].value == pytest.approx(chosen["alert"].value, abs=1e-4)
    whole = predict_logits(network, Examples(held_out, np.arange(96), labels))
    assert 0 < np.abs(logits - whole).max() < 0.3 * np.abs(whole).max()
    cost = card.evaluation["quantisation"]
    assert cost["images"] == 96
    assert cost["same_class"]["value"] == (logits.argmax(axis=1) == whole.argmax(axis=1)).mean()
    assert set(cost["melanoma_roc_auc"]) == {"float32", "int8", "drop"}
    assert card.training["configuration"]["quantised"]
    assert card.self_test is not None
    assert card.self_test.tolerance == 0.01
    assert card.no_lesion is not None
    assert card.no_lesion.held_out_refused == (outputs.no_lesion > 0.5).mean()
    assert card.out_of_distribution is not None
    assert card.out_of_distribution.held_out_flagged == (outputs.out_of_distribution > 0.5).mean()
    kinds = [node.op_type for node in onnx.load(made.folder / "model.onnx").graph.node]
    assert kinds.count("QuantizeLinear") > kinds.count("Conv")
    assert "BatchNormalization" not in kinds


def test_a_rounded_network_takes_half_the_bytes_and_says_the_same() -> None:
    keras.utils.set_random_seed(0)
    whole = efficientnet_lite("lite0", 32)
    half = rounded(whole)
    onnx = to_onnx(half, 1.7, REFUSING_NOTHING)
    assert len(onnx) < 0.55 * 4 * half.count_params()
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    (probability,) = session.run(["probability"], {"image": PIXELS})
    for keras_network, allowed in ((half, 1e-5), (whole, 0.01)):
        expected = np.asarray(describe(keras_network, 1.7, REFUSING_NOTHING)(PIXELS)[0])
        np.testing.assert_allclose(probability, expected, atol=allowed)


def test_no_more_than_a_few_copies_of_the_network_are_held_while_it_is_converted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import tf2onnx.optimizer
    from tf2onnx.graph import Graph

    alive: weakref.WeakSet[Graph] = weakref.WeakSet()
    held: list[int] = []

    def copied(value: Any) -> Any:
        made = copy.deepcopy(value)
        if isinstance(made, Graph):
            alive.add(made)
            held.append(len(alive))
        return made

    monkeypatch.setattr(tf2onnx.optimizer, "copy", SimpleNamespace(deepcopy=copied))
    before = gc.get_threshold()
    to_onnx(efficientnet_lite("lite0", 64), 1.0, REFUSING_NOTHING)
    assert len(held) > 20, held
    assert max(held) <= 12, held
    assert gc.get_threshold() == before
    assert not gc.get_freeze_count()


def test_a_difference_to_keras_is_refused(network: keras.Model, bundle: Bundle) -> None:
    onnx = (bundle.folder / "model.onnx").read_bytes()
    card: Card = bundle.card
    check_parity(network, card.temperature, REFUSING_NOTHING, onnx, card, PIXELS)
    with pytest.raises(BundleError, match=r"^made: probability differs by .* at batch 1; at most 0\.0001"):
        check_parity(network, 1.2 * card.temperature, REFUSING_NOTHING, onnx, card, PIXELS)
    for name, other in (
        ("no_lesion", replace(REFUSING_NOTHING, bias=-2.0)),
        ("out_of_distribution", replace(REFUSING_NOTHING, offset=-2.0)),
    ):
        with pytest.raises(BundleError, match=rf"^made: {name} differs by 0\.12 .* at most 0\.001"):
            check_parity(network, card.temperature, other, onnx, card, PIXELS)
    kernel, bias = network.get_layer("logits").get_weights()
    try:
        network.get_layer("logits").set_weights([kernel * np.nan, bias])
        broken = to_onnx(network, card.temperature, REFUSING_NOTHING)
        with pytest.raises(BundleError, match="differs by nan"):
            check_parity(network, card.temperature, REFUSING_NOTHING, broken, card, PIXELS[:2])
    finally:
        network.get_layer("logits").set_weights([kernel, bias])


def test_a_folder_that_cannot_be_written_is_an_output_error(network: keras.Model, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="not a model bundle"):
        exported(network, tmp_path / "bundle")
    assert (tmp_path / "bundle" / "thesis.txt").read_text() == "years of work"


def test_thresholds_find_the_share_they_are_for() -> None:
    rng = np.random.default_rng(0)
    labels = ["MEL"] * 100 + ["NV"] * 300
    score = np.concatenate([rng.beta(4, 2, 100), rng.beta(2, 4, 300)])
    chosen = choose_thresholds(shares(*score), labels)
    for cut, target in (("alert", 0.95), ("refer", 0.99)):
        threshold = chosen[cut]  # type: ignore[index]
        found = (score[:100] >= threshold.value).mean()
        assert found >= target
        assert (score[:100] > threshold.value + 0.02).mean() < target + 0.01
        assert threshold.sensitivity is not None
        assert threshold.sensitivity.value == pytest.approx(found)
        assert threshold.sensitivity.low < found < threshold.sensitivity.high
    assert chosen["refer"].value < chosen["alert"].value


def test_thresholds_hold_at_the_hospital_that_needs_the_lowest() -> None:
    rng = np.random.default_rng(0)
    easy, hard, few = rng.uniform(0.6, 0.9, 60), rng.uniform(0.2, 0.9, 60), np.full(2, 0.01)
    others = rng.uniform(0, 0.5, 40)
    score = np.concatenate([easy, hard, few, others])
    labels = ["MEL"] * 122 + ["NV"] * 40
    sources = ["easy"] * 60 + ["hard"] * 60 + ["few"] * 2 + ["easy", "hard"] * 20
    alert = choose_thresholds(shares(*score), labels, sources)["alert"]
    assert alert == replace(
        choose_thresholds(shares(*hard), ["MEL"] * 60)["alert"], chosen_on=alert.chosen_on
    )
    assert alert.chosen_on == "validation and calibration, hard"
    # Too few melanomas for 99 % at any one hospital: all together decide.
    refer = choose_thresholds(shares(*score), labels, sources)["refer"]
    assert refer == choose_thresholds(shares(*score), labels)["refer"]


def test_thresholds_without_a_melanoma_say_that_nobody_chose_them(
    network: keras.Model, tmp_path: Path
) -> None:
    chosen = choose_thresholds(shares(0.2, 0.9), ("NV", "SK"))
    assert {cut: (t.value, t.sensitivity) for cut, t in chosen.items()} == {
        "alert": (0.5, None), "refer": (0.25, None),
    }  # fmt: skip
    made = exported(network, tmp_path / "bundle", labels=("NV", "SK", "NV", "NV"))
    assert open_bundle(made.folder).card.thresholds["alert"].chosen_on == "nothing: no melanoma was held out"


def test_thresholds_of_melanomas_alone() -> None:
    chosen = choose_thresholds(shares(0.2, 0.9), ("MEL", "MEL"))
    assert 0 <= chosen["refer"].value <= chosen["alert"].value <= 0.2


def test_what_may_or_may_not_be_melanoma_chooses_nothing() -> None:
    with_it = choose_thresholds(shares(0.8, 0.3, 0.79), ("MEL", "NV", "MEL|NV"))
    assert with_it == choose_thresholds(shares(0.8, 0.3), ("MEL", "NV"))


def test_calibration_images_fit_the_temperature_and_no_others() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (30, 9)).astype(np.float32)
    labels = [CODES[i] for i in (logits + rng.normal(0, 4, logits.shape)).argmax(axis=1)]
    calibrated = calibrate(logits, labels)
    assert calibrated.temperature == fit_temperature(logits, labels)
    np.testing.assert_allclose(
        calibrated.probability(logits), apply_temperature(logits, calibrated.temperature)
    )
    with pytest.raises(InputError, match="diverged"):
        calibrate(logits * np.nan, labels)


def test_the_chosen_way_of_calibrating_is_applied() -> None:
    """Probabilities of a class that are too high by a factor call for biases, which a network can hold."""
    rng = np.random.default_rng(0)
    labels = [CODES[i % 9] for i in range(450)]
    logits = (rng.normal(0, 1, (450, 9)) + 2 * np.eye(9)[[i % 9 for i in range(450)]]).astype(np.float32)
    logits[:, CODES.index("NV")] += 3
    groups = [str(i) for i in range(450)]
    calibrated = calibrate(logits, labels, groups, compare=True)
    chosen = next(method.method for method in calibrated.compared if method.chosen)
    assert chosen == "bias-corrected temperature"
    temperature, biases = fit_bias_corrected_temperature(logits, labels)
    wanted = apply_temperature(logits, temperature, biases)
    np.testing.assert_allclose(calibrated.probability(logits), wanted, atol=1e-6)


def test_probabilities_can_be_stated_for_a_more_even_case_mix() -> None:
    logits = np.random.default_rng(0).normal(0, 1, (500, len(CODES))).astype(np.float32)
    logits[:, CODES.index("NV")] += 3
    labels = [CODES[i % 9] for i in range(500)]
    plain, even = (calibrate(logits, labels, evenness=share) for share in (0.0, 0.5))
    assert plain.prior is None
    assert even.prior is not None
    own, stated = plain.probability(logits), even.probability(logits)
    assert sum(even.prior.values()) == pytest.approx(1, abs=1e-3)
    assert 1 / len(CODES) < even.prior["NV"] < own.mean(axis=0)[CODES.index("NV")]
    # Odds between two classes change by the same factor in every image.
    odds = stated[:, 0] / stated[:, 4] / (own[:, 0] / own[:, 4])
    assert np.ptp(odds) < 1e-4 * odds.mean()
