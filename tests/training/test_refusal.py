"""Lesions are told from pictures of anything else, whatever their frame, and the unlike ones are flagged."""

from __future__ import annotations

from dataclasses import astuple
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
from dermsentry.images import Pixels, read_fitted, read_photograph
from dermsentry.training.configuration import Configuration
from dermsentry.training.disturbances import disturbed
from dermsentry.training.networks import (
    REFUSING_NOTHING,
    RefusalWeights,
    cnn,
    efficientnet_lite,
    middle_features,
)
from dermsentry.training.non_lesions import CROPS, DISTURBED, non_lesion_views
from dermsentry.training.pretrained import build
from dermsentry.training.refusal import (
    ENOUGH,
    FEWEST,
    FLAGGED,
    KNOWN,
    ORDINARY,
    REFUSED,
    SOURCE_REFUSED,
    Sample,
    drawn,
    fit_refusal,
    limit_of,
)
from examples import examples, pictures
from recipes.dermoscopy.data import non_lesions

SAMPLES = Path(dermsentry.training.__file__).parent / "non_lesion_images"


def lesions(count: int, seed: int, source: str = "") -> Sample:
    pixels = pictures([CODES[i % len(CODES)] for i in range(count)], seed=seed)
    return Sample(pixels, [source] * count)


def joined(*samples: Sample) -> Sample:
    pixels = np.concatenate([sample.pixels for sample in samples])
    return Sample(pixels, [source for sample in samples for source in sample.sources])


def greenish(sample: Sample) -> Sample:
    """The same under another light."""
    lit = np.clip(sample.pixels * np.array([0.6, 1.1, 0.7]), 0, 255).astype(np.uint8)
    return Sample(lit, sample.sources)


def odds(network: keras.Model, weights: RefusalWeights, pixels: Pixels) -> np.ndarray:
    """Log-odds of a lesion."""
    return -(middle_features(network, pixels) @ weights.kernel + weights.bias)


def unlike(network: keras.Model, weights: RefusalWeights, pixels: Pixels) -> np.ndarray:
    """Log-odds of being out of distribution."""
    features = middle_features(network, pixels) - weights.mean
    return weights.scale * np.linalg.norm(features @ weights.projection, axis=1) + weights.offset


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


def test_lesions_are_told_from_anything_else(network: keras.Model) -> None:
    held_out, unseen = lesions(240, seed=2), lesions(60, seed=3).pixels
    found = fit_refusal(network, lesions(90, seed=1), held_out, seed=0)
    said, weights = found.no_lesion, found.weights
    assert said is not None
    known = odds(network, weights, held_out.pixels)
    assert said.held_out == 240
    assert said.held_out_refused == (known < 0).mean() <= REFUSED + 1 / 240
    assert np.median(known) == pytest.approx(np.log(ORDINARY / (1 - ORDINARY)), rel=0.02)
    assert said.non_lesions_refused > 0.7  # of 32 pixels, some much coarser
    assert said.sources == {}
    others = non_lesion_views(32, seed=8)[0]
    first, second = odds(network, weights, unseen), odds(network, weights, others)
    assert roc_auc_score(np.r_[np.ones(60), np.zeros(len(others))], np.r_[first, second]) > 0.95
    assert (first < 0).mean() <= 0.05


def test_a_lesion_unlike_those_learned_from_is_flagged(small: keras.Model) -> None:
    held_out = lesions(240, seed=2)
    found = fit_refusal(small, lesions(90, seed=1), held_out, seed=0)
    said, weights = found.out_of_distribution, found.weights
    assert said is not None
    scores = unlike(small, weights, held_out.pixels)
    assert said.held_out_flagged == pytest.approx((scores > 0).mean(), abs=1 / 240)
    assert said.held_out_flagged <= FLAGGED + 1 / 240
    assert np.median(scores) == pytest.approx(-np.log(ORDINARY / (1 - ORDINARY)), rel=0.05)
    away = greenish(lesions(60, seed=3)).pixels
    assert (unlike(small, weights, away) > 0).mean() > 0.9


def test_what_a_source_that_was_left_out_comes_to_is_told_and_sets_the_limit(small: keras.Model) -> None:
    known = joined(lesions(60, 1, "here"), greenish(lesions(60, 2, "there")), lesions(5, 3, "few"))
    held_out = joined(lesions(220, 4, "here"), greenish(lesions(40, 5, "there")))
    found = fit_refusal(small, known, held_out, seed=0)
    assert found.no_lesion is not None
    assert found.out_of_distribution is not None
    assert set(found.no_lesion.sources) == set(found.out_of_distribution.sources) == {"here", "there"}
    assert max(found.no_lesion.sources.values()) <= SOURCE_REFUSED + 1 / 100
    assert found.out_of_distribution.sources["there"] > 0.9
    # Once it has been learned from, it is not.
    assert (unlike(small, found.weights, greenish(lesions(40, 5)).pixels) > 0).mean() < 0.2


def test_the_seed_decides(small: keras.Model) -> None:
    known, held_out = lesions(30, seed=1), lesions(30, seed=2)
    one, same, other = (fit_refusal(small, known, held_out, seed=seed) for seed in (1, 1, 2))
    for value, again in zip(astuple(one.weights), astuple(same.weights), strict=True):
        np.testing.assert_array_equal(value, again)
    assert one.no_lesion == same.no_lesion
    assert not np.array_equal(one.weights.kernel, other.weights.kernel)


