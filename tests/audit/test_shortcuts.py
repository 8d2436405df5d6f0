from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from columns import table
from dermsentry.audit.kept import SURROUND
from dermsentry.audit.shortcuts import EVERYTHING, VISIBLE, _discriminate, find_shortcuts, probe
from dermsentry.audit.survey import Survey, surround
from dermsentry.images import Photograph


def made(labels: list[str], seed: int = 0, **told: np.ndarray) -> tuple[pd.DataFrame, Survey, list[str]]:
    """A table and a survey whose surroundings are noise, but for the columns in `told`."""
    rng = np.random.default_rng(seed)
    count = len(labels)
    around = rng.normal(100, 10, (count, len(SURROUND))).astype(np.float32)
    around[:, [SURROUND.index(name) for name in ("width", "height", "quantisation")]] = 100
    for name, values in told.items():
        around[:, SURROUND.index(name.replace("_", " "))] = values
    paths = [f"{i:04d}.jpg" for i in range(count)]
    ids = [f"ISIC_{n:07d}" for n in rng.permutation(count)]
    digests = np.zeros((count, 16), np.uint8)
    survey = Survey(
        tuple(paths), digests, digests, around, np.zeros((count, 2), np.int32), unreadable={}, doubts={}
    )
    return table(path=paths, image_id=ids, diagnosis=labels), survey, paths


LABELS = ["MEL", "NV", "BCC"] * 60


def test_noise_tells_nothing() -> None:
    found = {s.family: s for s in find_shortcuts(*made(LABELS))}
    assert set(found) == {
        "border and vignette",
        "colour of the rim",
        "range of image ids",
        VISIBLE,
        EVERYTHING,
    }
    assert not any(s.tells for s in found.values())
    assert found[EVERYTHING].balanced_accuracy == pytest.approx(1 / 3, abs=0.12)
    assert found[EVERYTHING].chance == pytest.approx(1 / 3, abs=0.03)


def test_a_vignette_of_one_class_tells_and_is_named() -> None:
    dark = np.where(np.array(LABELS) == "MEL", 60.0, 100.0) + np.random.default_rng(1).normal(
        0, 3, len(LABELS)
    )
    found = {s.family: s for s in find_shortcuts(*made(LABELS, corner_darkness=dark))}
    vignette = found["border and vignette"]
    assert vignette.tells
    assert vignette.by_class["MEL"] > 0.95
    assert vignette.melanoma_auroc is not None
    assert vignette.melanoma_auroc > 0.95
    assert vignette.p_value == pytest.approx(1 / 61)
    assert not found["colour of the rim"].tells
    assert found[VISIBLE].tells


def test_a_range_of_ids_tells() -> None:
    rows, survey, groups = made(sorted(LABELS))
    rows["image_id"] = [f"ISIC_{i:07d}" for i in range(len(rows))]
    found = {s.family: s for s in find_shortcuts(rows, survey, groups)}
    assert found["range of image ids"].balanced_accuracy > 0.9
    assert not found[VISIBLE].tells


def test_a_rare_class_weighs_as_much_as_a_common_one() -> None:
    labels = ["NV"] * 300 + ["MEL"] * 20
    bright = np.where(np.array(labels) == "MEL", 180.0, 100.0)
    found = find_shortcuts(*made(labels, rim_red=bright))
    assert next(s for s in found if s.family == "colour of the rim").balanced_accuracy == pytest.approx(1.0)


def test_one_photograph_represents_each_group() -> None:
    rows, survey, _ = made(LABELS[:90])
    found = find_shortcuts(rows, survey, [f"g{i % 30}" for i in range(90)])
    assert {s.photographs for s in found} == {30}
    assert find_shortcuts(rows, survey, ["one"] * len(rows)) == ()


@pytest.mark.parametrize("labels", [["MEL"] * 20, ["MEL"] * 20 + ["NV"] * 4, [""] * 30])
def test_without_two_classes_of_five_nothing_is_measured(labels: list[str]) -> None:
    assert find_shortcuts(*made(labels)) == ()


def test_labels_that_overlap_are_one_class() -> None:
    found = find_shortcuts(*made(["PBK|SK", "SK", "MEL", "MEL"] * 10))
    assert set(found[-1].by_class) == {"MEL", "PBK|SK"}


def test_the_same_seed_gives_the_same() -> None:
    assert find_shortcuts(*made(LABELS), seed=3) == find_shortcuts(*made(LABELS), seed=3)


def test_discriminant_analysis_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 200)
    x = rng.normal(0, 1, (200, 4)) + truth[:, None] * np.array([1.0, 0.5, 0, -0.5])
    x -= x.mean(axis=0)
    scores = _discriminate(x, truth[None], x, 3)[0]
    shrunk = LinearDiscriminantAnalysis(solver="lsqr", priors=[1 / 3] * 3).fit(x, truth)
    assert (scores.argmax(axis=1) == shrunk.predict(x)).mean() > 0.98


def test_a_probe_tells_what_features_hold_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    archive = np.array(["a", "b", "c"] * 40)
    features = rng.normal(0, 1, (120, 200))
    blind = probe(features, list(archive), family="embedding")
    assert not blind.tells
    assert blind.balanced_accuracy == pytest.approx(1 / 3, abs=0.15)
    features[:, 0] += 30 * (archive == "b")
    seeing = probe(features, list(archive), family="embedding")
    assert seeing.tells
    assert seeing.by_class["b"] > 0.95


def test_a_probe_leaves_out_labels_of_few_photographs() -> None:
    features = np.random.default_rng(0).normal(0, 1, (44, 3))
    found = probe(features, ["a"] * 20 + ["b"] * 20 + ["rare"] * 4, family="embedding")
    assert (found.photographs, set(found.by_class)) == (40, {"a", "b"})
    with pytest.raises(ValueError, match="expected at least two"):
        probe(features, ["a"] * 44, family="embedding")


def test_surroundings_of_a_vignette() -> None:
    bright = np.full((60, 80, 3), 200, np.uint8)
    plain = dict(zip(SURROUND, surround(Photograph(bright, 80, 60, "PNG", 0)), strict=True))
    assert plain["corner darkness"] == plain["rim contrast"] == 0
    assert (plain["width"], plain["height"], plain["rim red"]) == (80, 60, 200)
    dark = bright.copy()
    dark[:6, :6] = dark[-6:, :6] = dark[:6, -6:] = dark[-6:, -6:] = 0
    vignette = dict(zip(SURROUND, surround(Photograph(dark, 80, 60, "JPEG", 312)), strict=True))
    assert vignette["corner darkness"] < -150
    assert vignette["rim contrast"] > 10
    assert vignette["quantisation"] == 312


def test_the_smallest_photograph_has_surroundings() -> None:
    assert np.isfinite(surround(Photograph(np.zeros((1, 1, 3), np.uint8), 1, 1, "PNG", 0))).all()


@pytest.mark.parametrize("each", [5, 8])
def test_chance_is_one_in_so_many_classes_however_few_the_photographs(each: int) -> None:
    """Each id has a bin of its own, the hardest case: nothing can be learned of one from the others."""
    labels = ["MEL", "NV", "BCC", "AK", "DF", "SK", "VASC"] * each
    found = find_shortcuts(*made(labels))
    assert [s.chance for s in found] == pytest.approx([1 / 7] * len(found), abs=0.025)
    assert not any(s.tells for s in found)
