"""From a site's screened photographs to a calibration, thresholds and what they promise; no file is opened.

Calibration keeps the order of photographs, so thresholds are chosen on the bundle's own scale and carried
over: what is promised of them does not depend on how well the calibration fits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermsentry.adoption.prior_shift import estimate_prevalence, stated_prevalence
from dermsentry.adoption.promise import Demand, demand, one_of_each, rank_of_threshold
from dermsentry.adoption.results import Adoption, Counts, Cut, Figures, PrevalenceEstimate
from dermsentry.diagnoses import is_melanoma
from dermsentry.errors import InputError
from dermsentry.model.card import CUTS, Card
from dermsentry.reporting.prose import render_block
from dermsentry.screening.triage import NO_LESION_LIMIT, OUT_OF_DISTRIBUTION_LIMIT
from dermsentry.stats.calibration import calibration_error, fit_platt, platt_scaled, reliability
from dermsentry.stats.intervals import exact_binomial
from dermsentry.stats.metrics import losses, recall_score, weights_at_prevalence
from dermsentry.stats.numbers import percent, percent_interval
from dermsentry.stats.prevalence import check_prevalence, clinical_value
from dermsentry.stats.resampling import Resampler, group_folds, group_index

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FOLDS = 10
RESAMPLES = 1000
_TOPICS = ("unreadable", "contradicted", "unknown", "refused", "rarer", "referred", "few", "estimated")
_STEP = 1e-6  # findings hold probabilities rounded to this


@dataclass(frozen=True, eq=False)
class Screened:
    """n photographs of a site as the bundle screened them, each once.

    Parameters
    ----------
    melanoma
        Probability of melanoma, (n,).
    labels
        The diagnosis of each; `""` where it is unknown.
    groups
        Photographs of one lesion or patient share one.
    refused
        Whether the model cannot assess it whatever its probability; see `is_refused`.
    no_lesion, out_of_distribution
        The scores, (n,), NaN where the model has none.
    """

    melanoma: Floats
    labels: Sequence[str]
    groups: Sequence[str]
    refused: Flags
    no_lesion: Floats
    out_of_distribution: Floats

    @property
    def unlike(self) -> int:
        """How many are no image of a lesion, or of one unlike those that the model learned from."""
        strange = self.no_lesion > NO_LESION_LIMIT
        return int((strange | (self.out_of_distribution > OUT_OF_DISTRIBUTION_LIMIT)).sum())


def is_refused(
    tier: str, no_lesion: float | None, out_of_distribution: float | None, problems: Iterable[str]
) -> bool:
    """Whether no probability would have made a finding `routine`: a person sees such a photograph anyway."""
    unlike = (no_lesion or 0) > NO_LESION_LIMIT or (out_of_distribution or 0) > OUT_OF_DISTRIBUTION_LIMIT
    return tier in ("cannot-say", "unreadable") or unlike or any(problems)


def known_scores(scores: Iterable[float | None]) -> Floats:
    """Scores (n,), NaN where there is none."""
    return np.array([np.nan if score is None else score for score in scores], dtype=np.float64)


def propose(
    photographs: Screened,
    card: Card,
    counts: Counts,
    *,
    sensitivity: float,
    confidence: float,
    prevalence: float | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Adoption:
    """What a bundle with this card becomes on labelled photographs, or why it becomes nothing.

    Parameters
    ----------
    photographs
        As the bundle screened them.
    card
        The bundle's.
    counts
        What is known of the photographs that were left out; the other counts are made here.
    sensitivity, confidence
        What is to be promised of the alerts.
    prevalence
        The share of melanomas that probabilities are to be stated for, above 0 and below 1; by default that
        of these photographs.
    resamples
        Bootstrap resamples, at least 2.
    seed
        Random seed of the folds and of the bootstrap.

    Raises
    ------
    InputError
        A share is none, or no photograph that is assessed shows another lesion than a melanoma.
    """
    asked = demand(0, sensitivity, confidence)
    if prevalence is not None:
        check_prevalence(prevalence)
    truth, told = _truth(photographs.labels)
    here = told & ~photographs.refused
    melanoma, score = truth[here], photographs.melanoma[here]
    groups = [group for group, used in zip(photographs.groups, here, strict=True) if used]
    counts = replace(
        counts,
        unknown=counts.unknown + int((~told).sum()),
        refused=int((told & photographs.refused).sum()),
        refused_melanomas=int((truth & photographs.refused).sum()),
        out_of_distribution=photographs.unlike,
        melanomas=int(melanoma.sum()),
        others=int((~melanoma).sum()),
        groups=len(set(groups)),
    )
    if not counts.others:
        raise InputError(
            f"Received {counts.melanomas} melanomas and no other lesion that the model assesses; expected "
            "both: photographs as they come in, each with its diagnosis."
        )
    index = group_index(groups)
    melanomas = one_of_each(score[melanoma], index[melanoma], seed)
    asked = demand(len(melanomas), sensitivity, confidence)
    counts = replace(counts, melanoma_groups=len(melanomas))
    share = counts.melanomas / len(score) if prevalence is None else prevalence
    resampler = Resampler(groups, resamples, seed)
    before = _figures(melanoma, score, score >= card.thresholds["alert"].value, resampler, share, prevalence)
    found = Adoption(
        parent=_parent(card),
        counts=counts,
        prevalence=share or None,
        demand=asked,
        slope=1.0,
        intercept=0.0,
        alert=None,
        refer=None,
        before=before,
        after=None,
        estimated=None,
        warnings=(),
        refusal=asked.refusal,
        seed=seed,
    )
    if asked.missing:
        return replace(found, warnings=tuple(_warnings(found, photographs, card)))
    scaled, alerts = _cross_fitted(score, melanoma, groups, index, asked, card, seed)
    slope, intercept = fit_platt(score, melanoma)
    if not _calibrates(melanoma, score, scaled, index):
        slope, intercept, scaled = 1.0, 0.0, score
    if prevalence is not None:  # as Bayes' rule has it
        moved = _logit(prevalence) - _logit(counts.melanomas / len(score))
        intercept, scaled = intercept + moved, platt_scaled(scaled, 1.0, moved)
    alert, refer = _thresholds(melanomas, score, card, asked)
    found = replace(
        found,
        slope=slope,
        intercept=intercept,
        alert=replace(alert, now=carried_over(alert.now, slope, intercept)),
        refer=replace(refer, now=carried_over(refer.now, slope, intercept)),
        after=_figures(melanoma, scaled, alerts, resampler, share, prevalence),
    )
    return replace(found, warnings=tuple(_warnings(found, photographs, card)))


def propose_unlabelled(photographs: Screened, card: Card, counts: Counts, *, seed: int = 0) -> Adoption:
    """What a bundle becomes on photographs of unknown diagnosis.

    Its probabilities are stated for the share of melanomas that the photographs suggest, and its alerts are
    those it had. Where the photographs are unlike those that it learned from, it becomes nothing.

    Raises
    ------
    InputError
        The model assesses none of them, or its card does not say which share of melanomas its probabilities
        are stated for.
    """
    prior = stated_prevalence(card)
    if prior is None:
        raise InputError(
            f"The card of {card.name} does not say which share of melanomas its probabilities are stated "
            "for; give the photographs' diagnoses with --labels."
        )
    here = ~photographs.refused
    if not here.any():
        raise InputError(f"The model assesses none of the {len(here)} photographs; see what screen says.")
    groups = [group for group, used in zip(photographs.groups, here, strict=True) if used]
    score = photographs.melanoma[here]
    estimate = estimate_prevalence(score, prior, Resampler(groups, RESAMPLES // 5, seed))
    unlike = out_of_distribution_here(photographs, card)
    intercept = _logit(estimate.value) - _logit(prior)
    cuts = []
    for name in CUTS:
        old = card.thresholds[name]
        now = carried_over(old.value, 1.0, intercept)
        cuts.append(Cut(old.value, now, old.sensitivity_target, "kept", False, 0, 0))
    found = Adoption(
        parent=_parent(card),
        counts=replace(
            counts,
            unknown=len(here),
            refused=int((~here).sum()),
            out_of_distribution=photographs.unlike,
            groups=len(set(groups)),
        ),
        prevalence=None if unlike else estimate.value,
        demand=None,
        slope=1.0,
        intercept=0.0 if unlike else intercept,
        alert=None if unlike else cuts[0],
        refer=None if unlike else cuts[1],
        before=None,
        after=None,
        estimated=PrevalenceEstimate(estimate, prior),
        warnings=(),
        refusal="",
        seed=seed,
    )
    warnings = tuple(_warnings(found, photographs, card))
    if unlike:
        refusal = f"{unlike} Give their diagnoses with --labels; without them nothing is adopted."
        return replace(found, refusal=refusal, warnings=tuple(one for one in warnings if one != unlike))
    return replace(found, warnings=warnings)


def choose_alert(melanomas: Floats, score: Floats, sensitivity: float, confidence: float) -> float:
    """The threshold that promises a sensitivity, of all photographs' scores (n,).

    `melanomas`: the score of each independent one, low to high, see `one_of_each`. Where they are too few,
    the threshold finds them all.
    """
    rank = max(1, rank_of_threshold(len(melanomas), sensitivity, confidence))
    return _below(float(melanomas[rank - 1]), score)


def carried_over(threshold: float, slope: float, intercept: float) -> float:
    """A threshold on the scale of the calibrated probability; rounding makes alerts no rarer."""
    scaled = float(platt_scaled(max(threshold - _STEP, 0.0), slope, intercept))
    return math.floor(scaled / _STEP) * _STEP if threshold > 0 else 0.0


def out_of_distribution_here(photographs: Screened, card: Card) -> str:
    """That the photographs are unlike those the model learned from, in a sentence; empty where they are not.

    They are where, of one of the two scores, the exact interval of the share above its limit is above the
    share that the card has of held-out images.
    """
    refused, flagged = card.no_lesion, card.out_of_distribution
    refuses = None if refused is None else refused.held_out_refused
    flags = None if flagged is None else flagged.held_out_flagged
    checks = (
        (photographs.no_lesion > NO_LESION_LIMIT, photographs.no_lesion, refuses, "refuses", "no lesion"),
        (
            photographs.out_of_distribution > OUT_OF_DISTRIBUTION_LIMIT,
            photographs.out_of_distribution,
            flags,
            "flags",
            "out of distribution",
        ),
    )
    for above, scores, there, does, what in checks:
        known = int((~np.isnan(scores)).sum())
        if there is None or not known:
            continue
        here = exact_binomial(int(above.sum()), known)
        if here.low > there:
            return (
                f"These photographs are unlike those that the model learned from: it {does} "
                f"{percent_interval(here)} of them as {what}, and {percent(there)} of the images held out of "
                "its training."
            )
    return ""


def _parent(card: Card) -> dict[str, str]:
    return {"name": card.name, "digest": card.digest}


def _truth(labels: Sequence[str]) -> tuple[Flags, Flags]:
    """Which photographs are melanomas, and of which it is known whether they are, (n,) each."""
    answers = [is_melanoma(label) for label in labels]
    melanoma = np.array([answer is True for answer in answers], dtype=np.bool_)
    return melanoma, np.array([answer is not None for answer in answers], dtype=np.bool_)


def _calibrates(truth: Flags, before: Floats, after: Floats, groups: NDArray[np.int64]) -> bool:
    """Whether the log loss falls by more than the standard error of its difference over groups.

    So few photographs would otherwise move probabilities that are right already, for noise.
    """
    before, after = (np.clip(np.where(truth, own, 1 - own), 1e-7, 1) for own in (before, after))
    gained = np.bincount(groups, np.log(after) - np.log(before))
    return bool(gained.sum() > math.sqrt(len(gained)) * gained.std())


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


def _thresholds(melanomas: Floats, score: Floats, card: Card, asked: Demand) -> tuple[Cut, Cut]:
    """Alert and refer on the bundle's own scale, from the score of each independent melanoma, low to high.

    To refer from further up than before needs the same proof, of its own target; without it the old
    threshold is kept, or lowered to the lowest melanoma.
    """
    old_alert, old_refer = card.thresholds["alert"], card.thresholds["refer"]
    value = choose_alert(melanomas, score, asked.sensitivity, asked.confidence)
    alert = _cut(old_alert.value, value, asked.sensitivity, "promised", melanomas)
    target = max(old_refer.sensitivity_target, asked.sensitivity)
    rank = rank_of_threshold(len(melanomas), target, asked.confidence)
    if rank:
        value = min(_below(float(melanomas[rank - 1]), score), alert.now)
        return alert, _cut(old_refer.value, value, target, "promised", melanomas)
    value = min(old_refer.value, _below(float(melanomas[0]), score), alert.now)
    reason = "kept" if value == old_refer.value else "lowered"
    return alert, _cut(old_refer.value, value, target, reason, melanomas)


def _cut(before: float, now: float, target: float, reason: Any, melanomas: Floats) -> Cut:
    return Cut(before, now, target, reason, now > before, int((melanomas >= now).sum()), len(melanomas))


def _below(lowest: float, score: Floats) -> float:
    """A threshold that this score reaches: midway to the next one below, in no case less than a rounding."""
    below = score[score < lowest]
    middle = (lowest + float(below.max())) / 2 if len(below) else lowest
    return max(0.0, min(middle, lowest - _STEP))


def _cross_fitted(
    score: Floats,
    melanoma: Flags,
    groups: Sequence[str],
    index: NDArray[np.int64],
    asked: Demand,
    card: Card,
    seed: int,
) -> tuple[Floats, Flags]:
    """Each photograph's probability and whether it alerts, by what the other folds calibrate and choose."""
    fold = group_folds(groups, melanoma, FOLDS, seed)
    scaled, alerts = np.empty_like(score), np.zeros(len(score), dtype=np.bool_)
    for number in range(int(fold.max()) + 1):
        rest, own = fold != number, fold == number
        scaled[own] = platt_scaled(score[own], *fit_platt(score[rest], melanoma[rest]))
        melanomas = one_of_each(score[rest & melanoma], index[rest & melanoma], seed)
        value = card.thresholds["alert"].value
        if len(melanomas):
            value = choose_alert(melanomas, score[rest], asked.sensitivity, asked.confidence)
        alerts[own] = score[own] >= value
    return scaled, alerts


