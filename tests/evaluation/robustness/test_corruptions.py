from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermsentry.evaluation.robustness.corruptions import (
    ARTEFACTS,
    CORRUPTIONS,
    SEVERITIES,
    find_lesion,
    noise_of_equal_energy,
    rms_difference,
    shifted,
    turned,
    zoomed,
)
from dermsentry.phantoms import draw_phantom

SIZE = 96
NAMES = list(CORRUPTIONS)


def phantom(seed=0, size=SIZE):
    return draw_phantom("MEL" if seed % 2 else "NV", seed, (size, size), skin_type=2)


def corrupt(name, picture, severity, seed=0):
    return CORRUPTIONS[name](picture, severity, np.random.default_rng(seed))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [48, 96, 131])
def test_a_picture_of_the_same_kind_comes_back(name, size):
    picture = phantom(size=size)
    before = picture.copy()
    for severity in SEVERITIES:
        worse = corrupt(name, picture, severity)
        assert worse.shape == picture.shape
        assert worse.dtype == np.uint8
        assert worse.flags.writeable
        assert not np.shares_memory(worse, picture)
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize("name", NAMES)
def test_severity_is_1_to_5(name):
    for severity in (0, -1, 6):
        with pytest.raises(ValueError, match="expected 1 to 5"):
            corrupt(name, phantom(), severity)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_picture(name):
    one, same, other = (corrupt(name, phantom(), 4, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    if name not in ("blur", "JPEG", "overexposure", "underexposure"):  # nothing random in these
        assert (one != other).any()


@pytest.mark.parametrize("name", NAMES)
def test_a_higher_severity_is_farther_from_the_photograph(name):
    pictures = [phantom(seed, size=128) for seed in range(6)]
    means = [
        np.mean([rms_difference(p, corrupt(name, p, severity, i)) for i, p in enumerate(pictures)])
        for severity in SEVERITIES
    ]
    assert all(low < high for low, high in pairwise(means)), means
    assert 0.02 < means[0] < 20
    assert means[-1] < 80


@pytest.mark.parametrize("name", ["hair", "ruler", "ink", "gel bubbles"])
def test_a_mark_covers_part_of_the_picture(name):
    picture = phantom(size=128)
    touched = [(corrupt(name, picture, severity) != picture).any(axis=2).mean() for severity in SEVERITIES]
    assert 0 < touched[0] < 0.1
    assert touched[0] < touched[-1] < 0.5


@given(st.sampled_from(NAMES), st.sampled_from(SEVERITIES), st.integers(0, 2**31), st.integers(0, 255))
@settings(max_examples=60, deadline=None)
def test_no_plain_picture_breaks_a_corruption(name, severity, seed, grey):
    worse = corrupt(name, np.full((40, 40, 3), grey, np.uint8), severity, seed)
    assert worse.shape == (40, 40, 3)
    if name in ("blur", "rotation", "shift", "rescale"):
        np.testing.assert_array_equal(worse, grey)


def test_exposure_goes_its_way():
    picture = phantom()
    for severity in SEVERITIES:
        assert (corrupt("overexposure", picture, severity) >= picture).all()
        assert (corrupt("underexposure", picture, severity) <= picture).all()


def test_a_colour_cast_keeps_the_light_and_changes_the_colour():
    grey = np.full((8, 8, 3), 120, np.uint8)
    for seed in range(10):
        cast = corrupt("colour cast", grey, 5, seed)[0, 0].astype(float)
        light = ((cast / 255) ** 2.2) @ (0.2126, 0.7152, 0.0722)
        assert light == pytest.approx((120 / 255) ** 2.2, rel=0.02)
        assert np.ptp(cast) > 5


def test_dark_corners_leave_the_middle():
    picture = phantom(size=100)
    worse = corrupt("dark corners", picture, 5)
    np.testing.assert_array_equal(worse[40:60, 40:60], picture[40:60, 40:60])
    assert worse[:8, :8].max() < 20


def test_a_picture_is_turned_counter_clockwise():
    picture = phantom()
    for quarters in (1, 2, 3):
        difference = np.abs(turned(picture, 90 * quarters).astype(int) - np.rot90(picture, quarters))
        assert difference.max() <= 1
    np.testing.assert_array_equal(turned(picture, 0), picture)


def test_a_picture_is_moved_and_mirrored_at_its_edges():
    picture = phantom(size=100)
    right = shifted(picture, 0.1, 0.0)
    np.testing.assert_array_equal(right[:, 10:], picture[:, :90])
    np.testing.assert_array_equal(right[:, 9], picture[:, 1])
    np.testing.assert_array_equal(shifted(picture, 0.0, 0.1)[10:], picture[:90])


def test_a_picture_is_zoomed_about_its_middle():
    picture = np.zeros((101, 101, 3), np.uint8)
    picture[40:61, 40:61] = 200
    assert (zoomed(picture, 1.5)[36:65, 36:65] == 200).all()
    assert (zoomed(picture, 1 / 1.5)[34, 34] == 0).all()
    np.testing.assert_array_equal(zoomed(picture, 1.0), picture)


@given(st.sampled_from(NAMES), st.sampled_from(SEVERITIES), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_noise_has_the_energy_of_the_corruption(name, severity, seed):
    picture = phantom(seed, size=64)
    worse = corrupt(name, picture, severity, seed)
    noisy = noise_of_equal_energy(picture, worse, np.random.default_rng(seed))
    wanted = rms_difference(picture, worse)
    assert rms_difference(picture, noisy) == pytest.approx(wanted, rel=0.05, abs=0.1)


def test_noise_where_it_cannot_be_had():
    grey = np.full((20, 20, 3), 128, np.uint8)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(noise_of_equal_energy(grey, grey, rng), grey)
    black, white = np.zeros_like(grey), np.full_like(grey, 255)
    assert 100 < rms_difference(black, noise_of_equal_energy(black, white, rng)) < 255


def lesion(row=70, column=50, radius=16, size=112):
    """A dark disc on skin."""
    down, across = np.mgrid[:size, :size]
    inside = np.hypot(down - row, across - column) < radius
    return np.where(inside[..., None], np.uint8([90, 60, 50]), np.uint8([215, 175, 155])), inside


def test_a_lesion_is_found_where_it_is():
    place = find_lesion(lesion()[0])
    assert (place.row, place.column) == pytest.approx((70, 50), abs=3)
    assert place.radius == pytest.approx(16, rel=0.25)
    nothing = find_lesion(np.full((112, 112, 3), 200, np.uint8))
    assert (nothing.row, nothing.column, nothing.radius) == (55.5, 55.5, 28)


@pytest.mark.parametrize("name", ARTEFACTS)
def test_an_artefact_is_at_the_lesion(name):
    picture, inside = lesion()
    made = ARTEFACTS[name](picture, np.random.default_rng(0))
    assert made.shape == picture.shape
    assert made.dtype == np.uint8
    assert np.array_equal(made, ARTEFACTS[name](picture, np.random.default_rng(0)))
    changed = np.abs(made.astype(int) - picture).max(axis=2) > 20
    if name == "warmer light":
        red, _, blue = made.reshape(-1, 3).mean(axis=0) / picture.reshape(-1, 3).mean(axis=0)
        assert red > 1 > blue
        return
    assert changed.any()
    down, across = np.argwhere(changed).T
    away = np.hypot(down - 70, across - 50) / 16
    if "glare" in name:
        assert away.max() < 1
        assert 0.02 < changed[inside].mean() < 0.2
    elif "ring" in name:
        assert 1 < away.min() < away.max() < 1.8
    else:
        assert 0.1 < changed[inside].mean() < 0.6
        assert away.max() < 2.5
