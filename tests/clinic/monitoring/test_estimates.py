from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import TypeAdapter
from sklearn.metrics import cohen_kappa_score

from dermsentry.clinic.monitoring.estimates import FEW, Measure, inverse, kappa, redraw, share
from dermsentry.diagnoses import CODES
from dermsentry.stats.intervals import Estimate, exact_binomial
from dermsentry.stats.resampling import Resampler


def test_a_share_counts_and_is_never_surer_than_its_patients() -> None:
    hit = np.array([True] * 16 + [False] * 4)
    among = np.array([True] * 16 + [False] * 4)
    found = share(hit, among, [f"p{i}" for i in range(20)], "nothing")
    exact = exact_binomial(16, 16)
    assert (found.value, found.high, found.count, found.of, found.patients) == (1.0, 1.0, 16, 16, 16)
    assert found.low == pytest.approx(exact.low)
    same_patient = share(hit, among, ["p"] * 20, "nothing")
    assert same_patient.patients == 1
    assert same_patient.low == pytest.approx(exact_binomial(1, 1).low)


def test_nothing_to_measure_and_too_little_say_so() -> None:
    none = share(np.zeros(3, bool), np.zeros(3, bool), ["a", "b", "c"], "no melanoma yet")
    assert none == Measure(None, 0, 0, 0, "no melanoma yet")
    flags = np.ones(FEW, bool)
    patients = [f"p{i}" for i in range(FEW)]
    assert "too few" in share(flags[1:], flags[1:], patients[1:], "").remark
    assert share(flags, flags, patients, "").remark == ""


def test_patients_are_redrawn_as_an_evaluation_redraws_them() -> None:
    rng = np.random.default_rng(3)
    groups = [f"p{i}" for i in rng.integers(0, 60, 200)]
    hit = rng.random(200) < 0.4
    drawn = Resampler(groups, 4000).mean(hit).drawn
    names = sorted(set(groups))
    counts = np.array(
        [[sum(hit[j] for j, g in enumerate(groups) if g == n), groups.count(n)] for n in names], dtype=float
    )
    own = redraw(counts, resamples=4000)
    own_share = own[:, 0] / own[:, 1]
    assert own_share.mean() == pytest.approx(drawn.mean(), abs=0.005)
    for level in (2.5, 97.5):
        assert np.percentile(own_share, level) == pytest.approx(np.percentile(drawn, level), abs=0.01)


def test_kappa_is_scikit_learns() -> None:
    rng = np.random.default_rng(5)
    first = list(rng.choice(CODES, 300))
    second = [a if rng.random() < 0.6 else str(rng.choice(CODES)) for a in first]
    found = kappa(first, second, CODES, [f"p{i % 90}" for i in range(300)], "")
    assert found.value == pytest.approx(cohen_kappa_score(first, second))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high  # type: ignore[operator]
    assert (found.of, found.patients, found.remark) == (300, 90, "")
    assert found.count == sum(a == b for a, b in zip(first, second, strict=True))


def test_kappa_of_nobody_and_of_one_word_only_say_so() -> None:
    assert kappa([], [], CODES, [], "nobody").remark == "nobody"
    same = kappa(["NV"] * 5, ["NV"] * 5, CODES, list("abcde"), "")
    assert same.value is None
    assert same.remark == "not defined: both used a single diagnosis"
    one_way = kappa(["NV"] * 5, ["NV", "NV", "MEL", "NV", "BCC"], CODES, list("abcde"), "")
    assert (one_way.value, one_way.count, one_way.of) == (None, 3, 5)
    assert one_way.remark == "not defined: one of the two used a single diagnosis"


def test_no_interval_of_kappa_has_zero_width() -> None:
    rng = np.random.default_rng(8)
    for number in (2, 3, 5, 12, 80):
        for agreement in (0.0, 0.5, 0.9, 1.0):
            first = ["MEL", "NV", *rng.choice(["MEL", "NV", "BCC"], number - 2)]
            second = [a if rng.random() < agreement else "NV" if a != "NV" else "MEL" for a in first]
            for patients in (["p"] * number, [f"p{i}" for i in range(number)]):
                found = kappa(first, second, CODES, patients, "")
                if len(set(second)) == 1:
                    assert found.value is None
                    continue
                assert found.low is not None
                assert found.high is not None
                assert -1 <= found.low <= found.value <= found.high <= 1  # type: ignore[operator]
                assert found.low < found.high
    whole = kappa(["MEL", "NV"] * 8, ["MEL", "NV"] * 8, CODES, [f"p{i}" for i in range(16)], "")
    assert (whole.value, whole.high) == (1.0, 1.0)
    assert whole.low == pytest.approx(2 * exact_binomial(16, 16).low - 1)  # chance agreement is a half


def test_cases_needed_are_one_over_the_share_with_its_bounds_turned() -> None:
    flags = np.array([True] * 10 + [False] * 40)
    found = share(flags, np.ones(50, bool), [f"p{i}" for i in range(50)], "")
    needed = inverse(found, "none")
    assert needed.value == 5
    assert found.low is not None
    assert found.high is not None
    assert (needed.low, needed.high) == (1 / found.high, 1 / found.low)
    nothing = inverse(share(~np.ones(50, bool), np.ones(50, bool), ["p"] * 50, ""), "no melanoma")
    assert nothing.value is None
    assert nothing.remark
    assert needed.estimate is not None
    assert needed.high is not None


def test_the_api_gives_a_figures_three_numbers_beside_what_it_was_counted_from() -> None:
    written = TypeAdapter(Measure).dump_python(
        Measure(Estimate(2.0, 1.0, math.inf), 1, 2, 2, "few"), mode="json"
    )
    assert written == {
        "value": 2.0, "low": 1.0, "high": None, "count": 1, "of": 2, "patients": 2, "remark": "few"
    }  # fmt: skip
    assert TypeAdapter(Measure).dump_python(Measure(None, 0, 0, 0))["value"] is None
