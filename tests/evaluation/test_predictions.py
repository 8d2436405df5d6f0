from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as theirs

from dermsentry.diagnoses import BENIGN, CODES, MALIGNANT, NOT_MELANOMA
from dermsentry.errors import InputError
from dermsentry.evaluation import Estimate, Evaluation, evaluate_predictions
from dermsentry.evaluation.report import write_page
from dermsentry.evaluation.summary import summary, verdict
from dermsentry.files import to_json
from dermsentry.stats.calibration import calibration_error
from dermsentry.stats.resampling import Resampler

MEL = CODES.index("MEL")


def predictions(labels, seed=0, skill=1.5):
    """Probabilities that know the truth with some skill; for `PBK|SK` of its first code."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(labels), len(CODES)))
    for row, label in zip(logits, labels, strict=True):
        if label:
            row[CODES.index(label.split("|")[0])] += skill
    raised = np.exp(logits)
    return raised / raised.sum(axis=1, keepdims=True)


def drawn(n=200, seed=0, labels=CODES):
    rng = np.random.default_rng(seed)
    return [labels[i] for i in rng.integers(0, len(labels), n)]


def alone(n):
    return [f"lesion {i}" for i in range(n)]


def figures_of(evaluation: Evaluation):
    """Every interval of an evaluation."""

    def walk(value):
        if isinstance(value, dict):
            if set(value) == {"value", "low", "high"}:
                if not isinstance(value["value"], list):  # a curve
                    yield Estimate(**(value | {"high": math.inf if value["high"] is None else value["high"]}))
            else:
                for inner in value.values():
                    yield from walk(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner)

    return list(walk(evaluation.as_dict()))


def label_of(evaluation, label):
    return next(figures for figures in evaluation.classes if figures.label == label)


def test_every_figure_agrees_with_scikit_learn():
    labels = drawn()
    probability = predictions(labels)
    evaluation = evaluate_predictions(labels, probability, alone(200), threshold=0.2, resamples=20)
    true = np.array([CODES.index(label) for label in labels])
    called = probability.argmax(axis=1)
    hot = np.eye(9)[true]
    expected = {
        "accuracy": theirs.accuracy_score(true, called),
        "balanced_accuracy": theirs.balanced_accuracy_score(true, called),
        "roc_auc": theirs.roc_auc_score(hot, probability, average="macro"),
        "average_precision": theirs.average_precision_score(hot, probability, average="macro"),
        "log_loss": theirs.log_loss(true, probability, labels=range(9)),
        "brier_score": theirs.brier_score_loss(true, probability, labels=range(9)),
    }
    for name, value in expected.items():
        figure = evaluation.overall[name]
        assert figure is not None
        assert figure.value == pytest.approx(value, abs=1e-9)
    np.testing.assert_array_equal(evaluation.confusion_matrix.counts, theirs.confusion_matrix(true, called))
    recalls = theirs.recall_score(true, called, average=None)
    precisions = theirs.precision_score(true, called, average=None)
    for i, figures in enumerate(evaluation.classes):
        assert figures.recall.value == pytest.approx(recalls[i], abs=1e-9)
        assert figures.precision.value == pytest.approx(precisions[i], abs=1e-9)
        assert figures.roc_auc.value == pytest.approx(
            theirs.roc_auc_score(true == i, probability[:, i]), abs=1e-9
        )
        area = theirs.average_precision_score(true == i, probability[:, i])
        assert figures.average_precision.value == pytest.approx(area, abs=1e-9)
    alert = probability[:, MEL] >= 0.2
    decision = evaluation.melanoma.decisions[1]
    assert decision.sensitivity.value == pytest.approx(theirs.recall_score(true == MEL, alert), abs=1e-9)
    assert decision.specificity.value == pytest.approx(theirs.recall_score(true != MEL, ~alert), abs=1e-9)
    assert decision.positive_predictive_value.value == pytest.approx(
        theirs.precision_score(true == MEL, alert), abs=1e-9
    )
    assert decision.detected == int((alert & (true == MEL)).sum())
    assert evaluation.sensitivity == decision.sensitivity
    assert evaluation.specificity == decision.specificity


def test_the_threshold_at_a_sensitivity_gives_that_specificity():
    labels = drawn(300, seed=3)
    probability = predictions(labels, seed=3)
    melanoma = evaluate_predictions(labels, probability, alone(300), resamples=20).melanoma
    truth = np.array(labels) == "MEL"
    assert [point.sensitivity for point in melanoma.at_sensitivity] == [0.80, 0.90, 0.95]
    for point in melanoma.at_sensitivity:
        assert not point.reason
        alert = probability[:, MEL] >= point.threshold
        assert alert[truth].mean() >= point.sensitivity
        assert (~alert[~truth]).mean() == pytest.approx(point.specificity.value, abs=1e-9)


def test_the_same_seed_gives_the_same_json():
    labels = drawn(60)
    one, same, other = (
        to_json(evaluate_predictions(labels, predictions(labels), alone(60), seed=s, resamples=50).as_dict())
        for s in (1, 1, 2)
    )
    assert one == same
    assert one != other


@given(
    st.lists(st.sampled_from([*CODES, "PBK|SK", "AK|SCC", "MEL|NV", ""]), min_size=1, max_size=12),
    st.integers(0, 1000),
    st.integers(1, 4),
)
@settings(max_examples=60)
def test_any_few_photographs_are_judged_without_a_crash(labels, seed, per_group):
    groups = [str(i // per_group) for i in range(len(labels))]
    if not any(labels):
        with pytest.raises(InputError, match="known diagnosis"):
            evaluate_predictions(labels, predictions(labels, seed), groups, resamples=20)
        return
    evaluation = evaluate_predictions(
        labels, predictions(labels, seed), groups, threshold=0.2, prevalence=0.1, resamples=20, seed=seed
    )
    text = to_json(evaluation.as_dict())
    assert "NaN" not in text
    for figure in figures_of(evaluation):
        assert figure.low <= figure.value <= figure.high
    assert evaluation.photographs + evaluation.unknown == len(labels)
    assert sum(figures.photographs for figures in evaluation.classes) == evaluation.photographs
    assert sum(map(sum, evaluation.confusion_matrix.counts)) == evaluation.photographs


@given(st.integers(0, 50))
@settings(max_examples=10)
def test_the_order_of_photographs_changes_no_value(seed):
    labels = drawn(40, seed)
    probability = predictions(labels, seed)
    order = np.random.default_rng(seed).permutation(40)
    one = evaluate_predictions(labels, probability, alone(40), threshold=0.2, resamples=5)
    other = evaluate_predictions(
        [labels[i] for i in order], probability[order], alone(40), threshold=0.2, resamples=5
    )
    values = [[figure.value for figure in figures_of(evaluation)] for evaluation in (one, other)]
    np.testing.assert_allclose(*values, atol=1e-12)


def test_labels_that_cannot_be_told_apart_are_one_class():
    labels = ["PBK|SK", "SK", "MEL", "MEL"]
    probability = np.full((4, 9), 0.02)
    probability[:, CODES.index("NV")] = 0.34
    probability[:2, [CODES.index("PBK"), CODES.index("SK")]] = [[0.3, 0.22], [0.22, 0.3]]
    probability[2:, MEL] = 0.52
    probability /= probability.sum(axis=1, keepdims=True)
    evaluation = evaluate_predictions(labels, probability, alone(4), resamples=20)
    assert [figures.label for figures in evaluation.classes].count("PBK|SK") == 1
    joined = label_of(evaluation, "PBK|SK")
    assert joined.photographs == 2
    assert joined.recall.value == 1.0  # together the two are more probable than the nevus
    assert any("pigmented benign keratosis or seborrheic keratosis" in line for line in evaluation.warnings)


def test_what_may_be_a_melanoma_is_not_in_its_figures():
    labels = ["MEL", "MEL", "NV", "NV", "MEL|NV"]
    evaluation = evaluate_predictions(labels, predictions(labels), alone(5), resamples=20)
    assert evaluation.melanoma.photographs == 2
    assert evaluation.melanoma.others == 2
    assert evaluation.photographs == 5


def test_being_called_something_that_is_not_there_is_wrong():
    labels = ["MEL", "NV"]
    probability = np.full((2, 9), 0.01)
    probability[:, CODES.index("BCC")] = 0.92
    evaluation = evaluate_predictions(labels, probability, alone(2), resamples=20)
    assert evaluation.accuracy is not None
    assert evaluation.accuracy.value == 0.0
    absent = label_of(evaluation, "BCC")
    assert (absent.photographs, absent.predicted, absent.recall, absent.roc_auc) == (0, 2, None, None)
    assert absent.precision is not None
    assert any("No photographs of" in line and "basal cell carcinoma" in line for line in evaluation.warnings)


def test_a_class_of_one_photograph_is_known_to_be_unknown():
    labels = ["MEL", *["NV"] * 30]
    evaluation = evaluate_predictions(labels, predictions(labels, skill=9), alone(31), resamples=50)
    one = label_of(evaluation, "MEL")
    assert one.recall.low == pytest.approx(0.025, abs=1e-6)
    assert (one.roc_auc.low, one.roc_auc.high) == (0.0, 1.0)
    assert any("melanoma (1)" in line for line in evaluation.warnings)
    assert any(line.startswith("Only 1 group of melanoma photographs:") for line in evaluation.warnings)


def test_sixteen_of_sixteen_proves_79_percent():
    labels = ["MEL"] * 16 + ["NV"] * 84
    probability = np.zeros((100, 9))
    probability[:16, MEL], probability[16:, CODES.index("NV")] = 1, 1
    evaluation = evaluate_predictions(labels, probability, alone(100), threshold=0.5, resamples=50)
    assert evaluation.sensitivity is not None
    assert evaluation.sensitivity.value == 1.0
    assert evaluation.sensitivity.low == pytest.approx(0.794, abs=5e-4)
    assert any(
        "Only 16 groups of melanoma photographs" in line and "79 %" in line and "72" in line
        for line in evaluation.warnings
    )


def test_enough_melanomas_are_not_warned_of():
    labels = ["MEL"] * 72 + ["NV"] * 72
    evaluation = evaluate_predictions(labels, predictions(labels), alone(144), resamples=20)
    assert not any("melanoma photographs:" in line for line in evaluation.warnings)
    few = evaluate_predictions(labels, predictions(labels), ["same"] * 71 + alone(73), resamples=20)
    assert any(
        "Only 2 groups of melanoma photographs" in line for line in few.warnings
    )  # 72 photographs, two lesions


def test_copies_of_a_lesion_do_not_narrow_an_interval():
    labels = drawn(60, seed=4)
    probability = predictions(labels, seed=4)
    one = evaluate_predictions(labels, probability, alone(60), resamples=400)
    many = evaluate_predictions(labels * 5, np.tile(probability, (5, 1)), alone(60) * 5, resamples=400)
    assert one.accuracy is not None
    assert many.accuracy is not None
    assert many.accuracy.value == pytest.approx(one.accuracy.value)
    assert many.accuracy.high - many.accuracy.low == pytest.approx(
        one.accuracy.high - one.accuracy.low, rel=0.15
    )


def test_no_melanoma_and_nothing_else():
    without = evaluate_predictions(
        drawn(30, labels=["NV", "BCC"]), predictions([""] * 30), alone(30), resamples=20
    )
    assert without.sensitivity is None
    assert without.specificity is not None
    assert without.melanoma.roc_auc is None
    assert without.melanoma.at_sensitivity == ()
    assert any("None of these photographs is a melanoma" in line for line in without.warnings)
    only = evaluate_predictions(["MEL"] * 30, predictions(["MEL"] * 30), alone(30), resamples=20)
    assert only.specificity is None
    assert any("Every photograph is melanoma" in line for line in only.warnings)
    assert any("Every photograph is a melanoma" in line for line in only.warnings)


def test_unknown_diagnoses_are_counted_and_left_out():
    labels = ["MEL", "", "NV", "NV", ""]
    probability = predictions(labels)
    evaluation = evaluate_predictions(labels, probability, alone(5), resamples=20)
    known = evaluate_predictions(
        ["MEL", "NV", "NV"], probability[[0, 2, 3]], ["lesion 0", "lesion 2", "lesion 3"], resamples=20
    )
    assert (evaluation.photographs, evaluation.unknown) == (3, 2)
    assert evaluation.overall == known.overall
    assert any(line.startswith("2 photographs have no known diagnosis") for line in evaluation.warnings)


def test_evaluation_json_has_what_its_readers_expect():
    labels = drawn(50)
    evaluation = evaluate_predictions(labels, predictions(labels), alone(50), threshold=0.3, resamples=20)
    found = json.loads(to_json(evaluation.as_dict()))
    assert found["photographs"] == found["groups"] == 50
    assert set(found["accuracy"]) == {"value", "low", "high"}
    assert [entry["label"] for entry in found["classes"]] == list(CODES)
    assert len(found["confusion_matrix"]["counts"]) == 9
    assert [rule["threshold"] for rule in found["melanoma"]["decisions"]] == [None, 0.3]
    assert 0 < found["melanoma"]["provable_sensitivity"] < 1


def test_an_evaluation_shows_itself_in_a_line_and_as_a_table():
    labels = drawn(50)
    evaluation = evaluate_predictions(labels, predictions(labels), alone(50), threshold=0.3, resamples=20)
    assert repr(evaluation).startswith("Evaluation(50 photographs of 50 groups of related photographs, ")
    assert "\n" not in repr(evaluation)
    table = evaluation.to_frame()
    assert list(table.columns) == ["name", "value", "low", "high"]
    assert table["name"].is_unique
    found = table.set_index("name")
    for name, figure in {
        "accuracy": evaluation.accuracy,
        "melanoma sensitivity": evaluation.sensitivity,
        "melanoma roc_auc": evaluation.melanoma.roc_auc,
        "NV recall": label_of(evaluation, "NV").recall,
    }.items():
        assert tuple(found.loc[name]) == (figure.value, figure.low, figure.high)
    assert "melanoma sensitivity" in evaluation._repr_html_()


def test_the_operating_point_is_the_decision_beside_what_was_needed():
    labels = drawn(300, seed=5)
    probability = predictions(labels, seed=5)
    evaluation = evaluate_predictions(labels, probability, alone(300), threshold=0.3, resamples=200)
    point, decision = evaluation.operating_point, evaluation.melanoma.decisions[-1]
    assert (point.threshold, point.sensitivity_target) == (0.3, 0.95)
    assert (point.sensitivity, point.specificity) == (decision.sensitivity, decision.specificity)
    assert (point.detected, point.false_alarms) == (decision.detected, decision.alerts - decision.detected)
    truth = np.array(labels) == "MEL"
    alert = probability[:, MEL] >= point.needed.threshold.value
    assert alert[truth].mean() >= 0.95
    assert (~alert[~truth]).mean() == pytest.approx(point.needed.specificity.value)
    assert point.needed.threshold.low < point.needed.threshold.value < point.needed.threshold.high
    assert point.needed.specificity == evaluation.melanoma.at_sensitivity[-1].specificity
    found = evaluation.as_dict()["operating_point"]
    assert found["provable_sensitivity"] == evaluation.as_dict()["melanoma"]["provable_sensitivity"]
    assert found["needed"]["threshold"]["value"] == point.needed.threshold.value


def test_another_target_asks_for_another_threshold():
    labels = drawn(300, seed=5)
    probability = predictions(labels, seed=5)
    points = [
        evaluate_predictions(
            labels, probability, alone(300), threshold=0.3, sensitivity_target=target, resamples=20
        ).operating_point
        for target in (0.5, 0.95)
    ]
    assert points[0].needed.threshold.value > points[1].needed.threshold.value
    assert points[0].needed.specificity.value > points[1].needed.specificity.value
    assert points[0].sensitivity == points[1].sensitivity


def test_without_a_threshold_there_is_no_operating_point():
    labels = drawn(60)
    evaluation = evaluate_predictions(labels, predictions(labels), alone(60), resamples=20)
    assert evaluation.operating_point is None
    assert len(evaluation.clinical_value) == 3  # of the rule of the largest probability


def test_clinical_value_follows_from_the_decision():
    labels = drawn(300, seed=6)
    evaluation = evaluate_predictions(
        labels, predictions(labels, seed=6), alone(300), threshold=0.3, prevalence=0.03, resamples=100
    )
    assert [value.prevalence for value in evaluation.clinical_value] == [0.01, 0.02, 0.03, 0.05]
    found, quiet = evaluation.sensitivity.value, evaluation.specificity.value
    right = 0.03 * found / (0.03 * found + 0.97 * (1 - quiet))
    assert evaluation.clinical_value[2].positive_predictive_value.value == pytest.approx(right)
    assert evaluation.prior_shift.prevalence == 0.03
    assert evaluation.decision_curve.melanomas == labels.count("MEL")


def test_melanomas_own_calibration_is_scikit_learns():
    labels = drawn(200)
    probability = predictions(labels)
    melanoma = evaluate_predictions(labels, probability, alone(200), resamples=50).melanoma
    truth = np.array(labels) == "MEL"
    assert melanoma.log_loss.value == pytest.approx(theirs.log_loss(truth, probability[:, MEL]))
    assert melanoma.brier_score.value == pytest.approx(theirs.brier_score_loss(truth, probability[:, MEL]))
    assert melanoma.calibration_test.p_value > 0.05
    index = Resampler(alone(200)).index
    assert melanoma.calibration_error == calibration_error(truth, probability[:, MEL], index)


def test_what_cannot_be_estimated_is_null_with_its_reason(tmp_path):
    labels = ["MEL"] * 16 + ["NV"] * 84
    evaluation = evaluate_predictions(labels, predictions(labels), alone(100), threshold=0.2, resamples=20)
    plain = evaluation.as_dict()
    at_90, at_95 = plain["melanoma"]["specificity_at_sensitivity"][1:]
    assert at_90["specificity"]["value"] > 0
    assert at_95["specificity"] is None
    assert at_95["reason"] == "not estimable: 5 % of 16 independent melanomas is less than one"
    assert plain["operating_point"]["needed"] == {
        "threshold": None,
        "specificity": None,
        "reason": at_95["reason"],
    }
    assert at_95["reason"] in summary(evaluation)
    write_page(tmp_path / "page.html", evaluation)
    shown = (tmp_path / "page.html").read_text(encoding="utf-8").replace("\u00a0", " ")
    assert shown.count(at_95["reason"]) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probability": np.zeros((2, 8))}, "shape"),
        ({"probability": np.full((2, 9), np.nan)}, "not probabilities"),
        ({"probability": np.full((2, 9), -0.1)}, "not probabilities"),
        ({"probability": np.full((2, 9), 0.5)}, "add up to 1"),
        ({"groups": ["a"]}, "1 groups for 2 photographs"),
        ({"truth": ["MEL", "mole"]}, "labels mole"),
        ({"truth": ["", ""]}, "nothing to evaluate"),
        ({"threshold": math.nan}, "threshold nan"),
        ({"resamples": 1}, "at least 2"),
        ({"sensitivity_target": 0.0}, "sensitivity 0 to aim at"),
        ({"prevalence": 2.0}, "prevalence of 2"),
    ],
)
def test_what_cannot_be_judged_is_said(change, message):
    good = {"truth": ["MEL", "NV"], "probability": np.full((2, 9), 1 / 9), "groups": ["a", "b"]}
    arguments = good | change
    with pytest.raises(InputError, match=message):
        evaluate_predictions(**arguments)


def test_labels_that_are_only_benign_or_malignant() -> None:
    rng = np.random.default_rng(3)
    probability = rng.dirichlet(np.ones(9), 60)
    groups = [str(i) for i in range(60)]
    benign, malignant, other = ("|".join(codes) for codes in (BENIGN, MALIGNANT, NOT_MELANOMA))

    found = evaluate_predictions(["MEL"] * 20 + [other] * 40, probability, groups, resamples=20)
    assert [figures.label for figures in found.classes] == [other, "MEL"]
    assert (found.melanoma.photographs, found.melanoma.others) == (20, 40)
    assert found.melanoma.roc_auc is not None
    assert any("accuracy of the nine diagnoses cannot be measured" in line for line in found.warnings)

    found = evaluate_predictions([malignant] * 20 + [benign] * 40, probability, groups, resamples=20)
    assert (found.melanoma.photographs, found.melanoma.others, found.sensitivity) == (0, 40, None)
    assert found.accuracy is not None
    assert any("None of these photographs is known to be a melanoma" in line for line in found.warnings)
    assert any("Of 20 photographs it is not known whether" in line for line in found.warnings)

    # Labels that overlap tell no two classes apart, and every answer would be right.
    found = evaluate_predictions([malignant] * 20 + [other] * 40, probability, groups, resamples=20)
    assert [figures.label for figures in found.classes] == ["|".join(CODES)]
    assert set(found.overall.values()) == {None}
    assert found.classes[0].recall is None
    assert found.specificity is not None
    assert any("an accuracy cannot be measured" in line for line in found.warnings)


def constant(rows: int, melanoma: float) -> np.ndarray:
    others = (1 - melanoma) / (len(CODES) - 1)
    return np.tile([melanoma if code == "MEL" else others for code in CODES], (rows, 1))


@pytest.mark.parametrize(
    ("melanoma", "threshold", "caveat", "told", "remark"),
    [
        (0.9, None, "same probabilities", "alert for every one of 40 photographs", "every photograph raises"),
        (0.2, 0.1, "same probabilities", "alert for every one of 40 photographs", "every photograph raises"),
        (0.05, 0.5, "same probabilities", "no alert for any of 40 photographs", "nothing raises an alert"),
    ],
)
def test_a_constant_prediction_is_called_that(
    melanoma: float, threshold: float | None, caveat: str, told: str, remark: str
) -> None:
    labels = ["MEL", "NV", "BCC", "NV"] * 10
    found = evaluate_predictions(labels, constant(40, melanoma), alone(40), threshold=threshold, resamples=20)
    assert caveat in found.warnings[0]
    assert told in verdict(found)[0]
    assert "raised an alert for 10 of" not in " ".join(verdict(found))
    assert remark in summary(found)


def test_alerts_on_everything_are_called_that_where_probabilities_differ() -> None:
    labels = ["MEL", "NV", "BCC", "NV"] * 10
    probability = constant(40, 0.3)
    probability[::2] = constant(20, 0.4)
    found = evaluate_predictions(labels, probability, alone(40), threshold=0.2, resamples=20)
    assert "predicted to be melanoma, a constant prediction" in found.warnings[0]
    assert "Every photograph raises an alert" in found.warnings[0]
    assert not any("same probabilities" in line for line in found.warnings)
    useful = evaluate_predictions(labels, probability, alone(40), threshold=0.35, resamples=20)
    assert not any("raises an alert" in line for line in useful.warnings)
