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


def words(*given, **options):
    return " ".join(verdict(judged(*given, **options)))


def test_few_melanomas_are_warned_of_beside_the_sensitivity():
    few = words(16, 84, 16, 10)
    assert (
        "16 of 16 melanoma photographs, a sensitivity of 100 % (79–100); finding all 16 would prove 79 %"
        in few
    )
    assert "10 of 84 other" in few
    assert "would prove" not in words(100, 84, 90, 10)
    assert "16 of 16 found; finding all 16 would prove 79 %" in summary(judged(16, 84, 16, 10))
    found = judged(16, 84, 16, 10).as_dict()["operating_point"]
    assert found["note"] == "finding all 16 would prove 79 %"
    assert found["sensitivity"]["low"] == pytest.approx(0.794, abs=5e-4)


def test_what_almost_proves_the_claim_does_not_print_as_if_it_did():
    evaluation = judged(71, 10, 71, 0)  # 72 would do
    assert any("at least 94.9 %, no more. To prove 95.0 % takes 72" in line for line in evaluation.warnings)
    assert "finding all 71 would prove 94.9 %" in " ".join(verdict(evaluation))


@pytest.mark.parametrize(
    ("found", "target", "expected"),
    [
        (50, 0.95, "chosen to find 95 % of melanomas, and does not do so here"),
        (100, 0.95, "chosen to find 95 % of melanomas, and does so here"),
        (95, 0.8, "chosen to find 80 % of melanomas, and does so here"),
        (93, 0.95, "neither prove nor refute"),
    ],
)
def test_whether_the_threshold_keeps_its_promise_is_said(found, target, expected):
    assert expected in words(100, 50, found, 5, target=target)


def test_the_words_speak_of_the_clinic_that_was_named():
    assert "Where 2 % of lesions are melanomas" in words(30, 60, 25, 10)
    named = words(30, 60, 25, 10, prevalence=0.005)
    assert "Where 0.5 % of lesions are melanomas" in named
    assert "Where 2 %" not in named


def test_good_and_harm_are_said():
    assert "does more good than referring everyone or nobody at threshold" in words(60, 240, 58, 4)
    blind = words(20, 20, 0, 20)
    assert "At no threshold probability is it shown" in blind
    assert "acting without it would be better" in blind


def test_what_is_missing_is_said_or_left_out():
    none = verdict(judged(0, 30, 0, 5))
    assert len(none) == 1
    assert none[0].startswith("None of these photographs is a melanoma")
    only = words(30, 0, 25, 0)
    assert "specificity" not in only
    assert "Where" not in only


def test_summary_names_figures_with_their_interval():
    lines = summary(judged(16, 84, 14, 20)).splitlines()
    assert [line[:25].strip() for line in lines] == [
        "melanoma sensitivity",
        "melanoma specificity",
        "alert threshold",
        "needed for 95 % here",
        "melanoma AUROC",
        "balanced accuracy",
        "accuracy",
        "PPV at 1 % prevalence",
        "PPV at 2 % prevalence",
        "PPV at 5 % prevalence",
        "worklist at 1 %",
        "worklist at 2 %",
        "worklist at 5 %",
    ]
    assert "87.5 %  (" in lines[0]
    assert "14 of 16 found" in lines[0]
    assert "alerts per melanoma found" in lines[9]
    assert summary(judged(0, 30, 0, 5)).splitlines()[0].split() == ["melanoma", "sensitivity", "–"]
