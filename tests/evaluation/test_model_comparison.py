from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as theirs

from dermsentry import compare_models
from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError
from dermsentry.evaluation import Evaluation, evaluate_predictions

MEL = CODES.index("MEL")
LABELS = ["MEL", "NV", "NV", "BCC"] * 50


def model(seed: int, skill: float, labels: list[str] = LABELS, threshold: float = 0.3) -> Evaluation:
    """What all models see alike of each photograph, and a noise of this model's own."""
    shared = np.random.default_rng(0).normal(size=(len(labels), 9))
    logits = shared + 0.5 * np.random.default_rng(seed).normal(size=shared.shape)
    logits[np.arange(len(labels)), [CODES.index(label) for label in labels]] += skill
    raised = np.exp(logits)
    probability = raised / raised.sum(axis=1, keepdims=True)
    groups = [f"lesion {i // 2}" for i in range(len(labels))]
    return evaluate_predictions(labels, probability, groups, threshold=threshold, resamples=200)


def test_differences_are_paired_and_those_of_the_evaluations() -> None:
    first, better, same = model(1, 0.8), model(2, 3.0), model(3, 0.8)
    found = compare_models({"first": first, "better": better, "same": same})
    assert [(one.model, one.figure) for one in found] == [
        (name, figure) for name in ("better", "same") for figure in ("roc_auc", "sensitivity", "specificity")
    ]
    truth = np.array(LABELS) == "MEL"
    areas = [theirs.roc_auc_score(truth, one.probability[:, MEL]) for one in (first, better, same)]
    assert found[0].difference.value == pytest.approx(areas[1] - areas[0])
    assert found[0].first == first.melanoma.roc_auc
    assert found[0].other == better.melanoma.roc_auc
    assert found[4].other == same.sensitivity
    assert found[0].difference.low > 0
    assert found[0].p_adjusted == pytest.approx(2 * found[0].p_value)
    assert found[3].difference.low < 0 < found[3].difference.high
    alone = found[3].other.high - found[3].other.low
    assert found[3].difference.high - found[3].difference.low < 1.2 * alone  # unpaired it were 1.4


def test_a_model_does_not_differ_from_itself() -> None:
    one = model(1, 1.0)
    for found in compare_models({"one": one, "again": one}):
        assert found.difference.value == 0
        assert (found.p_value, found.p_adjusted) == (1, 1)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InputError, match="at least two"):
        compare_models({"one": model(1, 1.0)})
    with pytest.raises(InputError, match=r"^b was evaluated on other photographs than a"):
        compare_models({"a": model(1, 1.0), "b": model(1, 1.0, LABELS[::-1])})
    nevi = model(1, 1.0, ["NV"] * 40)
    assert [one.figure for one in compare_models({"a": nevi, "b": nevi})] == ["specificity"]
