"""Whether a model needs the lesion: what is shown without it, and what a model that does not gives away."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dermsentry.evaluation.caveats import caveat
from dermsentry.evaluation.saliency.surround import (
    lesion_painted_out,
    measure_surroundings,
    only_the_lesion,
    soft,
)
from dermsentry.reporting.html import render
from dermsentry.stats.metrics import roc_auc_score
from dermsentry.stats.resampling import Resampler

SKIN, LESION, INK = (200, 160, 140), (60, 30, 20), (0, 0, 255)
N = 120


def disc() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    rows, columns = np.mgrid[:96, :96]
    inside = np.hypot(rows - 48, columns - 48) < 16
    pixels = np.where(inside[..., None], LESION, SKIN).astype(np.uint8)
    pixels[:6] = INK
    return pixels, inside


def test_a_soft_mask_is_whole_on_the_lesion_and_nothing_far_away() -> None:
    _, mask = disc()
    grown = soft(mask, 0.05)
    assert grown[mask].min() > 0.999
    assert grown[0, 0] == 0


def test_a_painted_out_lesion_leaves_its_surround() -> None:
    pixels, mask = disc()
    made = lesion_painted_out(pixels, mask)
    assert np.abs(made[48, 48].astype(int) - SKIN).max() < 30
    np.testing.assert_array_equal(made[:6], pixels[:6])


def test_only_the_lesion_leaves_nothing_else() -> None:
    pixels, mask = disc()
    made = only_the_lesion(pixels, mask)
    np.testing.assert_array_equal(made[48, 48], LESION)
    assert np.abs(made[2, 48].astype(int) - SKIN).max() <= 1


def test_a_lesion_that_fills_the_frame_is_still_painted_out() -> None:
    pixels, mask = disc()[0], np.ones((96, 96), np.bool_)
    assert lesion_painted_out(pixels, mask).std(axis=(0, 1)).max() < 1
    np.testing.assert_array_equal(only_the_lesion(pixels, mask), pixels)


def scores(seed: int, truth: list[str]) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return np.clip(0.5 + 0.3 * np.array([label == "MEL" for label in truth]) + rng.normal(0, 0.2, N), 0, 1)


def test_figures_are_those_of_the_same_photographs() -> None:
    truth = ["MEL" if i % 4 == 0 else "NV" for i in range(N)]
    seeing, blind = scores(0, truth), np.random.default_rng(1).random(N)
    found = measure_surroundings(seeing, blind, seeing, truth, Resampler([str(i) for i in range(N)]))
    assert found.photographs == N
    assert found.melanomas == N // 4
    assert found.as_is is not None
    assert found.as_is.value == pytest.approx(roc_auc_score([t == "MEL" for t in truth], seeing))
    assert found.only_the_lesion == found.as_is
    assert not found.used


def test_a_model_that_needs_no_lesion_is_told() -> None:
    truth = ["MEL" if i % 4 == 0 else "NV" for i in range(N)]
    seeing = scores(0, truth)
    found = measure_surroundings(seeing, seeing, seeing, truth, Resampler([str(i) for i in range(N)]))
    assert found.used
    assert "still orders melanomas" in caveat("surroundings", found="0.8")


def test_what_cannot_be_a_melanoma_or_not_is_left_out() -> None:
    truth = ["NV"] * (N - 1) + [""]
    found = measure_surroundings(
        np.zeros(N), np.zeros(N), np.zeros(N), truth, Resampler([str(i) for i in range(N)])
    )
    assert (found.photographs, found.melanomas, found.as_is) == (N - 1, 0, None)
    assert not found.used


@pytest.mark.parametrize("blind", [True, False])
def test_the_page_says_whether_the_lesion_is_needed(blind: bool) -> None:
    truth = ["MEL" if i % 4 == 0 else "NV" for i in range(N)]
    seeing = scores(0, truth)
    without = np.random.default_rng(1).random(N) if blind else seeing
    found = measure_surroundings(seeing, without, seeing, truth, Resampler([str(i) for i in range(N)]))
    page = render("evaluation_saliency.html", saliency=None, surroundings=found)
    assert "120 photographs with a mask of the lesion, 30 melanomas among them" in page
    assert ("told without any lesion" in page) == (not blind)