def _figures(
    truth: Flags,
    stated: Floats,
    alerts: Flags,
    resampler: Resampler,
    share: float,
    prevalence: float | None,
) -> Figures:
    """Figures of n assessed photographs; losses are at `prevalence`, where one is given."""

    def measure(weights: Floats) -> dict[str, Floats]:
        recall = recall_score(truth, alerts, labels=[False, True], sample_weight=weights)
        at = weights if prevalence is None else weights_at_prevalence(truth, prevalence, weights)
        own = {"sensitivity": recall[:, 1], "specificity": recall[:, 0]}
        own["alerts"] = weights @ alerts.astype(np.float64) / weights.sum(axis=1)
        return own | losses(truth, stated, at)

    found = resampler.measure(measure)
    sensitivity = found["sensitivity"].proportion(resampler.count(truth))
    specificity = found["specificity"].proportion(resampler.count(~truth))
    value = None
    if sensitivity is not None and specificity is not None and 0 < share < 1:
        drawn = (found["sensitivity"].drawn, found["specificity"].drawn)
        value = clinical_value(sensitivity, specificity, drawn, [share])[0]

    rarer = resampler.rarer(truth)
    weights = np.ones(len(truth))
    if prevalence is not None:
        weights = weights_at_prevalence(truth, prevalence, weights)

    return Figures(
        sensitivity=sensitivity,
        specificity=specificity,
        alerts=found["alerts"].proportion(len(set(resampler.groups))),
        calibration_error=None
        if rarer < 2
        else calibration_error(truth, stated, resampler.index, sample_weight=weights),
        brier_score=found["brier_score"].loss(rarer),
        log_loss=found["log_loss"].loss(rarer),
        value=value,
        reliability=reliability(truth, stated, equal_mass=True),
    )


def _warnings(found: Adoption, photographs: Screened, card: Card) -> Iterable[str]:
    unlike = out_of_distribution_here(photographs, card)
    if unlike:
        yield unlike
    for topic in (
        "unreadable",
        "contradicted",
        "unknown",
        "refused",
        "rarer",
        "referred",
        "few",
        "estimated",
    ):
        sentence = render_block("adoption_caveats.txt", topic, found=found, counts=found.counts)
        if sentence:
            yield sentence
