"""From screened photographs to thresholds: what is promised, what changes, and what never does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles import tiny_card
from dermsentry.adoption.fitting import (
    Screened,
    carried_over,
    is_refused,
    propose,
    propose_unlabelled,
)
from dermsentry.adoption.prior_shift import estimate_prevalence, stated_prevalence
from dermsentry.adoption.results import Counts
from dermsentry.errors import InputError
from dermsentry.model import Adopted, NoLesion, OutOfDistribution
from dermsentry.stats.calibration import platt_scaled
from dermsentry.stats.prevalence import at_prevalence
from dermsentry.stats.resampling import Resampler

NONE_LEFT_OUT = Counts(*[0] * 12)
CARD = tiny_card()


def site(melanomas=80, others=400, seed=0, refused=(), score=None, ood=np.nan) -> Screened:
    """Scores that overlap: melanomas beta(4, 2), others beta(1, 6)."""
    rng = np.random.default_rng(seed)
    number = melanomas + others
    own = np.r_[rng.beta(4, 2, melanomas), rng.beta(1, 6, others)] if score is None else np.asarray(score)
    return Screened(
        melanoma=np.round(own, 6),
        labels=["MEL"] * melanomas + ["NV"] * others,
        groups=[f"lesion {i}" for i in range(number)],
        refused=np.isin(np.arange(number), list(refused)),
        no_lesion=np.full(number, np.nan),
        out_of_distribution=np.full(number, ood),
    )


def adopted(photographs: Screened, card=CARD, **options):
    options = {"sensitivity": 0.95, "confidence": 0.95, "resamples": 50} | options
    return propose(photographs, card, NONE_LEFT_OUT, **options)


def test_a_promise_is_made_where_melanomas_suffice():
    found = adopted(site())
    assert found.promised
    assert found.refusal == ""
    assert (found.demand.melanomas, found.demand.may_be_missed) == (80, 0)
    assert found.counts.melanomas == 80
    assert found.counts.others == 400
    assert found.alert.found == 80
    assert found.before is not None
    assert found.after is not None
    assert found.refer.now <= found.alert.now


def test_nothing_is_promised_on_too_few():
    found = adopted(site(melanomas=58))
    assert not found.promised
    assert found.demand.missing == 1
    assert "1 more needed" in found.refusal
    assert found.alert is None
    assert found.after is None
    assert found.before.sensitivity is not None


def test_melanomas_of_one_patient_count_once():
    own = site()
    together = replace(own, groups=["patient 1"] * 22 + list(own.groups[22:]))
    found = adopted(together)
    assert found.demand.melanomas == 59
    assert found.promised
    assert not adopted(replace(own, groups=["patient 1"] * 23 + list(own.groups[23:]))).promised


def test_photographs_that_the_model_refuses_are_in_no_promise():
    found = adopted(site(refused=range(21)))
    assert found.demand.melanomas == 59
    assert (found.counts.refused, found.counts.refused_melanomas) == (21, 21)
    assert any("21 melanomas among them" in sentence for sentence in found.warnings)


def test_labels_that_leave_it_open_are_left_out_and_told():
    own = site()
    found = adopted(replace(own, labels=["MEL|NV", "", *own.labels[2:]]))
    assert found.counts.unknown == 2
    assert found.demand.melanomas == 78
    assert any("2 photographs have no diagnosis" in sentence for sentence in found.warnings)


def test_only_melanomas_are_refused():
    with pytest.raises(InputError, match="no other lesion"):
        adopted(site(others=0))


def test_the_order_of_photographs_stays_and_the_threshold_is_the_melanomas():
    own = site(seed=3)
    found = adopted(own)
    scaled = platt_scaled(own.melanoma, found.slope, found.intercept)
    assert (np.argsort(own.melanoma, kind="stable") == np.argsort(scaled, kind="stable")).all()
    lowest = own.melanoma[:80].min()
    assert (np.round(scaled, 6) >= found.alert.now)[own.melanoma >= lowest].all()
    below = own.melanoma[own.melanoma < lowest].max()
    assert round(float(platt_scaled(below, found.slope, found.intercept)), 6) < found.alert.now


def test_rarer_alerts_are_told():
    strict = tiny_card(thresholds={n: replace(t, value=0.01) for n, t in CARD.thresholds.items()})
    found = adopted(site(), strict)
    assert found.alert.rarer
    assert any("Alerts become rarer" in sentence for sentence in found.warnings)
    assert not adopted(site(), CARD).alert.rarer


def cautious(alert=0.5, refer=0.2):
    """A card whose referral aims at 99 %, which 80 melanomas cannot prove."""
    cuts = CARD.thresholds
    refers = replace(cuts["refer"], value=refer, sensitivity_target=0.99)
    return tiny_card(thresholds={"alert": replace(cuts["alert"], value=alert), "refer": refers})


def test_referral_moves_up_only_with_proof():
    few, many = (adopted(site(melanomas=m), cautious(refer=1e-4)) for m in (80, 320))
    assert few.refer.reason == "kept"
    assert few.refer.now <= carried_over(1e-4, few.slope, few.intercept)
    assert many.refer.reason == "promised"
    assert many.refer.rarer
    assert any("Referrals become rarer" in sentence for sentence in many.warnings)


def test_a_missed_melanoma_lowers_referral():
    found = adopted(site(), cautious(0.95, 0.9))
    assert found.refer.reason == "lowered"
    assert found.refer.found == 80


def test_calibration_is_left_where_it_would_be_worse():
    """Probabilities that mean what they say."""
    rng = np.random.default_rng(1)
    score = rng.beta(0.6, 1.2, 500)
    truth = rng.random(500) < score
    order = np.argsort(~truth, kind="stable")
    found = adopted(site(int(truth.sum()), int((~truth).sum()), score=score[order]))
    stated = found.after.calibration_error.value
    assert stated <= found.before.calibration_error.value + 0.01


def test_calibration_mends_another_prevalence():
    rng = np.random.default_rng(2)
    own = site(60, 2000, score=np.r_[rng.beta(4, 2, 60), rng.beta(3, 4, 2000)])
    found = adopted(own)
    assert found.before.calibration_error.value > 0.3
    assert found.after.calibration_error.value < 0.03
    assert found.intercept < 0


def test_figures_after_are_of_photographs_that_chose_nothing():
    """Of 59 melanomas that all must be found, each is the lowest of some fold's rest at times."""
    found = [adopted(site(59, 200, seed=seed), resamples=2).after.sensitivity.value for seed in range(12)]
    assert min(found) < 1
    assert np.mean(found) > 0.94


