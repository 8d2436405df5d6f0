"""What the bundled model is shown: lesions on other skins, surroundings without them, views of both."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

torch = pytest.importorskip("torch", reason="only the bundled model's recipe needs PyTorch")

from torch import Tensor

from recipe_examples import LESION, OTHER, SKIN, S, disc
from recipes.dermoscopy import views
from recipes.dermoscopy.views import (
    NOTHING,
    Augmentation,
    changed_surround,
    changed_view,
    coarser,
    compressed,
    draw_transforms,
    lesion_boxes,
    relit,
    soft_masks,
    warp,
    without_lesion,
)


def only(**changes: object) -> Augmentation:
    return replace(NOTHING, **changes)  # type: ignore[arg-type]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def tensors(*discs: tuple[NDArray[np.uint8], NDArray[np.bool_]]) -> tuple[Tensor, Tensor]:
    pixels, masks = (np.stack(own) for own in zip(*discs, strict=True))
    return torch.as_tensor(pixels).permute(0, 3, 1, 2).float(), torch.as_tensor(masks).float()


def at(pixels: Tensor, i: int, y: int, x: int) -> NDArray[np.float32]:
    found: NDArray[np.float32] = pixels[i, :, y, x].numpy()
    return found


def test_boxes_are_shares_of_the_side_and_unknown_without_a_lesion() -> None:
    _, mask = disc(12, x=20, y=40)
    boxes = lesion_boxes(np.stack([mask, np.zeros_like(mask), disc(2)[1]]))
    np.testing.assert_allclose(boxes[0], [20 / S, 40 / S, 23 / S])
    assert np.isnan(boxes[1:]).all()


def test_a_soft_mask_covers_the_lesion_and_fades() -> None:
    _, masks = tensors(disc())
    soft = soft_masks(masks, 0.03, S)[0, 0]
    assert soft[32, 32] == 1
    assert soft[0, 0] == 0
    assert ((soft > 0) & (soft < 1)).any()
    assert soft[masks[0] > 0].min() > 0.4
    assert soft_masks(masks, 0.03, 2 * S).shape == (1, 1, 2 * S, 2 * S)


def test_a_lesion_is_filled_with_the_skin_around_it() -> None:
    filled = without_lesion(*tensors(disc(), disc(skin=OTHER)), rng())
    for i, skin in enumerate((SKIN, OTHER)):
        assert (filled[i] - torch.tensor(skin)[:, None, None]).abs().max() <= 25


def test_a_lesion_on_another_skin_keeps_its_contrast() -> None:
    pixels, masks = tensors(disc(), disc(skin=OTHER))
    seen = np.array([True, True])
    skins = set()
    for seed in range(8):
        made, empty = changed_surround(pixels, masks, seen, rng(seed), only(other_skin_share=1.0))
        assert not empty.any()
        corner, lesion = at(made, 0, 0, 0), at(made, 0, 32, 32)
        skin = min((SKIN, OTHER), key=lambda colour: np.abs(corner - colour).sum())
        np.testing.assert_allclose(corner, skin, atol=1)
        assert (lesion < np.array(skin) - 15).all()
        darker = lesion / LESION
        assert (darker >= np.array(skin) / SKIN * 0.9).all()
        assert (darker <= 1.01).all()
        skins.add(skin)
    assert skins == {SKIN, OTHER}


@pytest.mark.parametrize("seed", range(6))
def test_a_painted_out_lesion_is_told_and_gone(seed: int) -> None:
    pixels, masks = tensors(disc())
    made, empty = changed_surround(pixels, masks, np.array([True]), rng(seed), only(painted_out_share=1.0))
    assert empty.all()
    assert np.abs(at(made, 0, 32, 32) - LESION).max() > 20
    np.testing.assert_allclose(at(made, 0, 0, 0), SKIN, atol=1)


def test_an_image_without_a_known_lesion_stays_as_it_is() -> None:
    pixels, masks = tensors(disc(2), disc(12))
    how = only(other_skin_share=0.5, painted_out_share=0.5)
    made, empty = changed_surround(pixels, masks, np.array([False, True]), rng(), how)
    assert torch.equal(made[0], pixels[0])
    assert not torch.equal(made[1], pixels[1])
    assert not empty[0]


def test_turning_alone_leaves_a_disc_a_disc() -> None:
    pixels, masks = tensors(*[disc()] * 6)
    boxes = lesion_boxes(masks.numpy() > 0)
    changed, empty = changed_view(pixels, masks, boxes, S, rng(), NOTHING)
    assert not empty.any()
    # Only the rim's pixels, which are blended anew, differ.
    assert ((changed - pixels).abs() > 8).float().mean() < 0.06


@pytest.mark.parametrize(("size", "zoom"), [(32, 1.0), (64, 1.5), (96, 0.9)])
def test_zoom_enlarges_whatever_the_size(size: int, zoom: float) -> None:
    pixels, _ = tensors(disc())
    boxes = np.full((1, 3), np.nan)
    moved = warp(pixels, draw_transforms(S, size, boxes, rng(), only(zoom=(zoom, zoom))), size)
    assert moved.shape == (1, 3, size, size)
    share = (moved[0, 0] < 130).float().mean().item()
    assert share == pytest.approx(zoom**2 * disc()[1].mean(), rel=0.08)


def test_aspect_keeps_the_area() -> None:
    pixels, _ = tensors(*[disc()] * 8)
    boxes = np.full((8, 3), np.nan)
    dark = warp(pixels, draw_transforms(S, S, boxes, rng(3), only(aspect=1.5)), S)[:, 0] < 130
    assert dark.float().mean((1, 2)).numpy() == pytest.approx(disc()[1].mean(), rel=0.1)
    across, down = dark.any(1).sum(1), dark.any(2).sum(1)
    assert ((across / down - 1).abs() > 0.1).any()


def test_a_view_is_centred_on_its_lesion_and_scaled_to_it() -> None:
    pixels, masks = tensors(disc(8, x=18, y=44))
    boxes = lesion_boxes(masks.numpy() > 0)
    how = only(centred_share=1.0, lesion_size=(0.6, 0.6))
    dark = (warp(pixels, draw_transforms(S, S, boxes, rng(1), how), S)[0, 0] < 130).numpy()
    rows, columns = (np.flatnonzero(dark.any(axis=axis)) for axis in (1, 0))
    for found in (rows, columns):
        assert (found[0] + found[-1]) / 2 == pytest.approx((S - 1) / 2, abs=2)
        assert len(found) == pytest.approx(0.6 * S, abs=4)


def test_a_coarse_image_has_lost_what_is_fine() -> None:
    fine = torch.as_tensor(np.indices((S, S)).sum(axis=0) % 2 * 255.0).float().expand(8, 3, S, S)
    made = coarser(fine, rng(), only(coarse_share=1.0))
    assert (made.std((1, 2, 3)) < 0.6 * fine.std()).all()
    assert torch.equal(coarser(fine, rng(), NOTHING), fine)


def test_corners_grow_dark_and_the_middle_stays() -> None:
    pixels, _ = tensors(*[disc(20)] * 4)
    made = relit(pixels, rng(), only(corners_share=1.0))
    assert made[:, :, 0, 0].max() < 20
    torch.testing.assert_close(made[:, :, 32, 32], pixels[:, :, 32, 32], atol=1, rtol=0)


def test_bars_are_black_on_two_opposite_sides() -> None:
    pixels, _ = tensors(*[disc()] * 8)
    made = relit(pixels, rng(), only(bars_share=1.0))
    beside = [bool((own[:, :, 0] == 0).all() and (own[:, :, -1] == 0).all()) for own in made]
    above = [bool((own[:, 0] == 0).all() and (own[:, -1] == 0).all()) for own in made]
    assert all(one != other for one, other in zip(beside, above, strict=True))
    assert any(beside)
    assert any(above)
    torch.testing.assert_close(made[:, :, 32, 32], pixels[:, :, 32, 32], atol=1, rtol=0)


def test_colours_are_exchanged_within_the_batch() -> None:
    flat = torch.tensor([SKIN, OTHER]).float()[:, :, None, None].expand(2, 3, S, S)
    assert (relit(flat, rng(), NOTHING) - flat).abs().max() < 1
    seen = [relit(flat, rng(seed), only(colours_share=1.0))[0, :, 0, 0].numpy() for seed in range(16)]
    moved = [(own - SKIN) / (np.array(OTHER) - SKIN) for own in seen]
    assert max(share.mean() for share in moved) > 0.3
    assert all(share.min() >= -0.01 and share.max() <= 1.01 for share in moved)


def test_noise_and_painted_squares_happen_where_asked() -> None:
    flat = torch.full((4, 3, S, S), 128.0)
    assert relit(flat, rng(), NOTHING).std((1, 2, 3)).max() < 1e-3
    assert (relit(flat, rng(), only(noise_share=1.0)).std((1, 2, 3)) > 1).all()
    erased = (relit(flat, rng(), only(erased_share=1.0)) - 128).abs() > 1
    share = erased.any(1).float().mean((1, 2))
    assert (share > 0.005).all()
    assert (share < 0.16).all()


@pytest.mark.parametrize("quality", [20, 50, 80])
def test_jpeg_is_what_a_library_writes(quality: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of grey images, whose colour channels are empty; a library rounds more, so a little differs."""
    monkeypatch.setattr(views, "QUALITY", (quality, quality))
    places = np.indices((S, S))
    grey = 128 + 60 * np.sin(places[0] / 5) * np.cos(places[1] / 3) + rng().normal(0, 12, (S, S))
    image = np.clip(grey, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    expected = np.asarray(Image.open(file)).astype(float)
    made = compressed(torch.as_tensor(image).float().expand(1, 3, S, S), rng(), only(jpeg_share=1.0))
    ours = made[0, 0].numpy()
    lost, theirs = ours - image, expected - image
    assert np.abs(lost).mean() == pytest.approx(np.abs(theirs).mean(), rel=0.1)
    assert np.corrcoef(lost.ravel(), theirs.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("size", [32, 64])
def test_the_same_seed_changes_a_batch_alike(size: int) -> None:
    pixels, masks = tensors(disc(), disc(9, skin=OTHER), disc(2), disc(15, 24, 40))
    boxes = lesion_boxes(masks.numpy() > 0)

    def made(seed: int) -> Tensor:
        torch.manual_seed(seed)  # of the noise
        return changed_view(pixels, masks, boxes, size, rng(seed), Augmentation())[0]

    first = made(1)
    assert first.shape == (4, 3, size, size)
    assert first.min() >= 0
    assert first.max() <= 255
    assert torch.equal(made(1), first)
    assert not torch.equal(made(2), first)
