from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from bundles import lesion
from dermsentry.images import fit
from dermsentry.screening.saliency import draw_saliency


def drawn(heat: object) -> np.ndarray[tuple[int, int, int], np.dtype[np.float64]]:
    picture = Image.open(io.BytesIO(draw_saliency(fit(lesion(), 96, "squash"), np.asarray(heat, np.float32))))
    assert (picture.format, picture.size) == ("PNG", (96, 96))
    return np.asarray(picture.convert("RGB")).astype(np.float64)


def redness(
    pixels: np.ndarray[tuple[int, int, int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return pixels[:, :, 0] - pixels[:, :, 2]


def test_colour_is_where_the_heat_is() -> None:
    heat = np.full((6, 6), -1.0)
    heat[0, 5] = 3.0
    red = redness(drawn(heat))
    assert red[:16, -16:].mean() > 40
    assert red[32:, :64].max() == 0


@pytest.mark.parametrize("heat", [np.zeros((6, 6)), np.full((6, 6), -5.0), np.full((1, 1), -1.0)])
def test_without_heat_the_picture_is_grey(heat: object) -> None:
    assert redness(drawn(heat)).max() == 0


def test_the_strength_of_heat_in_numbers_does_not_matter() -> None:
    heat = np.random.default_rng(0).random((5, 5))
    np.testing.assert_array_equal(drawn(heat), drawn(1000 * heat))
