from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dermsentry.stats.intervals import (
    Estimate,
    combined,
    exact_binomial,
    holm,
    log_interval,
    logit_interval,
    mean_of,
    p_value,
    percentile_interval,
    proportion_interval,
    provable,
)


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


DRAWN = st.lists(st.floats(0, 1) | st.just(float("nan")), min_size=1, max_size=30)


@given(st.floats(0, 1), DRAWN, st.integers(0, 40))
def test_an_interval_holds_its_value(value, drawn, independent):
    drawn = np.array(drawn)
    found = [percentile_interval(value, drawn), log_interval(value, drawn, independent)]
    found += [one(value, drawn, independent) for one in (proportion_interval, logit_interval)]
    for interval in filter(None, found):
        assert interval.low <= interval.value <= interval.high
        assert interval.low >= 0
    assert found[3].high <= 1


def test_nothing_measured_has_no_interval():
    nothing, drawn = float("nan"), np.array([0.1])
    assert percentile_interval(nothing, drawn) is None
    for one in (proportion_interval, logit_interval, log_interval):
        assert one(nothing, drawn, 4) is None


def test_all_found_is_not_certain():
    """Every resample finds 16 of 16; the exact interval does not let that pass."""
    for one in (proportion_interval, logit_interval):
        interval = one(1.0, np.ones(1000), 16)
        assert interval is not None
        assert interval.low == pytest.approx(0.794, abs=5e-4)


def ends(figure):
    return figure.value, figure.low, figure.high


def test_a_share_has_as_many_trials_as_its_resamples_say():
    """A variance twice that of one trial in 50 is that of 25; a smaller one is no more than the groups."""
    drawn = 0.8 + np.array([-1, 1]) * (2 * 0.8 * 0.2 / 50) ** 0.5
    assert ends(proportion_interval(0.8, drawn, 50)) == pytest.approx(ends(exact_binomial(20, 25)))
    drawn = 0.8 + np.array([-1, 1]) * 1e-3
    assert ends(proportion_interval(0.8, drawn, 50)) == pytest.approx(ends(exact_binomial(40, 50)))


def test_an_auroc_by_hand():
    """logit(0.8) ± t(15) · 0.04 · √(16/15) / (0.8 · 0.2)."""
    found = logit_interval(0.8, 0.8 + np.array([-0.04, 0.04]), 16)
    half = stats.t.ppf(0.975, 15) * 0.04 * (16 / 15) ** 0.5 / 0.16
    expected = [1 / (1 + np.exp(-(np.log(4) + sign * half))) for sign in (-1, 1)]
    assert (found.low, found.high) == pytest.approx(expected)
    assert logit_interval(0.8, np.array([0.8]), 1) == Estimate(0.8, 0.0, 1.0)


def test_a_loss_by_hand():
    found = log_interval(0.5, 0.5 + np.array([-0.1, 0.1]), 10)
    factor = np.exp(stats.t.ppf(0.975, 9) * 0.2 * (10 / 9) ** 0.5)
    assert (found.low, found.high) == pytest.approx((0.5 / factor, 0.5 * factor))
    assert log_interval(0.5, np.array([0.4, 0.6]), 1) is None


def test_a_difference_and_a_mean_by_hand():
    one, other = Estimate(0.9, 0.7, 0.98), Estimate(0.6, 0.5, 0.7)
    apart = combined((one, other), (1, -1))
    assert apart.value == pytest.approx(0.3)
    assert apart.low == pytest.approx(0.3 - np.hypot(0.2, 0.1))
    assert apart.high == pytest.approx(0.3 + np.hypot(0.08, 0.1))
    same = mean_of((one, other), np.ones((2, 2)))
    assert (same.low, same.high) == pytest.approx((0.6, 0.84))
    assert mean_of((one, other)).low > same.low
    whole = combined((one, one), (1, -1), np.ones((2, 2)))
    assert (whole.value, whole.low, whole.high) == pytest.approx((0, -0.12, 0.12))


def test_a_p_value_agrees_with_its_interval():
    assert p_value(Estimate(0.1, 0.0, 0.2)) == pytest.approx(0.05)
    assert p_value(Estimate(-0.1, -0.3, 0.0)) == pytest.approx(0.05)
    assert p_value(Estimate(0.1, 0.05, 0.2)) < 0.05 < p_value(Estimate(0.1, -0.01, 0.2))
    assert (p_value(Estimate(0, 0, 0)), p_value(Estimate(1, 1, 1))) == (1, 0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_its_definition(values):
    """Step down: each p-value times how many are not smaller, never below the one before."""
    found, least = holm(values), 0.0
    for step, at in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        least = max(least, min(1.0, values[at] * (len(values) - step)))
        assert found[at] == pytest.approx(least)
