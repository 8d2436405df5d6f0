from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score

from bundles import REFUSING, lesion, tiny_bundle
from dermsentry.errors import InputError
from dermsentry.evaluation.refusal import SHARES, Refusals, measure_refusal, refusals
from dermsentry.files import to_json
from dermsentry.reporting import render
from dermsentry.screening.quality import BLURRED
from dermsentry.screening.triage import NO_LESION_LIMIT, NOT_A_LESION
from dermsentry.stats.intervals import exact_binomial
from dermsentry.stats.resampling import Resampler


def screened(
    scores: np.ndarray, poor: np.ndarray | None = None, name: str = "file", unlike: np.ndarray | None = None
) -> Refusals:
    """What screening would make of pictures with these scores, all below the alert threshold."""
    bad = np.zeros(len(scores), dtype=bool) if poor is None else poor
    reasons = [
        (BLURRED,) * bool(is_poor) + (NOT_A_LESION,) * bool(score > NO_LESION_LIMIT)
        for score, is_poor in zip(scores, bad, strict=True)
    ]
    return Refusals(
        names=tuple(f"{name}{i}.jpg" for i in range(len(scores))),
        no_lesion=np.asarray(scores, dtype=np.float64),
        out_of_distribution=np.full(len(scores), 0.1) if unlike is None else unlike,
        poor=bad,
        tiers=tuple("cannot-say" if why else "routine" for why in reasons),
        reasons=tuple(why or ("melanoma 1 %",) for why in reasons),
    )


def alone(lesions: Refusals) -> list[str]:
    return [str(i) for i in range(len(lesions.names))]


def measured(lesions: Refusals, non_lesions: Refusals, **given: object):
    groups = given.pop("groups", alone(lesions))
    return measure_refusal(lesions, non_lesions, Resampler(groups, 200, **given))  # type: ignore[arg-type]


def test_figures_against_scikit_learn_and_by_hand() -> None:
    rng = np.random.default_rng(0)
    lesions, non_lesions = screened(rng.beta(2, 6, 200)), screened(rng.beta(4, 2, 80), name="pet")
    found = measured(lesions, non_lesions)
    truth = np.r_[np.zeros(200), np.ones(80)]
    expected = roc_auc_score(truth, np.r_[lesions.no_lesion, non_lesions.no_lesion])
    assert found.roc_auc.value == pytest.approx(expected, abs=1e-12)
    for share, point in zip(SHARES, found.at_share, strict=True):
        refused = round(share * 200)
        limit = np.sort(lesions.no_lesion)[::-1][refused]
        assert (point.share, point.lesions_refused) == (share, refused)
        assert point.limit == pytest.approx(limit, abs=1e-12)
        assert point.non_lesions.value == (non_lesions.no_lesion > limit).mean()
        assert point.non_lesions_refused == (non_lesions.no_lesion > limit).sum()
    gate = found.gates[0]
    refused = int((non_lesions.no_lesion > NO_LESION_LIMIT).sum())
    assert gate.non_lesions == exact_binomial(refused, 80)
    assert gate.lesions == exact_binomial(int((lesions.no_lesion > NO_LESION_LIMIT).sum()), 200)
    assert {picture.name for picture in found.accepted} == {
        name
        for name, own in zip(non_lesions.names, non_lesions.no_lesion, strict=True)
        if own <= NO_LESION_LIMIT
    }


def test_each_gate_is_told_apart() -> None:
    non_lesions = screened(np.array([0.9, 0.9, 0.1, 0.1, 0.2]), np.array([True, False, True, False, False]))
    found = measured(screened(np.full(20, 0.1)), non_lesions)
    counts = {gate.name: gate.non_lesions_refused for gate in found.gates}
    assert counts == {
        "screening as it is": 3,
        "by quality": 2,
        "as no lesion": 2,
        "flagged as out of distribution": 0,
    }
    assert [(r.words, r.lesions, r.non_lesions) for r in found.reasons] == [
        ("not recognised as an image of a skin lesion", 0, 2),
        ("out of focus", 0, 2),
    ]
    assert [picture.name for picture in found.accepted] == ["file3.jpg", "file4.jpg"]


def test_each_source_has_its_shares() -> None:
    scores = np.r_[np.full(30, 0.1), np.full(10, 0.8), np.full(20, 0.1)]
    lesions = screened(scores, unlike=np.r_[np.full(50, 0.2), np.full(10, 0.9)])
    sources = ["one"] * 40 + ["two"] * 20
    pets = screened(np.full(5, 0.9))
    found = measure_refusal(lesions, pets, Resampler(alone(lesions), 50), sources)
    one, two = found.sources
    assert (one.source, one.photographs, one.refused.value, one.flagged.value) == ("one", 40, 0.25, 0)
    assert (two.source, two.lesions, two.refused.value, two.flagged.value) == ("two", 20, 0, 0.5)
    assert two.flagged == exact_binomial(10, 20)
    page = render("evaluation_refusal.html", refusal=found)
    assert "<td>two</td>" in page
    assert measure_refusal(lesions, pets, Resampler(alone(lesions), 50), ["one"] * 60).sources == ()


