from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bundles import FLAGGING, REFUSING, tiny_card
from dermsentry.clinic.monitoring.drift import FIRST, LEAST, MEASURES, compare_with_card, shifts, stability
from dermsentry.files import plain
from dermsentry.model import read_network


def numbered(number: int) -> list[str]:
    return [f"p{i}" for i in range(number)]


def test_what_stays_as_it_was_is_not_told_and_what_moves_is() -> None:
    rng = np.random.default_rng(0)
    first, later = rng.normal(0, 1, FIRST), rng.normal(0, 1, 400)
    measures = {name: np.concatenate([first, later]) for name in MEASURES}
    measures["brightness"] = np.concatenate([first, later + 1.5])
    found = {shift.name: shift for shift in shifts(measures)}
    assert [name for name, shift in found.items() if shift.differs] == ["brightness"]
    moved = found["brightness"]
    assert moved.distance == pytest.approx(stats.ks_2samp(first, later + 1.5).statistic)
    assert moved.stability is not None
    assert moved.stability > 0.25
    assert "much" in moved.remark
    assert (moved.first, moved.later) == (FIRST, 400)
    assert found["melanoma"].stability is not None
    assert found["melanoma"].stability < 0.1


def test_too_few_to_compare_says_so() -> None:
    values = np.full(FIRST + LEAST - 1, 0.5)
    for shift in shifts(dict.fromkeys(MEASURES, values)):
        assert shift.chance is None
        assert not shift.differs
        assert "at least" in shift.remark
    unknown = shifts(dict.fromkeys(MEASURES, np.full(2000, np.nan)))
    assert all(shift.first == 0 and shift.distance is None for shift in unknown)


def test_values_all_alike_do_not_break_the_index() -> None:
    assert stability(np.ones(500), np.ones(200)) == pytest.approx(0, abs=0.01)
    assert stability(np.ones(500), np.zeros(200)) > 1


def test_the_cards_own_shares_are_compared_by_fishers_test() -> None:
    evaluation = {
        "a set": {
            "photographs": 200,
            "melanomas": 50,
            "sensitivity": {"value": 0.9, "low": 0.8, "high": 1.0},
            "specificity": {"value": 0.8, "low": 0.7, "high": 0.9},
        },
        "validation": {"accuracy": {"value": 0.9, "low": 0.8, "high": 1.0}},
        "nonsense": 5,
        "empty": {"sensitivity": None, "specificity": None, "photographs": 0, "melanomas": 0},
    }
    card = plain(tiny_card(no_lesion=REFUSING, out_of_distribution=FLAGGING, evaluation=evaluation))
    measures = {
        "melanoma": np.array([0.9] * 10 + [0.1] * 90 + [np.nan] * 20),
        "no_lesion": np.array([0.8] * 20 + [0.1] * 100),
        "out_of_distribution": np.array([0.1] * 119 + [0.9]),
    }
    refused, flagged, alerted = compare_with_card(card, measures, numbered(120))
    assert (refused.name, refused.here.count, refused.here.of) == ("refused as no lesion", 20, 120)
    assert (flagged.name, flagged.here.count) == ("flagged as out of distribution", 1)
    assert (flagged.there, flagged.differs) == (FLAGGING.held_out_flagged, False)
    assert (refused.there, refused.there_of) == (REFUSING.held_out_refused, REFUSING.held_out)
    assert refused.differs
    assert alerted.there == pytest.approx((45 + 30) / 200)
    assert (alerted.here.count, alerted.here.of, alerted.measured_on) == (10, 100, "a set")
    expected = stats.fisher_exact([[10, 90], [75, 125]]).pvalue
    assert alerted.chance == pytest.approx(expected)


def test_without_photographs_nothing_is_compared() -> None:
    card = plain(tiny_card(no_lesion=REFUSING))
    nothing = dict.fromkeys(MEASURES, np.full(3, np.nan))
    (refused,) = compare_with_card(card, nothing, numbered(3))
    assert refused.chance is None
    assert not refused.differs
    assert refused.here.remark


def test_the_bundled_cards_figures_are_understood() -> None:
    card, _ = read_network()
    measures = dict.fromkeys(MEASURES, np.full(50, 0.01))
    found = compare_with_card(plain(card), measures, numbered(50))
    assert len(found) >= 3
    assert all(0 < own.there < 1 and own.there_of > 50 for own in found)
