from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as theirs

from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError
from dermsentry.evaluation.subgroups.attributes import read_attributes
from dermsentry.evaluation.subgroups.comparison import FEW, MANY, hard_comparison, subgroups
from dermsentry.files import to_json
from dermsentry.reporting import render
from dermsentry.stats.intervals import Estimate, exact_binomial
from dermsentry.stats.resampling import Resampler

UNIT = {"unit": "lesion"}

MEL = CODES.index("MEL")


def drawn(n=400, seed=0, skill=1.2):
    """Labels, probabilities that know them a little, and groups of one or two photographs."""
    rng = np.random.default_rng(seed)
    labels = [("MEL", "NV", "BCC", "NV")[i] for i in rng.integers(0, 4, n)]
    logits = rng.normal(size=(n, 9))
    for row, label in zip(logits, labels, strict=True):
        row[CODES.index(label)] += skill
    raised = np.exp(logits)
    return labels, raised / raised.sum(axis=1, keepdims=True), [f"lesion {i // 2}" for i in range(n)]


def table(n, **columns):
    return pd.DataFrame({"path": [f"{i}.jpg" for i in range(n)], **columns})


def of(attributes, name):
    return next(attribute for attribute in attributes if attribute.name == name)


def compared(frame, labels, probability, groups, *, resamples=1000, seed=0, **given):
    return subgroups(frame, labels, probability, Resampler(groups, resamples, seed), **given)


def values(attribute):
    return [group.value for group in attribute.groups]


def sexes(n, seed=1):
    return [("female", "male", "")[i] for i in np.random.default_rng(seed).integers(0, 3, n)]


def test_figures_agree_with_scikit_learn():
    labels, probability, groups = drawn()
    sex = np.array(sexes(400))
    (attribute,) = compared(table(400, sex=sex), labels, probability, groups, threshold=0.25, resamples=50)
    truth, score = np.array(labels) == "MEL", probability[:, MEL]

    def figures(here):
        return (
            theirs.roc_auc_score(truth[here], score[here]),
            theirs.recall_score(truth[here], score[here] >= 0.25),
            theirs.recall_score(~truth[here], score[here] < 0.25),
        )

    assert values(attribute) == ["female", "male"]
    for group, other in zip(attribute.groups, ("male", "female"), strict=True):
        own, others = figures(sex == group.value), figures(sex == other)
        found = (group.roc_auc, group.sensitivity, group.specificity)
        differences = (
            group.difference_roc_auc,
            group.difference_sensitivity,
            group.difference_specificity,
        )
        for figure, difference, mine, rest in zip(found, differences, own, others, strict=True):
            assert figure.value == pytest.approx(mine, abs=1e-12)
            assert difference.value == pytest.approx(mine - rest, abs=1e-12)
            assert figure.low <= figure.value <= figure.high
            assert difference.low <= difference.value <= difference.high
        assert group.photographs == (sex == group.value).sum()
        assert group.melanomas == (truth & (sex == group.value)).sum()
        assert group.enough


def test_a_difference_is_about_that_of_resamples_by_hand():
    labels, probability, groups = drawn()
    sex = np.array(sexes(400))
    (attribute,) = compared(
        table(400, sex=sex), labels, probability, groups, threshold=0.25, resamples=120, seed=5
    )
    truth, score = np.array(labels) == "MEL", probability[:, MEL]
    names, index = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(5)
    draws = rng.integers(0, len(names), (120, len(names)))
    areas, shares = [], []
    for draw in draws:
        times = np.bincount(draw, minlength=len(names))[index]
        here = np.repeat(np.arange(400), times)
        parts = [here[sex[here] == one] for one in ("female", "male")]
        area = [theirs.roc_auc_score(truth[part], score[part]) for part in parts]
        share = [(score[part] >= 0.25)[truth[part]].mean() for part in parts]
        areas.append(area[0] - area[1])
        shares.append(share[0] - share[1])
    women = attribute.groups[0]
    low, high = np.percentile(areas, [2.5, 97.5])
    assert women.difference_roc_auc.low == pytest.approx(low, abs=0.03)
    assert women.difference_roc_auc.high == pytest.approx(high, abs=0.03)
    low, high = np.percentile(shares, [2.5, 97.5])
    assert women.difference_sensitivity.low <= low
    assert women.difference_sensitivity.high >= high
    assert women.difference_sensitivity.high - women.difference_sensitivity.low < 1.4 * (high - low)
    men = attribute.groups[1]
    assert men.difference_roc_auc.low == pytest.approx(-women.difference_roc_auc.high)


