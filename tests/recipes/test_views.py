"""What the bundled model is shown: lesions on other skins, surroundings without them, views of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dermsentry.training.batches import Batch
from dermsentry.training.configuration import Configuration, FineTuning, Phase
from examples import pictures
from recipes.dermoscopy.lesions import (
    Surround,
    changed_surround,
    lesion_boxes,
    soft_masks,
    without_lesion,
)
from recipes.dermoscopy.masks import lesion_masks
from recipes.dermoscopy.views import Views

SKIN, LESION, OTHER = (200, 160, 140), (60, 30, 20), (120, 90, 60)
S = 64


def disc(radius: int = 12, x: int = 32, y: int = 32) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A dark disc on light skin, (S, S, 3), and its mask, (S, S)."""
    rows, columns = np.mgrid[:S, :S]
    inside = np.hypot(rows - y, columns - x) < radius
    return np.where(inside[..., None], LESION, SKIN).astype(np.uint8), (255 * inside).astype(np.uint8)


def surround(**shares: float) -> Surround:
    return Surround(**{"other_skin_share": 0.0, "painted_out_share": 0.0, **shares})


def test_boxes_are_shares_of_the_side_and_unknown_without_a_lesion() -> None:
    _, mask = disc(12, x=20, y=40)
    boxes = lesion_boxes(np.stack([mask, np.zeros_like(mask)]))
    np.testing.assert_allclose(boxes[0], [20 / S, 40 / S, 23 / S])
    assert np.isnan(boxes[1]).all()


def test_a_soft_mask_covers_the_lesion_and_fades() -> None:
    _, mask = disc()
    soft = soft_masks(mask[None], 0.03)[0, ..., 0]
    assert soft[32, 32] == 1
    assert soft[0, 0] == 0
    assert ((soft > 0) & (soft < 1)).any()
    assert soft[mask > 0].min() > 0.4


def test_a_lesion_is_filled_with_the_skin_around_it() -> None:
    pixels, mask = disc()
    filled = without_lesion(pixels, mask, np.random.default_rng(0))
    assert np.abs(filled.astype(int) - SKIN).max() <= 25


def test_a_lesion_on_another_skin_keeps_its_contrast() -> None:
    pixels, mask = disc()
    skin = np.full((1, S, S, 3), OTHER, np.uint8)
    made, empty = changed_surround(
        pixels[None], mask[None], skin, np.random.default_rng(1), surround(other_skin_share=1.0)
    )
    assert not empty.any()
    np.testing.assert_array_equal(made[0, 0, 0], OTHER)
    assert (made[0, 32, 32] < OTHER).all()
    darker = made[0, 32, 32] / pixels[32, 32]
    assert (darker >= np.array(OTHER) / SKIN * 0.9).all()
    assert (darker <= 1).all()


@pytest.mark.parametrize("seed", range(6))
def test_a_painted_out_lesion_is_told_and_gone(seed: int) -> None:
    pixels, mask = disc()
    made, empty = changed_surround(
        pixels[None], mask[None], pixels[None], np.random.default_rng(seed), surround(painted_out_share=1.0)
    )
    assert empty.all()
    assert (made[0, 32, 32] != LESION).any()
    np.testing.assert_array_equal(made[0, 0, 0], SKIN)


def test_a_plain_surround_has_the_colour_of_the_skin() -> None:
    pixels, mask = disc()
    pixels[:6] = (0, 0, 255)  # ink at the edge
    made, _ = changed_surround(
        pixels[None], mask[None], pixels[None], np.random.default_rng(0), surround(plain_share=1.0)
    )
    assert np.abs(made[0, 2, 32].astype(int) - SKIN).max() <= 3
    assert np.abs(made[0, 32, 32].astype(int) - LESION).max() <= 3


def test_an_image_without_a_known_lesion_stays_as_it_is() -> None:
    pixels, mask = disc(2)
    made, empty = changed_surround(
        pixels[None], mask[None], pixels[None], np.random.default_rng(0), Surround(0.5, 0.2, 0.3)
    )
    np.testing.assert_array_equal(made[0], pixels)
    assert not empty.any()


def batches(how: Surround, mixed: float, count: int = 8) -> list[Batch]:
    labels = ("MEL", "NV") * (count // 2)
    made = [disc(6 + i, 20 + i, 30) for i in range(count)]
    views = Views(
        np.stack([pixels for pixels, _ in made]),
        np.stack([mask for _, mask in made]),
        tuple((i,) for i in range(count)),
        labels,
        np.full(count, 1 / count),
        how,
    )
    tuning = FineTuning((Phase(1, 32),), mixed_share=mixed, label_smoothing=0.1)
    chosen = Configuration(epochs=1, size=32, batch_size=4, fine_tuning=tuning)
    return list(views.batches(chosen, 32, 0))


def test_some_batches_are_blended() -> None:
    plain, mixed = batches(surround(), 0.0), batches(surround(), 1.0)
    assert [batch.pixels.shape for batch in plain] == [(4, 32, 32, 3)] * 2
    assert all(batch.share == 1 for batch in plain)
    assert all(0 < batch.share < 1 for batch in mixed)
    np.testing.assert_array_equal(mixed[0].targets, plain[0].targets)
    assert [batch.pixels.tobytes() for batch in batches(surround(), 1.0)] == [
        batch.pixels.tobytes() for batch in mixed
    ]


def test_an_image_without_its_lesion_tells_nothing() -> None:
    for batch in batches(surround(painted_out_share=1.0), 1.0):
        np.testing.assert_array_equal(batch.smoothing, 1)
        assert batch.share == 1
    for batch in batches(surround(), 0.0):
        np.testing.assert_allclose(batch.smoothing, 0.1)


def test_another_surround_is_another_training() -> None:
    args = (pictures(("MEL",)), np.zeros((1, S, S), np.uint8), ((0,),), ("MEL",), np.ones(1))
    assert Views(*args).fingerprint() != Views(*args, surround()).fingerprint()


@pytest.mark.slow
def test_lesions_are_found_and_published_masks_are_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = [disc(int(rng.integers(8, 22)), *rng.integers(20, 44, 2).tolist()) for _ in range(40)]
    pixels, masks = (np.stack(own) for own in zip(*made, strict=True))
    published = {}
    for row in range(30):
        Image.fromarray(masks[row]).save(tmp_path / f"{row}_segmentation.png")
        published[row] = (tmp_path / f"{row}_segmentation.png", "squash")
    found = lesion_masks(pixels, published, np.arange(30), tmp_path, steps=160)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found[:30], masks[:30])
    here, there = found[30:] > 127, masks[30:] > 127
    assert ((here & there).sum((1, 2)) / (here | there).sum((1, 2))).mean() > 0.6
    again = lesion_masks(pixels, published, np.arange(30), tmp_path, steps=160)  # type: ignore[arg-type]
    np.testing.assert_array_equal(again, found)
