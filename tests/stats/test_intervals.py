from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dermsentry.stats.intervals import (
    Estimate,
    exact_binomial,
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
