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
from dermsentry.screening.triage import FAMILIAR, UNFAMILIAR
from dermsentry.stats.intervals import exact_binomial


def screened(familiarity: np.ndarray, poor: np.ndarray | None = None, name: str = "file") -> Refusals:
    """What screening would make of pictures so familiar, all below the alert threshold."""
    bad = np.zeros(len(familiarity), dtype=bool) if poor is None else poor
    reasons = [
        ((BLURRED,) if is_poor else ()) + ((UNFAMILIAR,) if known < FAMILIAR else ())
        for known, is_poor in zip(familiarity, bad, strict=True)
    ]
    return Refusals(
        names=tuple(f"{name}{i}.jpg" for i in range(len(familiarity))),
        familiarity=np.asarray(familiarity, dtype=np.float64),
        poor=bad,
        tiers=tuple("cannot-say" if why else "routine" for why in reasons),
        reasons=tuple(why or ("melanoma 1 %",) for why in reasons),
    )


def alone(known: Refusals) -> list[str]:
    return [str(i) for i in range(len(known.names))]


def measured(known: Refusals, strange: Refusals, **given: object):
    return measure_refusal(known, strange, given.pop("groups", alone(known)), resamples=200, **given)  # type: ignore[arg-type]


def test_figures_against_scikit_learn_and_by_hand() -> None:
    rng = np.random.default_rng(0)
    known, strange = screened(rng.beta(6, 2, 200)), screened(rng.beta(2, 4, 80), name="pet")
    found = measured(known, strange)
    truth = np.r_[np.ones(200), np.zeros(80)]
    expected = roc_auc_score(truth, np.r_[known.familiarity, strange.familiarity])
    assert found.roc_auc.value == pytest.approx(expected, abs=1e-12)
    for share, point in zip(SHARES, found.at_share, strict=True):
        refused = round(share * 200)
        limit = np.sort(known.familiarity)[refused]
        assert (point.share, point.known_refused) == (share, refused)
        assert point.limit == limit
        assert point.strange.value == (strange.familiarity < limit).mean()
        assert point.strange_refused == (strange.familiarity < limit).sum()
    gate = found.gates[0]
    refused = int((strange.familiarity < FAMILIAR).sum())
    assert gate.strange == exact_binomial(refused, 80)
    assert gate.known == exact_binomial(int((known.familiarity < FAMILIAR).sum()), 200)
    assert {picture.name for picture in found.accepted} == {
        name for name, own in zip(strange.names, strange.familiarity, strict=True) if own >= FAMILIAR
    }


def test_each_gate_is_told_apart() -> None:
    strange = screened(np.array([0.1, 0.1, 0.9, 0.9, 0.8]), np.array([True, False, True, False, False]))
    found = measured(screened(np.full(20, 0.9)), strange)
    counts = {gate.name: gate.strange_refused for gate in found.gates}
    assert counts == {"screening as it is": 3, "by quality": 2, "by familiarity": 2}
    assert [(r.words, r.known, r.strange) for r in found.reasons] == [
        ("out of focus", 0, 2),
        ("unlike anything the model learned from", 0, 2),
    ]
    assert [picture.name for picture in found.accepted] == ["file3.jpg", "file4.jpg"]