def test_a_prevalence_states_probabilities_and_alerts_for_it():
    found = adopted(site(), prevalence=0.02)
    assert found.prevalence == 0.02
    assert found.after.value.prevalence == 0.02
    own = adopted(site())
    assert found.intercept < own.intercept
    assert found.alert.found == own.alert.found
    assert found.after.sensitivity == own.after.sensitivity
    with pytest.raises(InputError, match="prevalence of"):
        adopted(site(), prevalence=1.5)


@given(st.floats(1e-5, 0.999), st.floats(0.2, 5), st.floats(-5, 5), st.floats(0, 1))
def test_no_rounding_makes_an_alert_rarer(threshold, slope, intercept, probability):
    before = round(probability, 6) >= threshold
    after = round(float(platt_scaled(probability, slope, intercept)), 6) >= carried_over(
        threshold, slope, intercept
    )
    assert after or not before


def test_what_is_refused_whatever_its_probability():
    assert not is_refused("alert", 0.1, 0.2, ())
    assert not is_refused("routine", None, None, ())
    assert is_refused("alert", 0.1, 0.2, ("blurred",))
    assert is_refused("alert", 0.1, 0.6, ())
    assert is_refused("cannot-say", 0.9, 0.1, ())
    assert is_refused("unreadable", None, None, ())


def with_prior(**more):
    configuration = {"network": "tiny", "prior": {"MEL": 0.2}}
    return tiny_card(training={**CARD.training, "configuration": configuration}, **more)


