from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as theirs

from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError
from dermsentry.evaluation.robustness.corruptions import ARTEFACTS, CORRUPTIONS, SEVERITIES
from dermsentry.evaluation.robustness.stability import BATCH, measure_robustness
from dermsentry.files import plain, to_json
from dermsentry.phantoms import draw_phantom
from dermsentry.reporting import render
from dermsentry.stats.intervals import combined
from dermsentry.stats.resampling import Resampler

UNIT = {"unit": "lesion"}

MEL, NV = CODES.index("MEL"), CODES.index("NV")
N, SIZE = 12, 40


def stated(melanoma):
    """Probabilities (n, 9) that give melanoma so much and nevus the rest."""
    probability = np.zeros((len(melanoma), 9), np.float32)
    probability[:, MEL], probability[:, NV] = melanoma, 1 - np.asarray(melanoma)
    return probability


def brightness(pixels):
    """Suspects dark pictures."""
    return stated(1 - pixels.mean(axis=(1, 2, 3)) / 255)


def indifferent(pixels):
    return stated(np.full(len(pixels), 0.3))


@pytest.fixture(scope="module")
def pixels():
    return np.stack([draw_phantom("MEL" if i % 2 else "NV", i, (SIZE, SIZE), skin_type=2) for i in range(N)])


TRUTH = ["MEL" if i % 2 else "NV" for i in range(N)]
GROUPS = [str(i) for i in range(N)]


@pytest.fixture(scope="module")
def bright(pixels):
    return measure_robustness(brightness, pixels, TRUTH, Resampler(GROUPS, 30), threshold=0.3)


