"""The bootstrap over groups: its draws, what is drawn together, and what its intervals cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermsentry.errors import InputError
from dermsentry.stats import resampling
from dermsentry.stats.resampling import Resampler, correlation_of, paired_difference


def mean(values):
    return lambda weights: {"mean": weights @ values / weights.sum(axis=1)}


def drawn(groups, values, resamples, seed=0):
    return Resampler(groups, resamples, seed).measure(mean(values))["mean"].drawn


def test_draws_are_those_of_a_plain_bootstrap():
    """Groups by name, as many drawn with replacement as there are, every photograph of a drawn group."""
    rng = np.random.default_rng(1)
    values, groups = rng.normal(size=30), [f"lesion {i}" for i in rng.integers(0, 12, 30)]
    names = sorted(set(groups))
    plain = np.random.default_rng(3)
    expected = []
    for _ in range(50):
        chosen = [names[i] for i in plain.integers(0, len(names), len(names))]
        expected.append(np.mean([values[i] for name in chosen for i in range(30) if groups[i] == name]))
    np.testing.assert_allclose(drawn(groups, values, 50, seed=3), expected, atol=1e-12)


@pytest.mark.parametrize("block", [1, 7, 90, 1000])
def test_the_block_changes_nothing(monkeypatch, block):
    values = np.random.default_rng(1).normal(size=30)
    groups = [str(i // 3) for i in range(30)]
    whole = drawn(groups, values, 50, seed=3)
    monkeypatch.setattr(resampling, "_BLOCK", block)
    np.testing.assert_allclose(drawn(groups, values, 50, seed=3), whole, atol=1e-14)


def test_another_seed_draws_others():
    values, groups = np.arange(30.0), [str(i) for i in range(30)]
    assert not np.array_equal(drawn(groups, values, 50, seed=3), drawn(groups, values, 50, seed=4))


def test_photographs_of_a_group_are_drawn_together():
    def counted(weights):
        assert (weights[:, [0, 2]] == weights[:, [2, 5]]).all()
        assert (weights[:, 1] == weights[:, 4]).all()
        if len(weights) > 1:
            assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
        return {"n": weights.sum(axis=1)}

    found = Resampler(["a", "b", "a", "c", "b", "a"], 200).measure(counted)["n"]
    assert found.value == 6
    assert found.drawn.shape == (200,)


def test_groups_widen_the_interval():
    """Ten copies of each photograph are no more evidence than one."""
    values = np.random.default_rng(2).normal(size=40)
    copied = np.repeat(values, 10)
    groups = [str(i) for i in range(40)]
    one = drawn(groups, values, 2000).std()
    same = drawn(list(np.repeat(groups, 10)), copied, 2000).std()
    naive = drawn([str(i) for i in range(400)], copied, 2000).std()
    assert same == pytest.approx(one, rel=0.05)
    assert naive < 0.5 * one


def test_the_interval_of_a_mean_covers_it():
    """About 95 of 100 intervals hold the truth."""
    rng = np.random.default_rng(5)
    hits = 0
    for trial in range(200):
        found = Resampler([str(i) for i in range(60)], 300, trial).mean(rng.normal(size=60)).interval()
        hits += found.low <= 0 <= found.high
    assert 0.89 <= hits / 200 <= 0.99


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.floats(-9, 9)), min_size=1, max_size=30))
def test_among_draws_as_if_the_others_were_never_there(photographs):
    groups = [str(group) for group, _, _ in photographs]
    here = np.array([kept for _, kept, _ in photographs])
    values = np.array([value for _, _, value in photographs])
    resampler = Resampler(groups, 20)
    if not here.any():
        with pytest.raises(InputError, match="no photographs"):
            resampler.among(here)
        return
    own = [group for group, kept in zip(groups, here, strict=True) if kept]
    expected = Resampler(own, 20).mean(values[here])
    for chosen in (here, np.flatnonzero(here)):
        found = resampler.among(chosen)
        np.testing.assert_array_equal(found.mean(values[here]).drawn, expected.drawn)
        assert found.count() == len(set(own))
    assert resampler.count(here) == len(set(own))
    assert (resampler.among(here) is resampler) == bool(here.all())


def test_a_mean_leaves_out_what_is_nan():
    resampler = Resampler(["a", "b", "c"], 200)
    found = resampler.mean(np.array([1.0, np.nan, 3.0]))
    assert found.value == 2
    only_b = np.isnan(found.drawn)  # resamples of nothing but b
    assert 0 < only_b.sum() < 30
    assert set(found.drawn[~only_b]) <= {1.0, 1.5, 5 / 3, 2.0, 7 / 3, 2.5, 3.0}
    assert resampler.mean(np.full(3, np.nan)).interval() is None


def test_ratios_and_correlations_are_paired():
    rng = np.random.default_rng(0)
    resampler = Resampler([str(i) for i in range(50)], 300)
    one = rng.normal(10, 5, 50)
    first, second, other = (resampler.mean(values) for values in (one, 2 * one, rng.normal(size=50)))
    ratio = (second / first).interval()
    assert (ratio.low, ratio.high) == pytest.approx((2, 2))
    found = correlation_of([first, second, other, resampler.mean(np.ones(50))])
    assert found[0, 1] == pytest.approx(1)
    assert abs(found[0, 2]) < 0.5
    assert found[3].tolist() == [0, 0, 0, 1]


def test_the_effective_number_of_groups_is_theirs_if_all_are_alike():
    resampler = Resampler([*"aabbccdddddd"])
    here = np.array([True] * 6 + [False] * 6)
    assert (resampler.effective(here), resampler.effective(~here)) == (3, 1)
    assert resampler.effective(here | ~here) == pytest.approx(144 / 48)
    assert resampler.rarer(here) == 1
    assert resampler.effective(here & ~here) == 0


def test_a_model_is_no_better_than_itself():
    rng = np.random.default_rng(0)
    resampler = Resampler([str(i) for i in range(50)], 300)
    figure = resampler.mean(rng.random(50))
    pair = (figure, figure.bounded(50))
    same = paired_difference(pair, pair)
    assert same.value == 0
    apart = paired_difference(pair, (other := resampler.mean(rng.random(50)), other.bounded(50)))
    alone = pair[1].high - pair[1].low
    assert same.high - same.low < 0.2 * alone < apart.high - apart.low


def test_all_found_is_not_certain():
    found = Resampler([str(i) for i in range(16)], 100).mean(np.ones(16)).proportion(16)
    assert found.low == pytest.approx(0.794, abs=5e-4)


def test_too_few_resamples_or_photographs_are_refused():
    with pytest.raises(InputError, match="at least 2"):
        Resampler(["a"], 1)
    with pytest.raises(InputError, match="no photographs"):
        Resampler([])


def test_no_bound_of_a_loss_is_more_than_the_loss_can_be():
    truth = np.array([1.0, 0.0, 1.0, 0.0])
    squares = (truth - np.array([0.01, 0.98, 0.9, 0.2])) ** 2
    found = Resampler(list("abcd"), 200).measure(mean(squares))["mean"]
    assert found.loss(4).high > 1
    assert found.loss(4, most=1).high == 1
    assert found.loss(4, most=1).low == found.loss(4).low
