"""Variants keep what a diagnosis rests on, change what tells a source, and come again by the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermsentry.training.strong_augmentation import Variation, vary

STILL = Variation(
    zoom=(1.0, 1.0), aspect=1.0, shift=0.0, light=0.0, gain=0.0, saturation=0.0, gamma=0.0,
    coarse_share=0.0, corners_share=0.0, noise_share=0.0, erased_share=0.0,
)  # fmt: skip


def disc(size: int = 64) -> np.ndarray:
    places = np.arange(size) - (size - 1) / 2
    inside = (places[:, None] ** 2 + places[None, :] ** 2 < (size / 4) ** 2)[:, :, None]
    return np.where(inside, np.array([90, 50, 40]), np.array([200, 160, 140])).astype(np.uint8)


def only(**changes: object) -> Variation:
    return Variation(**{**vars(STILL), **changes})  # type: ignore[arg-type]


def test_turning_alone_leaves_a_disc_a_disc() -> None:
    pixels = np.stack([disc()] * 6)
    varied = vary(pixels, 64, np.random.default_rng(0), STILL)
    assert varied.dtype == np.uint8
    # Only the rim's pixels, which are blended anew, differ.
    assert (np.abs(varied.astype(int) - pixels) > 8).mean() < 0.06


def test_another_size_shows_the_whole_picture() -> None:
    varied = vary(disc()[None], 32, np.random.default_rng(0), STILL)
    assert varied.shape == (1, 32, 32, 3)
    dark = (varied[0, ..., 0] < 145).mean()
    assert dark == pytest.approx(np.pi / 16, abs=0.03)


def test_zoom_enlarges() -> None:
    varied = vary(disc()[None], 64, np.random.default_rng(0), only(zoom=(1.5, 1.5)))
    assert (varied[0, ..., 0] < 145).mean() == pytest.approx(1.5**2 * np.pi / 16, rel=0.08)


def test_aspect_keeps_the_area() -> None:
    varied = vary(np.stack([disc()] * 8), 64, np.random.default_rng(3), only(aspect=1.5))
    dark = varied[..., 0] < 145
    assert dark.mean(axis=(1, 2)) == pytest.approx(np.pi / 16, rel=0.1)
    across, down = dark.any(axis=1).sum(axis=1), dark.any(axis=2).sum(axis=1)
    assert (np.abs(across / down - 1) > 0.1).any()


def test_corners_grow_dark_and_the_middle_stays() -> None:
    varied = vary(disc()[None], 64, np.random.default_rng(0), only(corners_share=1.0))
    assert varied[0, 0, 0].max() < 20
    assert np.abs(varied[0, 32, 32].astype(int) - disc()[32, 32]).max() <= 2


def test_noise_and_painted_squares_happen_where_asked() -> None:
    flat = np.full((4, 48, 48, 3), 128, np.uint8)
    assert vary(flat, 48, np.random.default_rng(0), STILL).std() == 0
    assert (vary(flat, 48, np.random.default_rng(0), only(noise_share=1.0)).std(axis=(1, 2, 3)) > 1).all()
    erased = vary(flat, 48, np.random.default_rng(0), only(erased_share=1.0))
    share = (erased != 128).any(axis=-1).mean(axis=(1, 2))
    assert (share > 0.005).all()
    assert (share < 0.16).all()


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.integers(1, 5), st.sampled_from([32, 40]))
def test_the_same_seed_gives_the_same_variants(seed: int, count: int, size: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 36, 36, 3), dtype=np.uint8)
    once = vary(pixels, size, np.random.default_rng(seed), Variation())
    assert once.shape == (count, size, size, 3)
    np.testing.assert_array_equal(once, vary(pixels, size, np.random.default_rng(seed), Variation()))
