"""The masks that training uses: published ones as they are, the others found by a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from recipes.dermoscopy.masks import lesion_masks

S = 64


def disc(radius: int, x: int, y: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A dark disc on light skin, (S, S, 3), and its mask, (S, S)."""
    rows, columns = np.mgrid[:S, :S]
    inside = np.hypot(rows - y, columns - x) < radius
    pixels = np.where(inside[..., None], (60, 30, 20), (200, 160, 140))
    return pixels.astype(np.uint8), (255 * inside).astype(np.uint8)


@pytest.mark.slow
def test_lesions_are_found_and_published_masks_are_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = [disc(int(rng.integers(8, 22)), *rng.integers(20, 44, 2).tolist()) for _ in range(40)]
    pixels, masks = (np.stack(own) for own in zip(*made, strict=True))
    published = {}
    for row in range(30):
        Image.fromarray(masks[row]).save(tmp_path / f"{row}_segmentation.png")
        published[row] = (tmp_path / f"{row}_segmentation.png", "squash")
    found = lesion_masks(pixels, published, np.arange(30), tmp_path, steps=100)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found[:30], masks[:30])
    here, there = found[30:] > 127, masks[30:] > 127
    assert ((here & there).sum((1, 2)) / (here | there).sum((1, 2))).mean() > 0.6
    again = lesion_masks(pixels, published, np.arange(30), tmp_path, steps=100)  # type: ignore[arg-type]
    np.testing.assert_array_equal(again, found)
