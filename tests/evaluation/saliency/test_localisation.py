from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from bundles import lesion, tiny_bundle, tiny_onnx
from dermsentry.errors import InputError
from dermsentry.evaluation.saliency.localisation import TOLERANCE, check_saliency
from dermsentry.evaluation.saliency.masks import find_masks, fit_mask, read_mask
from dermsentry.evaluation.saliency.weight_randomisation import control_of, randomised
from dermsentry.files import to_json
from dermsentry.images import ASPECTS, Aspect, Unreadable, fit
from dermsentry.reporting import render
from dermsentry.stats.resampling import Resampler

UNIT = {"unit": "lesion"}

SIZE = 64


def discs(number: int, seed: int = 0, radius: int = 12) -> np.ndarray:
    """Round lesions at random places, (n, 64, 64)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    centres = rng.integers(radius, SIZE - radius, (number, 2))
    return np.stack([(y - a) ** 2 + (x - b) ** 2 < radius**2 for a, b in centres])


def coarse(maps: np.ndarray, side: int = 8) -> np.ndarray:
    """Means of squares, (n, side, side)."""
    step = SIZE // side
    return maps.astype(float).reshape(len(maps), side, step, side, step).mean(axis=(2, 4))


def checked(activation: np.ndarray, masks: np.ndarray, **given: object):
    given = {"truth": ["MEL", "NV"] * (len(activation) // 2) + ["NV"] * (len(activation) % 2)} | given
    groups = given.pop("groups", [str(i) for i in range(len(activation))])
    return check_saliency(activation, masks, given.pop("truth"), Resampler(groups, 200), **given)  # type: ignore[arg-type]


def test_activation_on_the_lesion_is_found_there() -> None:
    masks = discs(40)
    found = checked(coarse(masks), masks)
    for lesions, number in ((found.all, 40), (found.melanomas, 20)):
        assert lesions is not None
        assert lesions.photographs == lesions.groups == number
        assert lesions.model.inside.value > 0.7
        assert lesions.model.ratio.value == pytest.approx(lesions.model.inside.value / lesions.area.value)
        assert lesions.model.hits == number
        assert lesions.model.pointing.value == 1
        assert lesions.model.pointing.low < 1  # never certain
        assert lesions.exchanged.inside.high < lesions.model.inside.low
    assert found.rank_correlation is None
    assert found.all.randomised is None


def test_even_activation_is_chance() -> None:
    masks = discs(30)
    found = checked(np.ones((30, 8, 8)), masks).all
    assert found.model.inside.value == pytest.approx(masks.mean())
    assert found.model.ratio.value == pytest.approx(1)
    assert found.model.pointing.value == pytest.approx(found.pointing_chance.value)


def test_random_activation_is_chance_within_its_interval() -> None:
    masks = discs(300, radius=14)
    found = checked(np.random.default_rng(3).random(masks.shape), masks).all
    assert found.model.ratio.value == pytest.approx(1, abs=0.02)
    assert found.model.pointing.low <= found.pointing_chance.value <= found.model.pointing.high


def test_what_speaks_against_the_class_is_no_activation() -> None:
    masks = discs(10)
    activation = coarse(masks) - 10 * (coarse(masks) == 0)
    assert (
        checked(activation, masks).all.model.inside.value
        > checked(coarse(masks), masks).all.model.inside.value
    )
    cold = checked(-np.ones((10, 8, 8)), masks).all
    assert cold.without_activation == 10
    assert cold.model.inside is None
    assert cold.model.ratio is None


def test_the_hottest_place_may_be_a_little_aside() -> None:
    masks = np.zeros((1, 224, 224), dtype=bool)
    masks[0, :, :100] = True
    for column, hit in ((99, 1), (114, 1), (115, 0)):
        activation = np.zeros((1, 224, 224))
        activation[0, 112, column] = 1
        assert checked(activation, masks, truth=["NV"]).all.model.pointing.value == hit
    assert pytest.approx(15 / 224) == TOLERANCE


def test_the_middle_of_the_picture_is_compared() -> None:
    masks = np.zeros((4, SIZE, SIZE), dtype=bool)
    masks[:3, 28:36, 28:36] = True
    masks[3, :4, :4] = True
    assert checked(coarse(masks), masks).all.pointing_centre.value == 0.75


def test_a_control_that_says_the_same_correlates_and_another_does_not() -> None:
    masks = discs(60)
    activation = coarse(masks) + np.random.default_rng(0).normal(0, 0.01, (60, 8, 8))
    same = checked(activation, masks, control=2 * activation + 1)
    assert same.rank_correlation.value == pytest.approx(1)
    noise = np.random.default_rng(1).random(activation.shape)
    other = checked(activation, masks, control=noise)
    expected = np.mean(
        [stats.spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(activation, noise, strict=True)]
    )
    assert other.rank_correlation.value == pytest.approx(expected)
    assert other.all.randomised.inside.high < other.all.model.inside.low
    assert [name for name, _ in other.all.rows] == [
        "this model",
        "another photograph's activation",
        "the same network, weights shuffled",
    ]


def test_masks_without_a_lesion_are_left_out() -> None:
    masks = discs(6)
    masks[2] = False
    found = checked(coarse(discs(6)), masks, truth=["NV"] * 6)
    assert (found.empty, found.all.photographs, found.melanomas) == (1, 5, None)
    with pytest.raises(InputError, match="None of the 6 masks marks a lesion"):
        checked(coarse(masks), np.zeros_like(masks))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.booleans())
def test_every_figure_is_a_share_in_its_interval_and_the_seed_decides(
    seed: int, number: int, control: bool
) -> None:
    rng = np.random.default_rng(seed)
    masks = rng.random((number, 16, 16)) < 0.3
    masks[:, 8, 8] = True
    activation = rng.normal(size=(number, 4, 4))
    groups = [str(i // 2) for i in range(number)]
    other = rng.normal(size=activation.shape) if control else None
    first = checked(activation, masks, groups=groups, control=other)
    assert first == checked(activation, masks, groups=groups, control=other)
    for lesions in filter(None, (first.all, first.melanomas)):
        for hits in (hits for _, hits in lesions.rows):
            for figure in filter(None, (hits.inside, hits.pointing)):
                assert 0 <= figure.low <= figure.value <= figure.high <= 1
        assert lesions.groups <= lesions.photographs
    assert json.loads(to_json(first))["tolerance"] == TOLERANCE


def test_a_single_photograph_has_no_other_to_exchange_with() -> None:
    masks = discs(1)
    assert checked(coarse(masks), masks).all.exchanged is None


def test_what_does_not_fit_is_refused() -> None:
    masks = discs(4)
    activation = coarse(masks)
    with pytest.raises(InputError, match="expected as many of each"):
        check_saliency(activation, masks, ["NV"] * 3, Resampler(["a"] * 4))
    with pytest.raises(InputError, match="expected the same shape"):
        checked(activation, masks, control=activation[:, :4])
    with pytest.raises(InputError, match=r"expected \(n, h, w\) of both"):
        checked(activation[0], masks)
    with pytest.raises(InputError, match="not finite"):
        checked(np.full_like(activation, np.nan), masks)


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("shape", [(150, 200), (200, 150), (96, 96)])
def test_a_mask_goes_where_its_photograph_goes(aspect: Aspect, shape: tuple[int, int]) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = (y - 0.4 * shape[0]) ** 2 + (x - 0.55 * shape[1]) ** 2 < 30**2
    picture = np.where(mask[:, :, None], 255, 0).repeat(3, 2).astype(np.uint8)
    expected = fit(picture, 96, aspect)[:, :, 0] > 127
    assert fit_mask(mask, 96, aspect).shape == (96, 96)
    assert (fit_mask(mask, 96, aspect) != expected).mean() < 0.02


def test_an_unknown_aspect_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of squash, crop, pad"):
        fit_mask(np.ones((4, 4), dtype=bool), 8, "stretch")  # type: ignore[arg-type]


def test_masks_are_found_by_image_id(tmp_path: Path) -> None:
    mask = Image.fromarray((discs(1)[0] * 255).astype(np.uint8))
    for name in ("a_segmentation.png", "b.png", "other.png"):
        mask.save(tmp_path / name)
    assert find_masks(tmp_path, ["a", "b", "c", "a"]) == {
        "a": tmp_path / "a_segmentation.png",
        "b": tmp_path / "b.png",
    }
    with pytest.raises(
        InputError, match=r"holds no mask of these 2 photographs.*such as x_segmentation\.png"
    ):
        find_masks(tmp_path, ["x", "y"])
    with pytest.raises(InputError, match="is not a folder"):
        find_masks(tmp_path / "nowhere", ["a"])


@pytest.mark.parametrize("top", [1, 255])
def test_a_mask_is_read_whatever_stands_for_the_lesion(tmp_path: Path, top: int) -> None:
    Image.fromarray((discs(1)[0] * top).astype(np.uint8)).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", SIZE, "squash"), discs(1)[0])
    (tmp_path / "mask.png").write_bytes(b"")
    with pytest.raises(Unreadable):
        read_mask(tmp_path / "mask.png", SIZE, "squash")


def weights_of(network: bytes) -> dict[str, np.ndarray]:
    import onnx
    from onnx import numpy_helper

    return {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(network).graph.initializer}


def test_shuffling_keeps_every_weight_and_moves_it(tmp_path: Path) -> None:
    before = weights_of(tiny_onnx())
    after = weights_of(randomised(tiny_onnx(), seed=1))
    assert before.keys() == after.keys()
    for name, values in before.items():
        assert after[name].dtype == values.dtype
        np.testing.assert_array_equal(np.sort(after[name], axis=None), np.sort(values, axis=None))
    assert not np.array_equal(before["weight"], after["weight"])
    np.testing.assert_array_equal(before["axes"], after["axes"])
    assert randomised(tiny_onnx(), seed=1) == randomised(tiny_onnx(), seed=1)
    assert randomised(tiny_onnx(), seed=1) != randomised(tiny_onnx(), seed=2)
    bundle = tiny_bundle(tmp_path / "tiny")
    assert randomised(bundle.folder, seed=1) == randomised(tiny_onnx(), seed=1)


def test_a_control_predicts_other_activation_and_leaves_the_bundle_alone(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    control = control_of(bundle, seed=3)
    assert control is not None
    pixels = fit(lesion(), SIZE, "squash")[None]
    before = bundle.predict(pixels)
    assert control.predict(pixels).class_activation.shape == before.class_activation.shape
    assert not np.allclose(control.predict(pixels).class_activation, before.class_activation)
    np.testing.assert_array_equal(bundle.predict(pixels).class_activation, before.class_activation)
    assert replace(control, session=None) == replace(bundle, session=None) or control.card is bundle.card


def test_without_onnx_there_is_no_control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    bundle = tiny_bundle(tmp_path / "tiny")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert control_of(bundle) is None
    with pytest.raises(ImportError):
        randomised(tiny_onnx_of(bundle.folder))


def tiny_onnx_of(folder: Path) -> bytes:
    return (folder / "model.onnx").read_bytes()


@pytest.mark.parametrize("control", [True, False])
def test_the_page_says_what_was_measured(control: bool) -> None:
    masks = discs(20)
    activation = coarse(masks)
    noise = np.random.default_rng(1).random(activation.shape)
    found = checked(activation, masks, control=noise if control else None)
    page = render("evaluation_saliency.html", saliency=found, surroundings=None, evaluation=UNIT)
    assert "20 photographs" in page
    assert "10 melanomas" in page
    assert ("<td>the same network, weights shuffled</td>" in page) == control
    assert ("no control" in page) != control
    assert render("evaluation_saliency.html", saliency=None, surroundings=None).strip() == ""
