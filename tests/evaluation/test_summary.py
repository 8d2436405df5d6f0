"""The verdict and the terminal's lines say what the figures say."""

from __future__ import annotations

import numpy as np
import pytest

from dermsentry.diagnoses import CODES
from dermsentry.evaluation import evaluate_predictions
from dermsentry.evaluation.summary import summary, verdict


def judged(melanomas, others, found, alarms, *, threshold=0.5, prevalence=None, target=0.95):
    """So many melanomas of which some raise an alert, and so many nevi of which some do."""
    score = np.r_[np.full(melanomas, 0.1), np.full(others, 0.05)]
    score[:found] = 0.9
    score[melanomas : melanomas + alarms] = 0.8
    probability = np.zeros((len(score), len(CODES)))
    probability[:, CODES.index("MEL")], probability[:, CODES.index("NV")] = score, 1 - score
    return evaluate_predictions(
        ["MEL"] * melanomas + ["NV"] * others,
        probability,
        [str(i) for i in range(len(score))],
        threshold=threshold,
        prevalence=prevalence,
        sensitivity_target=target,
        resamples=100,
    )


def test_few_melanomas_are_warned_of_beside_the_sensitivity():
    few = " ".join(verdict(judged(16, 84, 16, 10)))
    assert (
        "16 of 16 photographs of melanoma, 100 % (79 to 100); finding all 16 would prove 79 % and no" in few
    )
    assert "10 of 84 others" in few
    many = " ".join(verdict(judged(100, 84, 90, 10)))
    assert "would prove" not in many
    assert "16 of 16 found; finding all 16 would prove 79 %" in summary(judged(16, 84, 16, 10))
    found = judged(16, 84, 16, 10).as_dict()["operating_point"]
    assert found["note"] == "finding all 16 would prove 79 %"
    assert found["sensitivity"]["low"] == pytest.approx(0.794, abs=5e-4)


def test_whether_the_threshold_keeps_its_promise_is_said():
    assert "and does not do so here" in " ".join(verdict(judged(100, 50, 50, 5)))
    assert "and does so here" in " ".join(verdict(judged(100, 50, 100, 5)))
    assert "neither prove nor refute" in " ".join(verdict(judged(16, 50, 15, 5)))
    assert "find 80 %, and does so here" in " ".join(verdict(judged(100, 50, 95, 5, target=0.8)))


def test_the_words_speak_of_the_clinic_that_was_named():
    assert "Where 2 % of lesions are melanomas" in " ".join(verdict(judged(30, 60, 25, 10)))
    named = " ".join(verdict(judged(30, 60, 25, 10, prevalence=0.005)))
    assert "Where 0.5 % of lesions are melanomas" in named
    assert "Where 2 %" not in named


def test_good_and_harm_are_said():
    assert "does more good than referring everyone or nobody at threshold" in " ".join(
        verdict(judged(60, 240, 58, 4))
    )
    blind = " ".join(verdict(judged(20, 20, 0, 20)))
    assert "It is not shown at any threshold" in blind
    assert "one would do better without it" in blind


def test_what_is_missing_is_said_or_left_out():
    none = verdict(judged(0, 30, 0, 5))
    assert none[0].startswith("None of these photographs is a melanoma")
    assert len(none) == 2
    only = " ".join(verdict(judged(30, 0, 25, 0)))
    assert "specificity" not in only
    assert "Where" not in only


def test_summary_names_figures_with_their_interval():
    lines = summary(judged(16, 84, 14, 20)).splitlines()
    assert [line[:22].strip() for line in lines] == [
        "melanoma sensitivity",
        "melanoma specificity",
        "alert threshold",
        "for 95 % here it takes",
        "melanoma AUROC",
        "balanced accuracy",
        "accuracy",
        "right alerts at 1 %",
        "right alerts at 2 %",
        "right alerts at 5 %",
    ]
    assert "14 of 16 found" in lines[0]
    assert " to " in lines[0]
    assert "alerts per melanoma found" in lines[-1]
    assert summary(judged(0, 30, 0, 5)).splitlines()[0].startswith("melanoma sensitivity         –")