@pytest.mark.parametrize(("known", "held_out"), [(FEWEST - 1, 50), (50, FEWEST - 1), (50, 0)])
def test_too_few_photographs_say_nothing(small: keras.Model, known: int, held_out: int) -> None:
    nothing = Sample(np.zeros((held_out, 32, 32, 3), np.uint8), [""] * held_out)
    found = fit_refusal(small, lesions(known, seed=1), nothing)
    assert (found.weights, found.no_lesion, found.out_of_distribution) == (REFUSING_NOTHING, None, None)


def test_photographs_that_are_all_alike_have_a_limit(small: keras.Model) -> None:
    same = Sample(np.repeat(lesions(1, seed=1).pixels, FEWEST, axis=0), [""] * FEWEST)
    found = fit_refusal(small, same, same)
    assert found.no_lesion is not None
    assert all(np.isfinite(value).all() for value in astuple(found.weights))
    assert found.no_lesion.held_out_refused in (0.0, 1.0)


@given(arrays.arrays(np.float64, st.integers(1, 3 * ENOUGH), elements=st.floats(-50, 50)))
def test_the_limit_refuses_few_of_those_that_set_it(values: np.ndarray) -> None:
    limit = limit_of(values)
    assert limit <= 0
    assert (values < limit).mean() <= (REFUSED + 1 / len(values) if len(values) >= ENOUGH else 0)


def test_views_are_of_every_picture_whole_cropped_and_disturbed() -> None:
    views, of = non_lesion_views(32, seed=0)
    count = int(of.max()) + 1
    assert views.shape == (count * (1 + CROPS) * (1 + DISTURBED), 32, 32, 3)
    assert views.dtype == np.uint8
    assert (np.bincount(of) == (1 + CROPS) * (1 + DISTURBED)).all()
    again, _ = non_lesion_views(32, seed=0)
    np.testing.assert_array_equal(views, again)
    assert not np.array_equal(views, non_lesion_views(32, seed=1)[0])
    whole = views[: count * (1 + CROPS) : 1 + CROPS].astype(float)
    assert np.linalg.norm(whole[0] - whole[1]) > 0


def test_pictures_that_are_given_count_too() -> None:
    count = int(non_lesion_views(32, seed=0)[1].max()) + 1
    views, of = non_lesion_views(32, seed=0, pictures=[np.full((40, 60, 3), (10, 200, 30), np.uint8)])
    assert int(of.max()) == count
    assert (views[of == count][0] == (10, 200, 30)).all()


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


def test_disturbed_images_are_framed_coarse_or_hairy_and_still_of_their_own() -> None:
    pixels = pictures(["MEL", "NV"] * 60, size=64, seed=1)
    changed = disturbed(pixels, np.random.default_rng(0))
    assert changed.shape == pixels.shape
    assert changed.dtype == np.uint8
    np.testing.assert_array_equal(changed, disturbed(pixels, np.random.default_rng(0)))
    corners = changed[:, [0, 0, -1, -1], [0, -1, 0, -1]].max(axis=(1, 2))
    assert 0.2 < (corners < 40).mean() < 0.7
    detail = np.abs(np.diff(changed.astype(float), axis=1)).mean(axis=(1, 2, 3))
    assert np.quantile(detail, 0.2) < 0.5 * np.quantile(detail, 0.8)
    centre, other = (p[:, 28:36, 28:36].mean(axis=(1, 2)) for p in (pixels, changed))
    assert np.corrcoef(centre.ravel(), other.ravel())[0, 1] > 0.6


def test_only_so_many_training_photographs_are_drawn() -> None:
    some = examples(["MEL", "NV", "SK"] * 5)
    assert drawn(some, 0).pixels.shape == (15, 32, 32, 3)
    many = examples(["MEL"] * (KNOWN + 10), size=8)
    sources = [str(row) for row in range(KNOWN + 10)]
    first, same, other = (drawn(many, seed, sources) for seed in (0, 0, 1))
    assert len(first.pixels) == len(first.sources) == KNOWN
    np.testing.assert_array_equal(first.pixels, same.pixels)
    assert not np.array_equal(first.pixels, other.pixels)
    row = int(first.sources[7])
    np.testing.assert_array_equal(first.pixels[7], many.pixels[row])
    assert set(drawn(many, 0).sources) == {""}


@pytest.mark.real
@pytest.mark.slow
def test_a_hospital_that_was_left_out_is_not_taken_for_something_else(real_data: Path) -> None:
    network = build(Configuration(network="lite0", size=224))

    def read(folder: str, rows: slice) -> Pixels:
        files = sorted((real_data / folder).glob("*.jpg"))[rows]
        return np.stack([read_fitted(file, 224, "squash") for file in files])

    def sample(rows: slice) -> Sample:
        folders = ("ham10000/images", "isic2017/train", "isic-archive/images")
        parts = [read(folder, rows) for folder in folders]
        return Sample(
            np.concatenate(parts), [f for f, part in zip(folders, parts, strict=True) for _ in part]
        )

    learned, unseen = non_lesions(real_data)
    brought = [read_photograph(path).pixels for path in learned]
    found = fit_refusal(network, sample(slice(0, 600, 6)), sample(slice(1, 600, 6)), pictures=brought)
    away = read("isic2019-84/images", slice(0, 12_000, 60))
    # A fifth of the images that a recipe fits on; docs/why.md has the figures with all of them.
    assert (odds(network, found.weights, away) < 0).mean() <= 0.03
    others = np.stack([read_fitted(path, 224, "squash") for path in unseen])
    assert (odds(network, found.weights, others) < 0).mean() >= 0.95
    assert found.no_lesion is not None
    assert max(found.no_lesion.sources.values()) <= SOURCE_REFUSED + 0.005
