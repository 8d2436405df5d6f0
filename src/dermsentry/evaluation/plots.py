"""The plots of an evaluation's page, each as `save` gives it: PNG bytes, unless something else is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dermsentry.evaluation.clinical_utility.decision_curve import DecisionCurve
from dermsentry.evaluation.measures import class_index, merged
from dermsentry.evaluation.results import Evaluation
from dermsentry.reporting.figures import AMBER, BLUE, GREY, INK, RED, as_png, confusion, new_figure
from dermsentry.stats.calibration import reliability
from dermsentry.stats.metrics import precision_recall_curve, rank, roc_curve
from dermsentry.stats.numbers import percent, significant
from dermsentry.stats.resampling import Resampler

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Save = Callable[[Figure], bytes]

Floats = NDArray[np.float64]


def ranking_plot(evaluation: Evaluation, save: Save = as_png) -> bytes:
    """ROC and precision-recall curves of melanoma, each rule of alerting marked."""
    known = ~evaluation.may_be_melanoma
    truth, score = evaluation.is_melanoma[known], evaluation.melanoma_probability[known]
    resampler = Resampler(evaluation.group, evaluation.resamples, evaluation.seed).among(known)
    with new_figure(1, 2, width=9.2, height=4.1) as (figure, (left, right)):
        false, true, _ = roc_curve(truth, score)
        grid = np.linspace(0, 1, 101)
        low, high = _roc_band(truth, score, resampler, grid)
        left.fill_between(grid, low, high, color=BLUE, alpha=0.15, linewidth=0, label="95 % band")
        left.plot(false, true, color=BLUE, linewidth=1.8)
        left.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
        left.set(xlabel="1 − specificity (false alarms)", ylabel="sensitivity (melanomas found)")
        left.set_title("ROC")
        precision, recall, _ = precision_recall_curve(truth, score)
        # Without the point (0, 1) that closes the curve by convention: no threshold reaches it.
        right.step(recall[:-1], precision[:-1], where="pre", color=BLUE, linewidth=1.8)
        right.axhline(truth.mean(), color=GREY, linewidth=0.8, linestyle="--", label="by chance")
        right.set(xlabel="sensitivity (melanomas found)", ylabel="precision (alerts that are melanomas)")
        right.set_title("Precision and recall")
        for decision, colour, marker in zip(evaluation.melanoma.decisions, (AMBER, RED), "sD", strict=False):
            at = decision.threshold
            name = "largest probability" if at is None else f"threshold {significant(at)}"
            style = {"color": colour, "marker": marker, "linestyle": "none", "markersize": 7, "label": name}
            if decision.sensitivity and decision.specificity:
                left.plot([1 - decision.specificity.value], [decision.sensitivity.value], **style)
            if decision.sensitivity and decision.positive_predictive_value:
                right.plot([decision.sensitivity.value], [decision.positive_predictive_value.value], **style)
        for axes in (left, right):
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
            axes.legend(fontsize=8.5)
        return save(figure)


def _roc_band(
    truth: NDArray[np.bool_], score: Floats, resampler: Resampler, grid: Floats
) -> tuple[Floats, Floats]:
    """Sensitivity at each false positive rate of `grid`: 2.5 % and 97.5 % over resampled groups."""

    def curves(weights: Floats) -> dict[str, Floats]:
        ranking = rank(truth, score, sample_weight=weights)
        rows = np.full((len(weights), len(grid)), np.nan)
        for i, (positive, negative) in enumerate(zip(ranking.positive, ranking.negative, strict=True)):
            true, false = np.cumsum(positive), np.cumsum(negative)
            if true[-1] and false[-1]:
                rows[i] = np.interp(grid, np.r_[0, false / false[-1]], np.r_[0, true / true[-1]])
        return {"curve": rows}

    drawn = resampler.measure(curves)["curve"].drawn
    drawn = drawn[~np.isnan(drawn).any(axis=1)]
    if not len(drawn):
        return np.zeros_like(grid), np.ones_like(grid)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return low, high


def decision_plot(evaluation: Evaluation, save: Save = as_png) -> bytes:
    """Net benefit of acting on the model, on everyone and on nobody; a panel for each prevalence."""
    shift = evaluation.prior_shift
    curves = [evaluation.decision_curve, None if shift is None else shift.decision_curve]
    shown = [curve for curve in curves if curve is not None]
    with new_figure(1, len(shown), width=4.6 * len(shown) + 1.2 * (len(shown) == 1), height=3.7) as (
        figure,
        panels,
    ):
        for axes, curve in zip(np.atleast_1d(panels), shown, strict=True):
            _net_benefit(axes, curve)
        return save(figure)


def _net_benefit(axes: Axes, curve: DecisionCurve) -> None:
    places = 100 * curve.threshold_probability
    axes.fill_between(
        places,
        1000 * curve.model.low,
        1000 * curve.model.high,
        color=BLUE,
        alpha=0.15,
        linewidth=0,
        label="95 % band",
    )
    axes.plot(places, 1000 * curve.model.value, color=BLUE, linewidth=1.8, label="act on the model")
    axes.plot(places, 1000 * curve.refer_all.value, color=AMBER, linewidth=1.4, label="refer everyone")
    axes.axhline(0, color=INK, linewidth=1.0, linestyle="--", label="refer nobody")
    top = 1000 * max(curve.prevalence, float(curve.model.high.max()))
    axes.set(
        xlim=(0, places[-1]),
        ylim=(-0.25 * top, 1.1 * top),
        xlabel="threshold probability (%)",
        ylabel="net benefit per 1,000 photographs",
    )
    axes.set_title(f"Where {percent(curve.prevalence)} are melanomas")
    axes.legend(fontsize=8.5)


def confusion_plot(evaluation: Evaluation, save: Save = as_png) -> bytes:
    """Counts by true and predicted class."""
    labels = [figures.label.replace("|", "/") for figures in evaluation.classes]
    side = 2.2 + 0.42 * len(labels)
    with new_figure(width=side + 0.8, height=side) as (figure, axes):
        confusion(axes, evaluation.confusion_matrix.counts, labels, "Photographs by true and predicted class")
        return save(figure)


def reliability_plot(evaluation: Evaluation, save: Save = as_png) -> bytes:
    """Stated against observed: the probability of the predicted class, and that of melanoma."""
    labels = [figures.label for figures in evaluation.classes]
    joined = merged(evaluation.probability, labels)
    true = class_index(evaluation.truth, labels)
    known = ~evaluation.may_be_melanoma
    with new_figure(1, 2, width=9.2, height=4.1) as (figure, (left, right)):
        _reliability(left, joined.argmax(axis=1) == true, joined.max(axis=1), "Of the predicted class")
        if known.any():
            score = evaluation.melanoma_probability[known]
            _reliability(right, evaluation.is_melanoma[known], score, "Of melanoma")
        return save(figure)


def _reliability(axes: Axes, outcome: NDArray[np.bool_], stated: Floats, title: str) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    wide = reliability(outcome, stated)
    axes.plot(
        [point.stated for point in wide],
        [point.observed.value for point in wide],
        "D",
        color=GREY,
        markerfacecolor="none",
        markersize=5,
        label="bins of equal width",
    )
    equal = reliability(outcome, stated, equal_mass=True)
    axes.vlines(
        [point.stated for point in equal],
        [point.observed.low for point in equal],
        [point.observed.high for point in equal],
        color=BLUE,
        alpha=0.45,
    )
    axes.plot(
        [point.stated for point in equal],
        [point.observed.value for point in equal],
        "o",
        color=BLUE,
        markersize=5,
        label="bins of equal mass",
    )
    axes.plot(stated, np.full(len(stated), -0.045), "|", color=INK, alpha=0.25, markersize=5)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.08, 1.02), xlabel="stated probability", ylabel="observed share")
    axes.set_title(title)
    axes.legend(fontsize=8.5, loc="upper left")