def test_every_corruption_at_every_severity(bright):
    expected = [(name, severity) for name in CORRUPTIONS for severity in SEVERITIES]
    assert [(cell.corruption, cell.severity) for cell in bright.cells] == expected
    assert list(bright.by_corruption) == list(CORRUPTIONS)
    assert (bright.photographs, bright.groups, bright.melanomas) == (N, N, N // 2)


def test_a_model_that_ignores_the_picture_never_changes_its_mind(pixels):
    found = measure_robustness(indifferent, pixels, TRUTH, Resampler(GROUPS, 20), threshold=0.3)
    for cell in found.cells:
        assert cell.flips.value == cell.noise_flips.value == cell.change.value == 0
        assert cell.flips.high == pytest.approx(1 - 0.025 ** (1 / N))  # none of 12 is not never
        assert cell.roc_auc.value == 0.5
        assert cell.drop.value == 0
    assert found.repeat.flipped == found.repeat.melanomas_flipped == 0
    assert found.repeat.spread.value == pytest.approx(0, abs=1e-9)
    assert found.repeat.flip_rate.high > 0


def test_a_model_that_reads_light_is_moved_by_exposure_and_not_by_geometry(pixels):
    middle = float(np.median(pixels.mean(axis=(1, 2, 3))))
    clean = 1 - middle / 255
    found = measure_robustness(brightness, pixels, TRUTH, Resampler(GROUPS, 20), threshold=clean)
    for name in ("overexposure", "underexposure"):
        cells = found.by_corruption[name]
        changes = [cell.change.value for cell in cells]
        assert changes == sorted(changes)
        assert changes[-1] > 0.1
        assert cells[-1].flips.value > 0.4  # almost all come to one side
        assert cells[-1].flips.value > cells[-1].noise_flips.value
    for name in ("hair", "blur", "noise", "JPEG"):
        assert found.by_corruption[name][0].change.value < 0.02
    exact = ("turned by 90°", "turned by 180°", "turned by 270°", "mirrored")
    assert all(found.repeat.by_capture[name].value == 0 for name in exact)


def test_figures_agree_with_a_direct_computation(pixels):
    """With a predictor that knows each picture by heart, the figures follow from what it said."""
    said = []

    def predict(batch):
        melanoma = 0.5 + 0.5 * np.sin(batch.reshape(len(batch), -1).sum(axis=1) % 1000)
        said.append(melanoma)
        return stated(melanoma)

    found = measure_robustness(predict, pixels, TRUTH, Resampler(GROUPS, 20), threshold=0.4)
    clean, captures, artefacts, rest = said[0], said[1:15], said[15:19], said[19:]
    melanoma = np.array(TRUTH) == "MEL"
    assert found.roc_auc.value == pytest.approx(theirs.roc_auc_score(melanoma, clean))
    lost = [(melanoma & (clean >= 0.4) & (scores < 0.4)).sum() for scores in artefacts]
    assert [one.melanomas_missed for one in found.artefacts] == lost
    assert len(rest) == 2 * len(found.cells)
    for cell, corrupted, noisy in zip(found.cells, rest[::2], rest[1::2], strict=True):
        area = theirs.roc_auc_score(melanoma, corrupted)
        assert cell.roc_auc.value == pytest.approx(area)
        assert cell.drop.value == pytest.approx(found.roc_auc.value - area)
        assert cell.flips.value == pytest.approx(((corrupted >= 0.4) != (clean >= 0.4)).mean())
        assert cell.noise_flips.value == pytest.approx(((noisy >= 0.4) != (clean >= 0.4)).mean())
        assert cell.change.value == pytest.approx(np.abs(corrupted - clean).mean(), abs=1e-6)
    flips = np.stack([(one >= 0.4) != (clean >= 0.4) for one in captures])
    repeat = found.repeat
    assert len(repeat.by_capture) == len(captures)
    assert repeat.flips.value == pytest.approx(flips.any(axis=0).mean())
    assert repeat.flipped == flips.any(axis=0).sum()
    assert repeat.melanomas_flipped == (flips.any(axis=0) & melanoma).sum()
    assert repeat.flip_rate.value == pytest.approx(flips.mean())
    assert [one.value for one in repeat.by_capture.values()] == pytest.approx(flips.mean(axis=1).tolist())
    share = np.stack([clean, *captures]).clip(1e-6, 1 - 1e-6).astype(np.float32).astype(float)
    odds = np.sort(np.log(share / (1 - share)).std(axis=0))
    assert repeat.spread.value == pytest.approx(odds[(N - 1) // 2], rel=1e-3)
    assert repeat.spread.low <= repeat.spread.value <= repeat.spread.high


def test_the_drop_is_measured_on_the_same_draws(pixels):
    """Clean and corrupted AUROC move together, so their difference is known better than either."""

    def dark(batch):
        return stated(1 - np.quantile(batch.mean(axis=3), 0.2, axis=(1, 2)) / 255)

    found = measure_robustness(dark, pixels, TRUTH, Resampler(GROUPS, 200), threshold=0.4)
    cell = found.by_corruption["JPEG"][0]
    alone = combined((found.roc_auc, cell.roc_auc), (1, -1))
    assert cell.drop.high - cell.drop.low < 0.75 * (alone.high - alone.low)


def test_the_same_seed_gives_the_same_figures(pixels, bright):
    again = measure_robustness(brightness, pixels, TRUTH, Resampler(GROUPS, 30), threshold=0.3)
    assert to_json(again) == to_json(bright)
    other = measure_robustness(brightness, pixels, TRUTH, Resampler(GROUPS, 30, 1), threshold=0.3)
    assert to_json(other) != to_json(bright)


def test_batches_are_small_and_do_not_matter():
    few = np.stack([draw_phantom("NV", i, (16, 16)) for i in range(8)])
    many = few[np.arange(BATCH + 6) % 8]
    sizes = set()

    def predict(batch):
        assert batch.dtype == np.uint8
        assert batch.shape[1:] == (16, 16, 3)
        sizes.add(len(batch))
        return brightness(batch)

    truth, groups = ["NV"] * len(many), [str(i) for i in range(len(many))]
    found = measure_robustness(predict, many, truth, Resampler(groups, 5), threshold=0.3)
    assert sizes == {BATCH, 6}
    assert found.photographs == BATCH + 6


def test_photographs_stay_as_they_are(pixels, bright):
    fresh = np.stack([draw_phantom("MEL" if i % 2 else "NV", i, (SIZE, SIZE), skin_type=2) for i in range(N)])
    np.testing.assert_array_equal(pixels, fresh)


def test_without_melanomas_there_are_decisions_and_no_auroc(pixels):
    found = measure_robustness(brightness, pixels, ["NV"] * N, Resampler(GROUPS, 10), threshold=None)
    assert found.roc_auc is None
    assert all(cell.roc_auc is None and cell.drop is None for cell in found.cells)
    assert found.cells[-1].flips.value >= 0
    assert "NaN" not in to_json(found)
    assert "AUROC on the photographs as they are: –" in render(
        "evaluation_robustness.html", robustness=found, evaluation=UNIT
    )


def test_unknown_diagnoses_count_for_decisions_alone(pixels):
    truth = ["", "MEL|NV", *TRUTH[2:]]
    found = measure_robustness(brightness, pixels, truth, Resampler(GROUPS, 10), threshold=0.3)
    score = brightness(pixels)[2:, MEL]
    melanoma = np.array(TRUTH[2:]) == "MEL"
    assert found.photographs == N
    assert found.melanomas == melanoma.sum()
    assert found.roc_auc.value == pytest.approx(theirs.roc_auc_score(melanoma, score))


def test_progress_goes_through_the_corruptions(pixels):
    seen = []

    def progress(steps):
        for step in steps:
            seen.append(step)
            yield step

    two = pixels[:2]
    measure_robustness(brightness, two, TRUTH[:2], Resampler(GROUPS[:2], 5), threshold=0.3, progress=progress)
    assert seen == [(name, severity) for name in CORRUPTIONS for severity in SEVERITIES]


def test_what_cannot_be_measured_is_said(pixels):
    with pytest.raises(InputError, match="no photograph"):
        measure_robustness(brightness, pixels[:0], [], Resampler(["a"]), threshold=0.3)
    with pytest.raises(InputError, match="12 photographs, 12 labels and 1 groups"):
        measure_robustness(brightness, pixels, TRUTH, Resampler(["a"]), threshold=0.3)
    with pytest.raises(InputError, match=r"expected \(n, size, size, 3\)"):
        measure_robustness(brightness, pixels[:, :20], TRUTH, Resampler(GROUPS), threshold=0.3)
    with pytest.raises(InputError, match="by 9 classes"):
        measure_robustness(lambda p: brightness(p)[:, :8], pixels, TRUTH, Resampler(GROUPS), threshold=0.3)
    with pytest.raises(InputError, match="no number"):
        measure_robustness(
            lambda p: stated(np.full(len(p), np.nan)), pixels, TRUTH, Resampler(GROUPS), threshold=0.3
        )


def test_json_and_page(bright):
    found = plain(bright)
    assert len(found["corruptions"]) == 70
    assert set(found["corruptions"][0]) == {
        "corruption", "severity", "rms_difference", "roc_auc", "drop", "flips", "missed", "change",
        "noise_flips",
    }  # fmt: skip
    assert found["repeat_capture"]["by_capture"].keys() == set(bright.repeat.by_capture)
    page = render("evaluation_robustness.html", robustness=bright, evaluation=UNIT)
    for name in CORRUPTIONS:
        assert f"<td>{name}</td>" in page
    assert f"{bright.repeat.flipped} of {N} photographs" in page
    assert render("evaluation_robustness.html", robustness=None).strip() == ""


def test_missed_melanomas_are_told_apart_from_other_flips(pixels):
    """A model of the middle's darkness: glare there takes alerts away, and gives none."""

    def dark(batch):
        return stated(1 - batch[:, 12:20, 12:20].mean(axis=(1, 2, 3)) / 255)

    clean = 1 - pixels[:, 12:20, 12:20].mean(axis=(1, 2, 3)) / 255
    threshold = float(np.median(clean))
    found = measure_robustness(dark, pixels, TRUTH, Resampler(GROUPS, 50), threshold=threshold)
    melanoma, alert = np.array(TRUTH) == "MEL", clean >= threshold
    assert found.alerted == (melanoma & alert).sum() > 0
    assert [one.name for one in found.artefacts] == list(ARTEFACTS)
    for one in (*found.artefacts, *found.cells):
        assert one.missed.low <= one.missed.value <= one.missed.high
    glare = found.artefacts[0]
    assert glare.melanomas_missed == round(glare.missed.value * found.alerted)
    assert glare.false_alarms == 0
    assert glare.melanomas_missed <= round(glare.flips.value * len(pixels))
    assert found.repeat.melanomas_missed <= found.repeat.melanomas_flipped