def test_photographs_of_one_lesion_count_as_one() -> None:
    known = screened(np.r_[np.full(30, 0.9), np.full(10, 0.2)])
    apart = measured(known, screened(np.full(5, 0.1)))
    together = measured(known, screened(np.full(5, 0.1)), groups=[str(i // 4) for i in range(40)])
    assert together.known_groups == 10
    assert together.gates[0].known.value == apart.gates[0].known.value == 0.25
    assert together.gates[0].known.high > apart.gates[0].known.high


def test_refusing_all_is_never_certain() -> None:
    found = measured(screened(np.full(30, 0.9)), screened(np.full(12, 0.1)))
    assert found.gates[0].strange.value == found.at_share[0].strange.value == 1
    assert found.gates[0].strange.low == found.at_share[0].strange.low == exact_binomial(12, 12).low
    assert found.accepted == ()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 20))
def test_any_pictures_give_shares_in_their_intervals(seed: int, known: int, strange: int) -> None:
    rng = np.random.default_rng(seed)
    first = screened(np.round(rng.random(known), 1), rng.random(known) < 0.2)
    second = screened(np.round(rng.random(strange), 1), rng.random(strange) < 0.4)
    groups = [str(i // 2) for i in range(known)]
    found = measured(first, second, groups=groups, seed=seed)
    assert found == measured(first, second, groups=groups, seed=seed)
    for figure in [*(g.known for g in found.gates), *(g.strange for g in found.gates)]:
        assert 0 <= figure.low <= figure.value <= figure.high <= 1
    for point in found.at_share:
        assert point.known_refused <= point.share * known + 1e-9
        assert 0 <= point.strange.low <= point.strange.value <= point.strange.high <= 1
    refused = [point.strange.value for point in found.at_share]
    assert refused == sorted(refused)
    assert found.gates[0].strange_refused + len(found.accepted) == strange
    assert json.loads(to_json(found.as_dict()))["strange"] == strange


def test_without_statistics_only_quality_refuses() -> None:
    nothing = np.full(10, np.nan)
    found = measured(screened(nothing), screened(nothing, np.arange(10) < 4))
    assert (found.roc_auc, found.at_share) == (None, ())
    assert [gate.strange_refused for gate in found.gates] == [4, 4, 0]
    assert "too few photographs" in render("evaluation_refusal.html", refusal=found)


def test_what_cannot_be_measured_is_refused() -> None:
    known = screened(np.full(4, 0.9))
    with pytest.raises(InputError, match="Received 3 groups for 4 photographs"):
        measure_refusal(known, known, ["a"] * 3)
    broken = Refusals(("a.jpg",), np.array([np.nan]), np.array([False]), ("unreadable",), (("empty",),))
    with pytest.raises(InputError, match="None of the 1 pictures without a lesion could be read"):
        measured(known, broken)
    with pytest.raises(InputError, match="None of the 1 photographs could be read"):
        measured(broken, known)


def test_files_are_screened_and_unreadable_ones_counted(tmp_path: Path) -> None:
    for name, number in (("lesions", 6), ("others", 3)):
        (tmp_path / name).mkdir()
        for i in range(number):
            pixels = lesion(60 + 10 * i, i) if name == "lesions" else np.full((160, 160, 3), 30 * i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{name}{i}.png")
    (tmp_path / "others" / "broken.jpg").write_bytes(b"nothing")
    bundle = tiny_bundle(tmp_path / "tiny", familiarity=REFUSING)
    known, strange = refusals([tmp_path / "lesions"], bundle), refusals([tmp_path / "others"], bundle)
    assert known.names == tuple(f"lesions{i}.png" for i in range(6))
    assert not known.poor.any()
    assert strange.names[0] == "broken.jpg"
    assert np.isnan(strange.familiarity[0])
    assert strange.readable.tolist() == [False, True, True, True]
    assert strange.poor.tolist() == [False, True, True, True]
    found = measured(known, strange)
    assert (found.known, found.strange, found.unreadable) == (6, 3, 1)
    assert found.gates[1].strange_refused == 3


def test_the_page_says_what_was_measured() -> None:
    rng = np.random.default_rng(0)
    found = measured(screened(rng.beta(6, 2, 90)), screened(rng.beta(2, 3, 30), rng.random(30) < 0.3, "pet"))
    page = render("evaluation_refusal.html", refusal=found)
    assert f"Of 30 pictures that show no lesion, {found.gates[0].strange_refused} get no opinion" in page
    assert all(picture.name in page for picture in found.accepted)
    assert "out of focus" in page
    assert render("evaluation_refusal.html", refusal=None).strip() == ""