def test_photographs_of_one_lesion_count_as_one() -> None:
    lesions = screened(np.r_[np.full(30, 0.1), np.full(10, 0.8)])
    apart = measured(lesions, screened(np.full(5, 0.9)))
    together = measured(lesions, screened(np.full(5, 0.9)), groups=[str(i // 4) for i in range(40)])
    assert together.lesion_groups == 10
    assert together.gates[0].lesions.value == apart.gates[0].lesions.value == 0.25
    assert together.gates[0].lesions.high > apart.gates[0].lesions.high


def test_refusing_all_is_never_certain() -> None:
    found = measured(screened(np.full(30, 0.1)), screened(np.full(12, 0.9)))
    assert found.gates[0].non_lesions.value == found.at_share[0].non_lesions.value == 1
    assert found.gates[0].non_lesions.low == found.at_share[0].non_lesions.low == exact_binomial(12, 12).low
    assert found.accepted == ()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 20))
def test_any_pictures_give_shares_in_their_intervals(seed: int, lesions: int, non_lesions: int) -> None:
    rng = np.random.default_rng(seed)
    first = screened(np.round(rng.random(lesions), 1), rng.random(lesions) < 0.2)
    second = screened(np.round(rng.random(non_lesions), 1), rng.random(non_lesions) < 0.4)
    groups = [str(i // 2) for i in range(lesions)]
    found = measured(first, second, groups=groups, seed=seed)
    assert found == measured(first, second, groups=groups, seed=seed)
    for figure in [*(g.lesions for g in found.gates), *(g.non_lesions for g in found.gates)]:
        assert 0 <= figure.low <= figure.value <= figure.high <= 1
    for point in found.at_share:
        assert point.lesions_refused <= point.share * lesions + 1e-9
        assert 0 <= point.non_lesions.low <= point.non_lesions.value <= point.non_lesions.high <= 1
    refused = [point.non_lesions.value for point in found.at_share]
    assert refused == sorted(refused)
    assert found.gates[0].non_lesions_refused + len(found.accepted) == non_lesions
    assert json.loads(to_json(found))["non_lesions"] == non_lesions


def test_without_statistics_only_quality_refuses() -> None:
    nothing = np.full(10, np.nan)
    found = measured(screened(nothing), screened(nothing, np.arange(10) < 4))
    assert (found.roc_auc, found.at_share) == (None, ())
    assert [gate.non_lesions_refused for gate in found.gates] == [4, 4, 0, 0]
    assert "too few photographs" in render("evaluation_refusal.html", refusal=found)


def test_what_cannot_be_measured_is_refused() -> None:
    lesions = screened(np.full(4, 0.1))
    with pytest.raises(InputError, match="Received 3 groups for 4 photographs"):
        measure_refusal(lesions, lesions, Resampler(["a"] * 3))
    broken = Refusals(
        ("a.jpg",), np.array([np.nan]), np.array([np.nan]), np.array([False]), ("unreadable",), (("empty",),)
    )
    with pytest.raises(InputError, match="None of the 1 pictures without a lesion could be read"):
        measured(lesions, broken)
    with pytest.raises(InputError, match="None of the 1 photographs could be read"):
        measured(broken, lesions)


def test_files_are_screened_and_unreadable_ones_counted(tmp_path: Path) -> None:
    for name, number in (("lesions", 6), ("others", 3)):
        (tmp_path / name).mkdir()
        for i in range(number):
            pixels = lesion(60 + 10 * i, i) if name == "lesions" else np.full((160, 160, 3), 30 * i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{name}{i}.png")
    (tmp_path / "others" / "broken.jpg").write_bytes(b"nothing")
    bundle = tiny_bundle(tmp_path / "tiny", no_lesion=REFUSING)
    lesions, non_lesions = refusals([tmp_path / "lesions"], bundle), refusals([tmp_path / "others"], bundle)
    assert lesions.names == tuple(f"lesions{i}.png" for i in range(6))
    assert not lesions.poor.any()
    assert non_lesions.names[0] == "broken.jpg"
    assert np.isnan(non_lesions.no_lesion[0])
    assert non_lesions.readable.tolist() == [False, True, True, True]
    assert non_lesions.poor.tolist() == [False, True, True, True]
    found = measured(lesions, non_lesions)
    assert (found.lesions, found.non_lesions, found.unreadable) == (6, 3, 1)
    assert found.gates[1].non_lesions_refused == 3


def test_the_page_says_what_was_measured() -> None:
    rng = np.random.default_rng(0)
    found = measured(screened(rng.beta(2, 6, 90)), screened(rng.beta(3, 2, 30), rng.random(30) < 0.3, "pet"))
    page = render("evaluation_refusal.html", refusal=found)
    assert f"{found.gates[0].non_lesions_refused} of 30" in page
    assert all(picture.name in page for picture in found.accepted)
    assert "out of focus" in page
    assert render("evaluation_refusal.html", refusal=None).strip() == ""
