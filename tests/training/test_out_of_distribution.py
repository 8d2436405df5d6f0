"""Lesions are told from pictures of anything else, at a limit that few lesions fall below."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from sklearn.metrics import roc_auc_score

import dermsentry.training
from dermsentry.diagnoses import CODES
from dermsentry.images import Pixels
from dermsentry.training.networks import (
    IN_DISTRIBUTION,
    OutOfDistributionWeights,
    cnn,
    efficientnet_lite,
    middle_features,
)
from dermsentry.training.non_lesions import AUGMENTED, CROPS, augmented, non_lesion_views
from dermsentry.training.out_of_distribution import (
    ENOUGH,
    FEWEST,
    KNOWN,
    KNOWN_REFUSED,
    ORDINARY,
    drawn,
    fit_out_of_distribution,
    limit_of,
)
from examples import examples, pictures

SAMPLES = Path(dermsentry.training.__file__).parent / "non_lesion_images"


def lesions(count: int, seed: int) -> Pixels:
    return pictures([CODES[i % len(CODES)] for i in range(count)], seed=seed)


def margins(network: keras.Model, weights: OutOfDistributionWeights, pixels: Pixels) -> np.ndarray:
    return -(middle_features(network, pixels) @ weights.kernel + weights.bias)


@pytest.fixture(
    scope="module",
    params=[cnn, pytest.param(partial(efficientnet_lite, "lite0"), marks=pytest.mark.slow)],
    ids=["cnn", "lite0"],
)
def network(request: pytest.FixtureRequest) -> keras.Model:
    keras.utils.set_random_seed(0)
    return request.param(32)


@pytest.fixture(scope="module")
def small() -> keras.Model:
    keras.utils.set_random_seed(0)
    return cnn(32)


@pytest.fixture(scope="module")
def strange() -> tuple[Pixels, np.ndarray]:
    return non_lesion_views(32, seed=0)


def test_lesions_are_told_from_anything_else(network: keras.Model) -> None:
    held_out, unseen = lesions(240, seed=2), lesions(60, seed=3)
    weights, said = fit_out_of_distribution(network, lesions(90, seed=1), held_out, seed=0)
    assert said is not None
    known = margins(network, weights, held_out)
    assert said.held_out == 240
    assert said.held_out_refused == (known < 0).mean() == pytest.approx(KNOWN_REFUSED, abs=1 / 240)
    assert np.median(known) == pytest.approx(np.log(ORDINARY / (1 - ORDINARY)), rel=0.02)
    assert said.non_lesions_refused > 0.8
    others = non_lesion_views(32, seed=8)[0]
    assert said.non_lesions == len(others)
    first, second = margins(network, weights, unseen), margins(network, weights, others)
    assert roc_auc_score(np.r_[np.ones(60), np.zeros(len(others))], np.r_[first, second]) > 0.97
    assert (first < 0).mean() <= 0.05


def test_the_seed_decides(small: keras.Model) -> None:
    known, held_out = lesions(30, seed=1), lesions(30, seed=2)
    one, same, other = (fit_out_of_distribution(small, known, held_out, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one[0].kernel, same[0].kernel)
    assert one[1] == same[1]
    assert not np.array_equal(one[0].kernel, other[0].kernel)


@pytest.mark.parametrize(("known", "held_out"), [(FEWEST - 1, 50), (50, FEWEST - 1), (50, 0)])
def test_too_few_photographs_say_nothing(small: keras.Model, known: int, held_out: int) -> None:
    given_pixels = lesions(known, seed=1), np.zeros((held_out, 32, 32, 3), np.uint8)
    assert fit_out_of_distribution(small, *given_pixels) == (IN_DISTRIBUTION, None)


def test_photographs_that_are_all_alike_have_a_limit(small: keras.Model) -> None:
    same = np.repeat(lesions(1, seed=1), FEWEST, axis=0)
    weights, said = fit_out_of_distribution(small, same, same)
    assert said is not None
    assert np.isfinite(weights.kernel).all()
    assert said.held_out_refused in (0.0, 1.0)


@given(arrays.arrays(np.float64, st.integers(1, 3 * ENOUGH), elements=st.floats(-50, 50)))
def test_the_limit_refuses_few_of_those_that_set_it(odds: np.ndarray) -> None:
    limit = limit_of(odds)
    assert (odds < limit).mean() <= (KNOWN_REFUSED + 1 / len(odds) if len(odds) >= ENOUGH else 0)


def test_fewer_photographs_set_a_limit_nearer_to_even_odds() -> None:
    limits = [limit_of(np.linspace(4, 9, count)) for count in (20, 60, 120, ENOUGH - 1)]
    assert limits == sorted(limits)
    assert 0 < limits[0] < 0.5
    assert 3.9 < limits[-1] < 4
    assert limit_of(np.linspace(-2, 9, 50)) == -2


def test_views_are_of_every_picture_whole_cropped_and_varied(strange: tuple[Pixels, np.ndarray]) -> None:
    views, of = strange
    count = int(of.max()) + 1
    assert views.shape == (count * (1 + CROPS) * (1 + AUGMENTED), 32, 32, 3)
    assert views.dtype == np.uint8
    assert (np.bincount(of) == (1 + CROPS) * (1 + AUGMENTED)).all()
    again, _ = non_lesion_views(32, seed=0)
    np.testing.assert_array_equal(views, again)
    assert not np.array_equal(views, non_lesion_views(32, seed=1)[0])
    whole = views[: count * (1 + CROPS) : 1 + CROPS].astype(float)
    assert np.linalg.norm(whole[0] - whole[1]) > 0


def test_every_picture_that_is_brought_has_its_licence_and_is_small() -> None:
    table = (SAMPLES / "LICENSES.md").read_text()
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    listed = {row[1].strip().strip("`"): row[4].strip() for row in rows}
    files = sorted(SAMPLES.glob("*.jpg"))
    assert sorted(listed) == [file.name for file in files]
    assert set(listed.values()) == {"CC0", "public domain"}
    assert sum(file.stat().st_size for file in files) < 600_000
    for file in files:
        with Image.open(file) as opened:
            assert max(opened.size) <= 256


def test_variants_are_of_their_own_picture() -> None:
    pixels = lesions(70, seed=1)
    changed = augmented(pixels, np.random.default_rng(0))
    assert changed.shape == pixels.shape
    assert not np.array_equal(changed, pixels)
    centre, other = (p[:, 12:20, 12:20].mean(axis=(1, 2)) for p in (pixels, changed))
    assert np.corrcoef(centre.ravel(), other.ravel())[0, 1] > 0.8


def test_only_so_many_training_photographs_are_drawn() -> None:
    some = examples(["MEL", "NV", "SK"] * 5)
    assert drawn(some, 0).shape == (15, 32, 32, 3)
    many = examples(["MEL"] * (KNOWN + 10), size=8)
    first, same, other = (drawn(many, seed) for seed in (0, 0, 1))
    assert len(first) == KNOWN
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
