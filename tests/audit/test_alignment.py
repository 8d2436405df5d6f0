from __future__ import annotations

import numpy as np
import pytest

from dermsentry.audit.alignment import IDENTITY, alike, detail, normalise, step, warp
from pictures import skin


def thumbs(*seeds: int, side: int = 32) -> np.ndarray:
    return np.stack([np.asarray(skin(seed).convert("L").resize((side, side))) for seed in seeds])


def maps_of(*rows: list[list[float]]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_normalised_thumbnails_have_mean_0_and_deviation_1() -> None:
    found = normalise(thumbs(1, 2), 16)
    assert found.shape == (2, 16, 16)
    assert found.mean(axis=(1, 2)) == pytest.approx(np.zeros(2), abs=1e-5)
    assert found.std(axis=(1, 2)) == pytest.approx(np.ones(2), abs=1e-4)


def test_a_flat_thumbnail_stays_finite() -> None:
    flat = normalise(np.full((1, 32, 32), 7, np.uint8), 16)
    assert np.isfinite(flat).all()
    maps, left = step(flat, flat, IDENTITY[None])
    assert np.isfinite(maps).all()
    assert np.isfinite(left).all()
    assert alike(flat, flat, IDENTITY[None]) == pytest.approx([0.0])


def test_warping_by_nothing_changes_nothing() -> None:
    pictures = normalise(thumbs(1, 2), 32)
    seen, inside = warp(pictures, np.stack([IDENTITY, IDENTITY]))
    assert seen == pytest.approx(pictures, abs=2e-3)
    assert inside.all()


def test_warping_out_of_the_picture_is_told() -> None:
    _, inside = warp(normalise(thumbs(1), 32), maps_of([[1, 0, 1.0], [0, 1, 0]]))
    assert inside.mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    "true",
    [
        [[0.94, 0, 0.02], [0, 0.95, -0.03]],
        [[1, 0.05, 0], [-0.05, 1, 0]],
        [[0.9, 0, 0.0], [0, 0.9, 0.0]],
        [[1, 0, 0.06], [0, 1, -0.06]],
    ],
)
def test_registration_finds_the_map_and_ignores_brightness(true: list[list[float]]) -> None:
    moved = normalise(thumbs(3, 4, 5), 32)
    maps = np.tile(np.array(true, np.float32), (3, 1, 1))
    fixed = 0.7 * warp(moved, maps)[0] + 0.4
    found = np.stack([IDENTITY] * 3)
    left = np.ones(3)
    for _ in range(8):
        found, left = step(fixed, moved, found)
    assert found == pytest.approx(maps, abs=0.02)
    assert left.max() < 0.01
    assert alike(fixed, moved, found).min() > 0.95


def test_detail_of_different_pictures_is_unlike() -> None:
    first, second = normalise(thumbs(1, 2, 3, side=64), 64), normalise(thumbs(4, 5, 6, side=64), 64)
    still = np.stack([IDENTITY] * 3)
    assert alike(first, first, still) == pytest.approx(np.ones(3), abs=1e-3)
    assert np.abs(alike(first, second, still)).max() < 0.4


def test_detail_has_no_local_mean() -> None:
    ramp = np.tile(np.linspace(-1, 1, 32, dtype=np.float32), (1, 32, 1))
    assert detail(ramp)[0, 4:-4, 4:-4] == pytest.approx(np.zeros((24, 24)), abs=1e-4)


def test_too_little_overlap_is_not_alike() -> None:
    pictures = normalise(thumbs(1), 32)
    assert alike(pictures, pictures, maps_of([[1, 0, 1.2], [0, 1, 0]])) == pytest.approx([0.0])
