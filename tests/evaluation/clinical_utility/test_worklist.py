from __future__ import annotations

import numpy as np
import pytest

from dermsentry.evaluation import evaluate_predictions
from dermsentry.evaluation.clinical_utility.worklist import SHARES, worklists
from dermsentry.evaluation.summary import summary
from dermsentry.stats.resampling import Resampler


def test_the_first_part_holds_what_a_clinic_with_as_many_would_see() -> None:
    """Each other lesion copied until 2 % are melanomas, then the top of the sorted list."""
    rng = np.random.default_rng(0)
    melanoma = np.arange(500) < 50
    score = np.round(rng.normal(size=500) + 1.5 * melanoma, 6)
    (found,) = worklists(melanoma, score, Resampler([str(i) for i in range(500)], 50), [0.02])
    copied = np.r_[score[melanoma], np.repeat(score[~melanoma], 49 * 50 // 450 * 9)]  # 45 of each
    truth = np.arange(len(copied)) < 50
    share = 50 / len(copied)
    (same,) = worklists(melanoma, score, Resampler([str(i) for i in range(500)], 2), [share])
    order = np.argsort(-copied, kind="stable")
    for top in same.first:
        first = order[: round(top.share * len(copied))]
        assert top.melanomas.value == pytest.approx(truth[first].sum() / 50, abs=0.021)
    assert [top.share for top in found.first] == list(SHARES)
    values = [top.melanomas.value for top in found.first]
    assert values == sorted(values)
    assert all(top.melanomas.low < top.melanomas.value < top.melanomas.high for top in found.first)


def test_probabilities_that_are_all_equal_find_as_many_as_are_read() -> None:
    melanoma = np.arange(100) < 20
    resampler = Resampler([str(i) for i in range(100)], 20)
    for found in worklists(melanoma, np.full(100, 0.2), resampler, [0.01, 0.3]):
        assert [top.melanomas.value for top in found.first] == pytest.approx(SHARES)


def test_an_evaluation_tells_them() -> None:
    labels = ["MEL"] * 20 + ["NV"] * 80
    probability = np.full((100, 9), 0.05)
    probability[:20, 3], probability[20:, 4] = 0.6, 0.6
    groups = [str(i) for i in range(100)]
    found = evaluate_predictions(labels, probability, groups, prevalence=0.1, resamples=20)
    assert [row.prevalence for row in found.worklists] == [0.01, 0.02, 0.05, 0.1]
    assert found.as_dict()["worklists"][0]["first"][0]["melanomas"]["value"] == 1
    assert "100 % (83–100) in the first 5 %, 100 % (83–100) in the first 10 %" in summary(found)
    assert evaluate_predictions(["NV"] * 9, probability[:9], groups[:9], resamples=5).worklists == ()