def test_a_model_that_fails_one_subgroup_is_seen():
    labels, probability, groups = drawn(600, skill=3)
    sex = np.array(["female", "male"] * 300)
    groups = [str(i) for i in range(600)]
    hidden = np.flatnonzero((sex == "male") & (np.array(labels) == "MEL"))
    probability[hidden, MEL] = 0.0
    probability /= probability.sum(axis=1, keepdims=True)
    (attribute,) = compared(table(600, sex=sex), labels, probability, groups, threshold=0.25, resamples=200)
    women, men = attribute.groups
    assert men.sensitivity.value == 0
    assert men.difference_sensitivity.high < -0.5
    assert women.difference_sensitivity.low > 0.5
    assert women.difference_specificity.low < 0 < women.difference_specificity.high


def test_all_found_in_both_is_no_certain_equality():
    truth = ["MEL", "NV"] * 40
    probability = np.full((80, 9), 0.05)
    probability[::2, MEL], probability[1::2, CODES.index("NV")] = 0.6, 0.6
    sex = ["female"] * 40 + ["male"] * 40
    (attribute,) = compared(
        table(80, sex=sex), truth, probability, [str(i) for i in range(80)], threshold=0.5, resamples=50
    )
    difference = attribute.groups[0].difference_sensitivity
    assert difference.value == 0
    bound = exact_binomial(20, 20).low
    assert (difference.low, difference.high) == pytest.approx((bound - 1, 1 - bound))