def unlabelled(share: float, seed=0, ood=np.nan, number=3000) -> tuple[Screened, np.ndarray]:
    """Probabilities as they are stated for 20 % melanomas, where `share` are."""
    rng = np.random.default_rng(seed)
    truth = rng.random(number) < share
    x = np.where(truth, rng.normal(1, 1, number), rng.normal(-1, 1, number))
    own = 1 / (1 + np.exp(-(2 * x + np.log(0.2 / 0.8))))
    shown = site(0, number, score=own, ood=ood)
    return replace(shown, labels=[""] * number), truth


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_the_share_of_melanomas_is_found_without_labels(share):
    own, truth = unlabelled(share)
    found = estimate_prevalence(own.melanoma, 0.2, Resampler(own.groups, 50))
    assert found.low <= truth.mean() <= found.high
    assert found.value == pytest.approx(share, abs=0.03)


def test_the_estimate_is_where_the_shifted_probabilities_mean_it():
    own, _ = unlabelled(0.1)
    found = estimate_prevalence(own.melanoma, 0.2, Resampler(own.groups, 2)).value
    assert at_prevalence(own.melanoma, 0.2, found).mean() == pytest.approx(found, abs=1e-4)


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_without_labels_no_alert_becomes_rarer(share):
    own, _ = unlabelled(share)
    card = with_prior()
    found = propose_unlabelled(own, card, NONE_LEFT_OUT)
    assert found.demand is None
    assert not found.promised
    assert found.intercept != 0
    scaled = np.round(platt_scaled(own.melanoma, found.slope, found.intercept), 6)
    for name, cut in (("alert", found.alert), ("refer", found.refer)):
        before, after = own.melanoma >= card.thresholds[name].value, scaled >= cut.now
        assert (after | ~before).all()
        assert (after ^ before).mean() < 0.001
    assert any("estimated from the probabilities alone" in sentence for sentence in found.warnings)


def test_without_labels_photographs_unlike_the_training_images_change_nothing():
    card = with_prior(out_of_distribution=OutOfDistribution(300, 0.01))
    own, _ = unlabelled(0.1)
    half = np.where(np.arange(3000) < 300, 0.9, 0.1)
    unlike = replace(own, out_of_distribution=half, refused=half > 0.5)
    found = propose_unlabelled(unlike, card, NONE_LEFT_OUT)
    assert "unlike those that the model learned from" in found.refusal
    assert found.alert is None
    assert (found.slope, found.intercept) == (1.0, 0.0)
    assert (
        propose_unlabelled(replace(own, out_of_distribution=np.full(3000, 0.1)), card, NONE_LEFT_OUT).refusal
        == ""
    )


def test_photographs_without_a_lesion_are_unlike_those_learned_from_too():
    card = with_prior(no_lesion=NoLesion(300, 0.01, 750, 0.98))
    own, _ = unlabelled(0.1)
    half = np.where(np.arange(3000) < 300, 0.9, 0.1)
    found = propose_unlabelled(replace(own, no_lesion=half, refused=half > 0.5), card, NONE_LEFT_OUT)
    assert "of them as no lesion, and 1.0 % of the images held out" in found.refusal
    assert found.counts.out_of_distribution == 300


def test_with_labels_photographs_unlike_the_training_images_are_told():
    card = tiny_card(out_of_distribution=OutOfDistribution(300, 0.01))
    found = adopted(site(ood=0.9), card)
    assert "unlike those" in found.warnings[0]
    assert found.promised


def test_a_card_that_says_no_prevalence_needs_labels():
    with pytest.raises(InputError, match="--labels"):
        propose_unlabelled(unlabelled(0.1)[0], CARD, NONE_LEFT_OUT)


def test_the_share_that_a_card_states_its_probabilities_for():
    assert stated_prevalence(CARD) is None
    assert stated_prevalence(with_prior()) == 0.2
    counts = {"calibration": {"MEL": 1, "NV": 9}, "train": {"MEL": 5}}
    by_counts = tiny_card(training={**CARD.training, "photographs_by_diagnosis": counts})
    assert stated_prevalence(by_counts) == pytest.approx(0.1)
    site_bundle = Adopted("0" * 64, 1.0, 0.0, None, {"prevalence": 0.03})
    assert stated_prevalence(with_prior(adoption=site_bundle)) == 0.03
