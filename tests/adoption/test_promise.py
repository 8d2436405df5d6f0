"""What melanomas can promise, against the binomial distribution and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from dermsentry.adoption.fitting import choose_alert
from dermsentry.adoption.promise import demand, one_of_each, rank_of_threshold
from dermsentry.errors import InputError

SHARES = st.floats(0.5, 0.99)


@pytest.mark.parametrize(
    ("sensitivity", "confidence", "needed"),
    [(0.95, 0.95, 59), (0.9, 0.95, 29), (0.95, 0.9, 45), (0.99, 0.95, 299)],
)
def test_the_melanomas_needed_are_those_of_the_textbook(sensitivity, confidence, needed):
    """Wilks: 59 for 95 % with 95 % confidence."""
    assert demand(0, sensitivity, confidence).needed == needed
    assert demand(needed - 1, sensitivity, confidence).may_be_missed is None
    assert demand(needed, sensitivity, confidence).may_be_missed == 0
    assert demand(needed - 7, sensitivity, confidence).missing == 7


def test_more_melanomas_may_miss_some():
    assert [demand(n, 0.95, 0.95).may_be_missed for n in (92, 93, 123, 124)] == [0, 1, 1, 2]


@given(st.integers(1, 400), SHARES, SHARES)
@example(59, 0.95, 0.95)
def test_the_rank_is_the_highest_that_the_binomial_allows(melanomas, sensitivity, confidence):
    rank = rank_of_threshold(melanomas, sensitivity, confidence)
    kept = [stats.binom.sf(k - 1, melanomas, 1 - sensitivity) for k in (max(rank, 1), rank + 1)]
    if rank:
        assert kept[0] >= confidence - 1e-9
    assert rank == melanomas or kept[1] < confidence + 1e-9


@given(st.integers(1, 300), SHARES)
def test_what_is_attainable_can_be_promised_and_hardly_more(melanomas, confidence):
    attainable = demand(melanomas, 0.95, confidence).attainable
    assert rank_of_threshold(melanomas, attainable, confidence) >= 1
    assert rank_of_threshold(melanomas, attainable + 1e-4, confidence) == 0


@pytest.mark.parametrize(("melanomas", "sensitivity"), [(59, 0.95), (93, 0.95), (150, 0.9), (30, 0.9)])
def test_promises_are_kept_as_often_as_stated(melanomas, sensitivity):
    """4,000 sites with scores of a known distribution: the true sensitivity is told by its distribution."""
    rng = np.random.default_rng(melanomas)
    kept = 0
    for _ in range(4000):
        score = rng.beta(2, 1, melanomas)
        others = rng.beta(1, 4, 50)
        threshold = choose_alert(np.sort(score), np.r_[score, others], sensitivity, 0.95)
        kept += stats.beta.sf(threshold, 2, 1) >= sensitivity
    assert kept / 4000 >= 0.95 - 3 * (0.95 * 0.05 / 4000) ** 0.5
    # The same promise one rank higher, which would not hold: the bound is no wider than it must be.
    rank = rank_of_threshold(melanomas, sensitivity, 0.95)
    assert stats.binom.sf(rank, melanomas, 1 - sensitivity) < 0.95


def test_lesions_count_once_by_a_photograph_that_their_scores_do_not_choose():
    score = np.array([0.1, 0.9, 0.5, 0.6, 0.7])
    groups = np.array([3, 3, 1, 2, 2])
    chosen = {tuple(one_of_each(score, groups, seed)) for seed in range(200)}
    assert chosen == {(0.1, 0.5, 0.6), (0.1, 0.5, 0.7), (0.5, 0.6, 0.9), (0.5, 0.7, 0.9)}
    assert len(one_of_each(np.zeros(0), np.zeros(0, np.int64), 0)) == 0


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(InputError, match="sensitivity of"):
        demand(10, share, 0.95)
    with pytest.raises(InputError, match="confidence of"):
        demand(10, 0.95, share)


def test_a_refusal_says_what_is_missing_and_what_is_possible():
    line = demand(22, 0.95, 0.95).refusal
    assert "22 independent melanomas" in line
    assert "expected 59 or more" in line
    assert "37 more needed" in line
    assert "--sensitivity 0.87" in line
    assert demand(22, 0.87, 0.95).refusal == ""
    assert "--sensitivity" not in demand(0, 0.95, 0.95).refusal