def test_too_few_lesions_state_nothing():
    n = 60
    labels = ["MEL"] * (FEW - 1) + ["NV"] * (FEW - 1) + ["MEL"] * 20 + ["NV"] * 22
    sex = ["female"] * (2 * FEW - 2) + ["male"] * 42
    _, probability, _ = drawn(n)
    alone = [str(i) for i in range(n)]
    (attribute,) = compared(table(n, sex=sex), labels, probability, alone, threshold=0.2, resamples=20)
    women, men = attribute.groups
    assert not women.enough
    assert (women.roc_auc, women.sensitivity, women.specificity) == (None, None, None)
    assert men.enough
    assert men.sensitivity is not None
    assert men.difference_sensitivity is None  # there is nothing to compare it with
    # Many photographs of few lesions are few.
    pairs = [str(i // 4) for i in range(n)]
    (attribute,) = compared(table(n, sex=sex), labels, probability, pairs, threshold=0.2, resamples=20)
    assert attribute.groups[1].melanomas == 20
    assert attribute.groups[1].melanoma_groups < FEW
    assert attribute.groups[1].sensitivity is None


def test_what_is_said_of_the_melanomas_alone():
    n = 40
    labels = ["MEL"] * 18 + ["NV"] * 22
    sex = ["female"] * 2 + ["male"] * 16 + ["female"] * 11 + ["male"] * 11
    _, probability, _ = drawn(n)
    (attribute,) = compared(
        table(n, sex=sex), labels, probability, [str(i) for i in range(n)], threshold=0.2, resamples=20
    )
    women = attribute.groups[0]
    assert women.sensitivity is None
    assert women.roc_auc is None
    assert women.specificity is not None
    assert women.difference_specificity is not None


def test_the_words_of_two_archives_are_joined():
    labels, probability, groups = drawn(12)
    frame = table(
        12,
        age=["29", "30.0", "44", "45", "75", "unknown", "", "0", "85", "-3", "about 50", "60"],
        sex=["M", "male", "Female", "f", "unknown", "", "male", "male", "male", "male", "male", "male"],
        site=["back", "anterior torso", "face", "head/neck", "scalp", "unknown", "", "foot", "acral", "trunk",
              "Left Knee", "hand"],
        skin_type=["1", "II", "3.0", "type IV", "FST 5", "vi", "", "unknown", "7", "2", "I", "0"],
        source=["a", "a", "b", "b", "", "a", "a", "a", "a", "a", "a", "a"],
    )  # fmt: skip
    found = compared(frame, labels, probability, groups, threshold=0.2, resamples=10)
    counts = {a.name: {g.value: g.photographs for g in a.groups} for a in found}
    assert counts == {
        "age": {"under 30": 2, "30–44": 2, "45–59": 1, "60–74": 1, "75 and over": 2},
        "sex": {"female": 2, "male": 8},
        "site": {
            "head and neck": 3,
            "torso": 3,
            "upper extremity": 1,
            "lower extremity": 1,
            "palms and soles": 1,
            "left knee": 1,
        },
        "source": {"a": 9, "b": 2},
        "skin type": {"I": 2, "II": 2, "III": 1, "IV": 1, "V": 1, "VI": 1},
    }
    assert "Unknown for 4 of 12 photographs" in of(found, "age").note


def test_skin_tone_comes_with_its_weakness():
    labels, probability, groups = drawn(6)
    found = compared(
        table(6),
        labels,
        probability,
        groups,
        threshold=0.2,
        resamples=10,
        skin_tone=[80, 45, 20, -50, None, 60],
    )
    (tone,) = found
    assert values(tone) == ["very light", "light", "tan", "dark"]
    assert "not a measured skin type" in tone.note
    assert "Unknown for 1 of 6" in tone.note


def test_the_rarest_of_many_values_are_taken_together():
    n = 200
    labels, probability, groups = drawn(n)
    source = [f"clinic {min(i // 4, 10) if i < 100 else i}" for i in range(n)]
    (attribute,) = compared(table(n, source=source), labels, probability, groups, threshold=0.2, resamples=10)
    assert len(attribute.groups) == MANY
    assert attribute.groups[-1].value == "100 others"
    assert sum(group.photographs for group in attribute.groups) == n


def test_nothing_to_part_by():
    labels, probability, groups = drawn(20)
    one = table(20, sex=["male"] * 20, age=[""] * 20)
    assert compared(one, labels, probability, groups, threshold=0.2) == ()
    unknown = table(20, sex=["male", "female"] * 10)
    assert compared(unknown, [""] * 20, probability, groups, threshold=0.2) == ()


def test_what_may_be_a_melanoma_counts_nowhere():
    labels, probability, groups = drawn(40)
    labels[:4] = ["MEL|NV", "", "MEL|NV", "PBK|SK"]
    sex = ["male", "female"] * 20
    (attribute,) = compared(table(40, sex=sex), labels, probability, groups, threshold=0.2, resamples=10)
    assert sum(group.photographs for group in attribute.groups) == 37


def test_without_a_threshold_the_most_probable_class_decides():
    labels, probability, groups = drawn(300)
    sex = ["male", "female", "male"] * 100
    (attribute,) = compared(table(300, sex=sex), labels, probability, groups, threshold=None, resamples=10)
    here = np.array(sex) == "female"
    called = probability.argmax(axis=1)[here] == MEL
    truth = np.array(labels)[here] == "MEL"
    assert attribute.groups[0].sensitivity.value == pytest.approx(theirs.recall_score(truth, called))


@given(st.integers(0, 10_000), st.integers(4, 120))
@settings(max_examples=25, deadline=None)
def test_any_collection_is_parted_without_a_crash(seed, n):
    labels, probability, groups = drawn(n, seed)
    rng = np.random.default_rng(seed)
    frame = table(n, sex=sexes(n, seed), age=[str(a) for a in rng.integers(0, 100, n)])
    tones = [None if a < -60 else float(a) for a in rng.uniform(-90, 90, n)]
    found = compared(frame, labels, probability, groups, threshold=0.2, skin_tone=tones, resamples=20)
    text = to_json(found)
    assert "NaN" not in text
    for attribute in found:
        assert len(attribute.groups) > 1
        for group in attribute.groups:
            assert group.photographs > 0
            assert group.enough == (group.roc_auc is not None)
            assert group.enough == (group.melanoma_groups >= FEW and group.other_groups >= FEW)


def test_the_same_seed_gives_the_same_figures():
    labels, probability, groups = drawn(200)
    frame = table(200, sex=sexes(200))
    one, same, other = (
        compared(frame, labels, probability, groups, threshold=0.2, seed=s, resamples=40) for s in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_wrong_lengths_are_refused():
    labels, probability, groups = drawn(4)
    with pytest.raises(InputError, match="3 rows, 4 labels, 4 groups"):
        compared(table(3), labels, probability, groups, threshold=0.2)
    with pytest.raises(InputError, match=r"shape \(4, 8\)"):
        compared(table(4), labels, probability[:, :8], groups, threshold=0.2)
    with pytest.raises(InputError, match="2 skin tones for 4 photographs"):
        compared(table(4), labels, probability, groups, threshold=0.2, skin_tone=[1.0, None])


def test_the_section_of_the_page():
    labels, probability, groups = drawn(300)
    frame = table(300, sex=sexes(300), site=["face"] * 5 + ["back"] * 295)
    found = compared(frame, labels, probability, groups, threshold=0.2, resamples=20)
    page = render("evaluation_subgroups.html", subgroups=found, hard=None, evaluation=UNIT)
    assert "By sex" in page
    assert "By site" in page
    assert "too few" in page
    assert "−" in page
    assert render("evaluation_subgroups.html", subgroups=(), hard=None).strip() == ""


def test_pairs_of_skin_types_and_ways_of_diagnosis() -> None:
    columns = {
        "skin_type": ["12", "34", "56", "3"],
        "diagnosis_confirm_type": ["histopathology", "", "unknown", "histopathology"],
        "image_type": ["dermoscopic", "clinical: close-up", "dermoscopic", "dermoscopic"],
    }
    read = {name: found for name, found, _ in read_attributes(pd.DataFrame(columns), None)}
    assert read["skin type"] == ["I and II", "III and IV", "V and VI", "III"]
    assert read["basis of diagnosis"] == ["histopathology", "", "", "histopathology"]
    assert read["image type"] == columns["image_type"]


def test_the_worst_subgroup_is_named_beside_the_mean():
    labels, probability, groups = drawn(600, skill=2)
    age = np.array(["20", "40", "70"] * 200)
    probability[age == "70"] = probability[age == "70"][::-1]  # one another's
    (attribute,) = compared(table(600, age=age), labels, probability, groups, threshold=0.2, resamples=50)
    assert attribute.worst == "60–74"
    areas = [group.roc_auc for group in attribute.groups]
    assert attribute.mean.value == pytest.approx(np.mean([area.value for area in areas]))
    assert max(area.high - area.low for area in areas) > attribute.mean.high - attribute.mean.low
    plain = json.loads(to_json(attribute))
    assert (plain["worst"], plain["mean"]["value"]) == ("60–74", attribute.mean.value)


def test_melanoma_against_nevi_proven_by_histology():
    labels, probability, groups = drawn(400)
    ways = np.array(["histo", "histopathology", "serial imaging showing no change", ""] * 100)
    rows = table(400, diagnosis_confirm_type=ways)
    resampler = Resampler(groups, 50)
    found = hard_comparison(rows, labels, probability, resampler, threshold=0.2)
    truth, score = np.array(labels) == "MEL", probability[:, MEL]
    nevi = (np.array(labels) == "NV") & np.isin(ways, ["histo", "histopathology"])
    here = truth | nevi
    assert (found.melanomas, found.nevi) == (truth.sum(), nevi.sum())
    assert found.roc_auc.value == pytest.approx(theirs.roc_auc_score(truth[here], score[here]))
    assert found.specificity.value == pytest.approx((score[nevi] < 0.2).mean())
    assert hard_comparison(table(400), labels, probability, resampler, threshold=0.2) is None
    few = hard_comparison(rows[:12], labels[:12], probability[:12], Resampler(groups[:12], 9), threshold=0.2)
    assert few is not None
    assert (few.roc_auc, few.specificity) == (None, None)


def test_what_stays_significant_among_many_subgroups_is_marked():
    """An interval that just excludes 0 is expected of one in twenty; one that is far from 0 is not."""
    labels, probability, groups = drawn(800)
    site = [f"site {i // 2 % 8}" for i in range(800)]
    (attribute,) = compared(table(800, unit=site), labels, probability, groups, threshold=0.25, by="unit")
    assert len(attribute.groups) == 8
    none, just, far = Estimate(0.0, -0.1, 0.1), Estimate(0.1, 0.01, 0.19), Estimate(-0.2, -0.3, -0.1)
    apart = [none, just, none, far, none, none, none, None]
    attribute = replace(
        attribute,
        groups=tuple(
            replace(group, difference_roc_auc=one, difference_sensitivity=none, difference_specificity=just)
            for group, one in zip(attribute.groups, apart, strict=True)
        ),
    )
    assert attribute.beyond_chance == {"roc_auc": ("site 3",), "sensitivity": (), "specificity": ()}
    page = render("evaluation_subgroups.html", subgroups=[attribute], hard=None, evaluation=UNIT)
    assert page.count('<small class="warn">') == 1
