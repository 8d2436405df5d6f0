"""Augmentation changes what may change and nothing else, brings in no border, and is repeated by its seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermsentry.images import Pixels
from dermsentry.training.augmentation import (
    LIGHT,
    SHIFT,
    ZOOM,
    StrongAugmentation,
    augment,
    augment_strongly,
    move,
    relight,
)

STILL = {"angle": 0.0, "zoom": 1.0, "mirrored": False, "shift": (0.0, 0.0)}


@pytest.fixture(scope="module")
def picture() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (36, 36, 3), dtype=np.uint8)


def test_no_change_is_the_same_picture(picture: Pixels) -> None:
    np.testing.assert_array_equal(move(picture, **STILL), picture)  # type: ignore[arg-type]
    np.testing.assert_array_equal(relight(picture, brightness=1.0, contrast=1.0), picture)


def test_turns_and_mirrors_move_every_pixel_to_its_place(picture: Pixels) -> None:
    turned = move(picture, **{**STILL, "angle": math.pi / 2})  # type: ignore[arg-type]
    assert min(np.abs(turned.astype(int) - np.rot90(picture, k)).max() for k in (1, 3)) <= 1
    half = move(picture, **{**STILL, "angle": math.pi})  # type: ignore[arg-type]
    assert np.abs(half.astype(int) - np.rot90(picture, 2)).max() <= 1
    mirrored = move(picture, **{**STILL, "mirrored": True})  # type: ignore[arg-type]
    np.testing.assert_array_equal(mirrored, picture[:, ::-1])


def test_a_shift_brings_in_the_reflection(picture: Pixels) -> None:
    shifted = move(picture, **{**STILL, "shift": (2 / 36, 0.0)})  # type: ignore[arg-type]
    np.testing.assert_array_equal(shifted[:, :-2], picture[:, 2:])
    np.testing.assert_array_equal(shifted[:, -2:], picture[:, [-2, -3]])


def test_zoom_enlarges_about_the_centre() -> None:
    disc = np.zeros((61, 61, 3), np.uint8)
    places = np.arange(61) - 30
    disc[places[:, None] ** 2 + places[None, :] ** 2 <= 15**2] = 255
    larger, smaller = (move(disc, **{**STILL, "zoom": z})[:, :, 0] > 127 for z in (1 + ZOOM, 1 / (1 + ZOOM)))  # type: ignore[arg-type]
    before = (disc[:, :, 0] > 127).sum()
    assert larger.sum() / before == pytest.approx((1 + ZOOM) ** 2, rel=0.05)
    assert smaller.sum() / before == pytest.approx((1 + ZOOM) ** -2, rel=0.05)
    assert np.argwhere(larger).mean(axis=0) == pytest.approx([30, 30], abs=0.2)


@given(
    st.integers(8, 70),
    st.floats(0, 2 * math.pi),
    st.floats(1 / (1 + ZOOM), 1 + ZOOM),
    st.booleans(),
    st.tuples(st.floats(-SHIFT, SHIFT), st.floats(-SHIFT, SHIFT)),
)
def test_no_border_ever_comes_in(
    size: int, angle: float, zoom: float, mirrored: bool, shift: tuple[float, float]
) -> None:
    plain = np.full((size, size, 3), 200, np.uint8)
    moved = move(plain, angle=angle, zoom=zoom, mirrored=mirrored, shift=shift)
    assert moved.shape == plain.shape
    assert (moved == 200).all()


@pytest.mark.parametrize("angle", np.radians([45, 135, 225, 315]))
@pytest.mark.parametrize("shift", [(SHIFT, SHIFT), (-SHIFT, -SHIFT), (SHIFT, -SHIFT)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_not_even_at_the_corners_of_the_range(
    angle: float, shift: tuple[float, float], mirrored: bool
) -> None:
    plain = np.full((180, 180, 3), 200, np.uint8)
    assert (move(plain, angle=angle, zoom=1 / (1 + ZOOM), mirrored=mirrored, shift=shift) == 200).all()


def test_light_changes_the_mean_and_the_spread_and_cuts_off() -> None:
    ramp = np.repeat(np.arange(60, 160, dtype=np.uint8)[:, None], 100, axis=1)[:, :, None].repeat(3, axis=2)
    lit = relight(ramp, brightness=1 + LIGHT, contrast=1 - LIGHT).astype(float)
    assert lit.mean() == pytest.approx(ramp.mean() * (1 + LIGHT), abs=0.6)
    assert lit.std() == pytest.approx(ramp.std() * (1 - LIGHT), rel=0.02)
    ends = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    assert relight(ends, brightness=1.0, contrast=1 + LIGHT).tolist() == ends.tolist()


def test_the_seed_decides(picture: Pixels) -> None:
    first, again, other = (augment(picture, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.shape == picture.shape
    assert first.dtype == np.uint8


def test_colour_balance_stays() -> None:
    """A plain reddish skin stays as reddish: every channel changes by the same."""
    skin = np.full((32, 32, 3), (180, 120, 100), np.uint8)
    for seed in range(20):
        changed = augment(skin, np.random.default_rng(seed)).astype(int)
        assert np.ptp((changed - skin).reshape(-1, 3), axis=1).max() <= 2 * LIGHT * 80
        assert (changed[..., 0] > changed[..., 1]).all()
        assert (changed[..., 1] > changed[..., 2]).all()


UNCHANGED = StrongAugmentation(
    zoom=(1.0, 1.0), aspect=1.0, shift=0.0, light=0.0, gain=0.0, saturation=0.0, gamma=0.0,
    coarse_share=0.0, corners_share=0.0, noise_share=0.0,
)  # fmt: skip


def disc(size: int = 64) -> np.ndarray:
    places = np.arange(size) - (size - 1) / 2
    inside = (places[:, None] ** 2 + places[None, :] ** 2 < (size / 4) ** 2)[:, :, None]
    return np.where(inside, np.array([90, 50, 40]), np.array([200, 160, 140])).astype(np.uint8)


def only(**changes: object) -> StrongAugmentation:
    return StrongAugmentation(**{**vars(UNCHANGED), **changes})  # type: ignore[arg-type]


def test_turning_alone_leaves_a_disc_a_disc() -> None:
    pixels = np.stack([disc()] * 6)
    changed = augment_strongly(pixels, 64, np.random.default_rng(0), UNCHANGED)
    assert changed.dtype == np.uint8
    # Only the rim's pixels, which are blended anew, differ.
    assert (np.abs(changed.astype(int) - pixels) > 8).mean() < 0.06


def test_another_size_shows_the_whole_picture() -> None:
    changed = augment_strongly(disc()[None], 32, np.random.default_rng(0), UNCHANGED)
    assert changed.shape == (1, 32, 32, 3)
    dark = (changed[0, ..., 0] < 145).mean()
    assert dark == pytest.approx(np.pi / 16, abs=0.03)


def test_zoom_enlarges() -> None:
    changed = augment_strongly(disc()[None], 64, np.random.default_rng(0), only(zoom=(1.5, 1.5)))
    assert (changed[0, ..., 0] < 145).mean() == pytest.approx(1.5**2 * np.pi / 16, rel=0.08)


def test_aspect_keeps_the_area() -> None:
    changed = augment_strongly(np.stack([disc()] * 8), 64, np.random.default_rng(3), only(aspect=1.5))
    dark = changed[..., 0] < 145
    assert dark.mean(axis=(1, 2)) == pytest.approx(np.pi / 16, rel=0.1)
    across, down = dark.any(axis=1).sum(axis=1), dark.any(axis=2).sum(axis=1)
    assert (np.abs(across / down - 1) > 0.1).any()


def test_corners_grow_dark_and_the_middle_stays() -> None:
    changed = augment_strongly(disc()[None], 64, np.random.default_rng(0), only(corners_share=1.0))
    assert changed[0, 0, 0].max() < 20
    assert np.abs(changed[0, 32, 32].astype(int) - disc()[32, 32]).max() <= 2


def test_noise_happens_where_asked() -> None:
    flat = np.full((4, 48, 48, 3), 128, np.uint8)
    assert augment_strongly(flat, 48, np.random.default_rng(0), UNCHANGED).std() == 0
    assert (
        augment_strongly(flat, 48, np.random.default_rng(0), only(noise_share=1.0)).std(axis=(1, 2, 3)) > 1
    ).all()


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.integers(1, 5), st.sampled_from([32, 40]))
def test_the_same_seed_changes_a_batch_alike(seed: int, count: int, size: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 36, 36, 3), dtype=np.uint8)
    once = augment_strongly(pixels, size, np.random.default_rng(seed), StrongAugmentation())
    assert once.shape == (count, size, size, 3)
    np.testing.assert_array_equal(
        once, augment_strongly(pixels, size, np.random.default_rng(seed), StrongAugmentation())
    )
