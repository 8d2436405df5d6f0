from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dermsentry.screen.familiarity import FAMILIAR, familiarity, familiarity_statistics


def known(count: int = 300, width: int = 20, seed: int = 0) -> tuple[Any, list[str]]:
    """Three classes of photographs, each around its own mean."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, 3, count)
    means = np.random.default_rng(9).normal(5, 1, (3, width))
    return (means[which] + rng.normal(0, 0.3, (count, width))).astype(np.float32), ["ABC"[i] for i in which]


def test_known_photographs_are_familiar_and_others_are_not() -> None:
    statistics = familiarity_statistics(*known())
    assert (familiarity(known(seed=1)[0], statistics) > FAMILIAR).mean() > 0.995
    far = np.random.default_rng(2).normal(5, 6, (100, 20)).astype(np.float32)
    assert (familiarity(far, statistics) < FAMILIAR).all()
    faint = known(seed=3)[0] * 0
    assert (familiarity(faint, statistics) < FAMILIAR).all()


def test_between_two_classes_is_less_familiar_than_in_one() -> None:
    values, labels = known()
    statistics = familiarity_statistics(values, labels)
    means = statistics.means
    middle, mean = familiarity(np.stack([(means[0] + means[1]) / 2, means[0]]).astype(np.float32), statistics)
    assert middle < mean - 0.1
    assert mean == pytest.approx(1, abs=1e-3)


def test_the_order_of_photographs_does_not_matter_to_the_means_and_the_seed_decides_the_rest() -> None:
    values, labels = known()
    one, same = familiarity_statistics(values, labels), familiarity_statistics(values, labels)
    assert (one.distance_limit, one.angle_limit) == (same.distance_limit, same.angle_limit)
    turned = familiarity_statistics(values[::-1], labels[::-1])
    np.testing.assert_allclose(turned.means, one.means, rtol=1e-5)
    assert turned.distance_limit == pytest.approx(one.distance_limit, rel=0.2)


@settings(max_examples=60)
@given(
    arrays.arrays(
        np.float32, st.tuples(st.integers(2, 12), st.integers(1, 6)), elements=st.floats(-1e3, 1e3, width=32)
    ),
    st.data(),
)
def test_any_embeddings_give_statistics_that_a_card_can_hold(values: Any, data: st.DataObject) -> None:
    labels = data.draw(
        st.lists(st.sampled_from(["MEL", "NV", ""]), min_size=len(values), max_size=len(values))
    )
    statistics = familiarity_statistics(values, labels)
    assert (statistics.variance > 0).all()
    assert 0 < statistics.distance_limit < 1e12
    assert 0 < statistics.angle_limit <= 2
    scores = familiarity(values, statistics)
    assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (np.zeros((1, 3)), ["MEL"]),
        (np.zeros((3, 3)), ["MEL"]),
        (np.full((3, 3), np.nan), ["MEL"] * 3),
        (np.zeros(3), ["NV"] * 3),
    ],
)
def test_what_cannot_be_summarised_is_refused(values: Any, labels: list[str]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, d\) finite numbers"):
        familiarity_statistics(values, labels)
