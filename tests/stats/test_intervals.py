from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from dermsentry.errors import InputError
from dermsentry.stats import intervals
from dermsentry.stats.intervals import (
    Estimate,
    beta_cdf,
    bootstrap,
    exact_binomial,
    percentile_interval,
    proportion_interval,
    provable,
)


@given(st.floats(0, 1, allow_subnormal=False), st.floats(0.01, 3000), st.floats(0.01, 3000))
def test_incomplete_beta_is_scipys(x, a, b):
    np.testing.assert_allclose(beta_cdf(x, a, b), special.betainc(a, b, x), rtol=0, atol=1e-10)


@given(st.data(), st.integers(1, 5000))
@settings(max_examples=40)
def test_exact_interval_is_scipys(data, trials):
    successes = data.draw(st.integers(0, trials))
    found = exact_binomial(successes, trials)
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high], rtol=0, atol=1e-10)


def test_exact_interval_known_values():
    assert exact_binomial(16, 16) == Estimate(1.0, pytest.approx(0.794, abs=5e-4), 1.0)
    assert exact_binomial(0, 16).low == 0.0
    assert exact_binomial(3, 1_000_000).high < 1e-5
    assert provable(16) == pytest.approx(exact_binomial(16, 16).low, abs=1e-12)
    assert provable(0) == 0.0


@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(ValueError, match="successes"):
        exact_binomial(successes, trials)


def _mean(values):
    return lambda weights: {"mean": weights @ values / weights.sum(axis=1)}


def test_the_same_seed_draws_the_same_whatever_the_block(monkeypatch):
    values = np.random.default_rng(1).normal(size=30)
    groups = [str(i // 3) for i in range(30)]
    whole = bootstrap(groups, _mean(values), resamples=50, seed=3)["mean"]
    monkeypatch.setattr(intervals, "_BLOCK", 90)
    pieces = bootstrap(groups, _mean(values), resamples=50, seed=3)["mean"]
    np.testing.assert_allclose(whole, pieces, atol=1e-14)
    assert not np.array_equal(whole, bootstrap(groups, _mean(values), resamples=50, seed=4)["mean"])


def test_photographs_of_a_group_are_drawn_together():
    groups = ["a", "b", "a", "c", "b", "a"]

    def counted(weights):
        assert (weights[:, [0, 2]] == weights[:, [2, 5]]).all()
        assert (weights[:, 1] == weights[:, 4]).all()
        assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
        return {"n": weights.sum(axis=1)}

    assert len(bootstrap(groups, counted, resamples=200)["n"]) == 200


def test_groups_widen_the_interval():
    """Ten copies of each photograph are no more evidence than one."""
    values = np.random.default_rng(2).normal(size=40)
    copied = np.repeat(values, 10)
    groups = [str(i) for i in range(40)]
    one = bootstrap(groups, _mean(values), resamples=2000)["mean"].std()
    same = bootstrap(list(np.repeat(groups, 10)), _mean(copied), resamples=2000)["mean"].std()
    naive = bootstrap([str(i) for i in range(400)], _mean(copied), resamples=2000)["mean"].std()
    assert same == pytest.approx(one, rel=0.05)
    assert naive < 0.5 * one


def test_percentile_interval_covers_a_mean():
    """About 95 of 100 intervals hold the truth."""
    rng = np.random.default_rng(5)
    hits = 0
    for trial in range(200):
        values = rng.normal(size=60)
        drawn = bootstrap([str(i) for i in range(60)], _mean(values), resamples=300, seed=trial)["mean"]
        interval = percentile_interval(float(values.mean()), drawn)
        assert interval is not None
        hits += interval.low <= 0 <= interval.high
    assert 0.89 <= hits / 200 <= 0.99


@given(
    st.floats(0, 1), st.lists(st.floats(0, 1) | st.just(float("nan")), min_size=1, max_size=30), st.booleans()
)
def test_an_interval_holds_its_value(value, drawn, unbiased):
    interval = percentile_interval(value, np.array(drawn), unbiased=unbiased)
    assert interval is not None
    assert interval.low <= interval.value <= interval.high


def test_nothing_measured_has_no_interval():
    assert percentile_interval(float("nan"), np.array([0.1])) is None
    assert proportion_interval(float("nan"), np.array([0.1]), 4) is None


def test_all_found_is_not_certain():
    """Every resample finds 16 of 16; the exact interval does not let that pass."""
    interval = proportion_interval(1.0, np.ones(1000), 16)
    assert interval is not None
    assert interval.low == pytest.approx(0.794, abs=5e-4)


def test_too_few_resamples_or_photographs_are_refused():
    with pytest.raises(InputError, match="at least 2"):
        bootstrap(["a"], _mean(np.ones(1)), resamples=1)
    with pytest.raises(InputError, match="no photographs"):
        bootstrap([], _mean(np.ones(0)))
