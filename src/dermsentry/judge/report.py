"""An evaluation as one HTML page: what to know first, then the figures, the plots and the photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dermsentry.diagnoses import CODES, MELANOMA, codes_of, name_of
from dermsentry.images import Pixels, Unreadable, read_photograph
from dermsentry.judge.calibration import reliability
from dermsentry.judge.evaluation import merged
from dermsentry.judge.figures import Evaluation
from dermsentry.judge.intervals import Interval, bootstrap
from dermsentry.judge.metrics import precision_recall_curve, rank, roc_curve
from dermsentry.report import write_report
from dermsentry.report.figures import AMBER, BLUE, GREY, INK, RED, as_png, confusion, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

SHOWN = 12  # photographs in each gallery
SIDE = 220  # pixels of a gallery picture's longer side
_MEL = CODES.index(MELANOMA)


@dataclass(frozen=True)
class Example:
    """A photograph that was judged wrongly: its melanoma probability, its truth and what it was called."""

    pixels: Pixels
    name: str
    melanoma: float
    truth: str
    called: str


def write_page(path: Path, evaluation: Evaluation, files: Sequence[Path] = ()) -> None:
    """Write an evaluation's page, with what was missed if `files` (one per `evaluation.truth`) are given.

    Raises OutputError.
    """
    told = _told(evaluation)
    both = bool(told.any()) and not bool(told.all())
    decision = evaluation.melanoma.decisions[-1]
    write_report(
        path,
        "evaluation.html",
        evaluation=evaluation,
        decision=decision,
        about=evaluation.about,
        synthetic=_synthetic(evaluation),
        missed=_missed(evaluation, files),
        alarms=_alarms(evaluation, files),
        ranking=_ranking_plot(evaluation) if both else None,
        matrix=_confusion_plot(evaluation),
        calibration=_reliability_plot(evaluation),
        in_a_hundred=_in_a_hundred(evaluation),
    )


def summary(evaluation: Evaluation) -> str:
    """The figures to know first as lines of text, for a terminal."""
    decision, melanoma = evaluation.melanoma.decisions[-1], evaluation.melanoma
    alarms = decision.alerts - decision.detected
    lines = [
        (
            "melanoma sensitivity",
            decision.sensitivity,
            100,
            f"{decision.detected} of {melanoma.photographs} found",
        ),
        ("melanoma specificity", decision.specificity, 100, f"{alarms} false alarms in {melanoma.others}"),
        ("melanoma AUROC", melanoma.roc_auc, 1, ""),
        ("balanced accuracy", evaluation.balanced_accuracy, 100, "mean recall of the classes"),
        ("accuracy", evaluation.accuracy, 100, f"{evaluation.photographs} photographs"),
    ]
    return "\n".join(_line(*line) for line in lines)


def _line(name: str, figure: Interval | None, scale: int, remark: str) -> str:
    if figure is None:
        return f"{name:<22}{'–':>8}"
    form = ".1f" if scale == 100 else ".3f"
    value, low, high = (format(scale * number, form) for number in (figure.value, figure.low, figure.high))
    unit = " %" if scale == 100 else ""
    return f"{name:<22}{value + unit:>8}  {f'({low} to {high})':<18}{remark}".rstrip()


def _synthetic(evaluation: Evaluation) -> bool:
    return any(evaluation.about.get(part, {}).get("synthetic", False) for part in ("model", "data"))


def _in_a_hundred(evaluation: Evaluation) -> str:
    """What an alert is worth where melanomas are as frequent as here, in words."""
    decision, melanoma = evaluation.melanoma.decisions[-1], evaluation.melanoma
    if not melanoma.photographs:
        return ""
    missed = melanoma.photographs - decision.detected
    found = f"Melanomas: {decision.detected} of {melanoma.photographs} with an alert, {missed} missed."
    wrong = decision.alerts - decision.detected
    if not decision.alerts:
        return f"{found} Nothing raises an alert."
    share = 100 * melanoma.photographs / (melanoma.photographs + melanoma.others)
    right = 100 * decision.detected / decision.alerts
    return (
        f"{found} Others: {wrong} of {melanoma.others} with a false one. So {right:.0f} of 100 alerts are "
        f"right here, where {share:.0f} of 100 photographs are melanomas; where they are rarer, fewer are."
    )


def _told(evaluation: Evaluation) -> NDArray[np.bool_]:
    return np.array([label == MELANOMA for label in evaluation.truth], dtype=np.bool_)


def _ambiguous(evaluation: Evaluation) -> NDArray[np.bool_]:
    """Photographs of which it is not known whether they are melanomas, such as `MEL|NV`."""
    return np.array(
        [label != MELANOMA and MELANOMA in codes_of(label) for label in evaluation.truth], np.bool_
    )


def _alerts(evaluation: Evaluation) -> NDArray[np.bool_]:
    score = evaluation.probability[:, _MEL]
    if evaluation.threshold is None:
        return np.asarray(evaluation.probability.argmax(axis=1) == _MEL)
    return np.asarray(score >= evaluation.threshold)


def _missed(evaluation: Evaluation, files: Sequence[Path]) -> list[Example]:
    """Melanomas without an alert, the least suspected first."""
    here = np.flatnonzero(_told(evaluation) & ~_alerts(evaluation))
    return _examples(evaluation, files, here[np.argsort(evaluation.probability[here, _MEL], kind="stable")])


def _alarms(evaluation: Evaluation, files: Sequence[Path]) -> list[Example]:
    """Other photographs with an alert, the most suspected first."""
    here = np.flatnonzero(~_told(evaluation) & ~_ambiguous(evaluation) & _alerts(evaluation))
    return _examples(evaluation, files, here[np.argsort(-evaluation.probability[here, _MEL], kind="stable")])


def _examples(evaluation: Evaluation, files: Sequence[Path], order: NDArray[np.int64]) -> list[Example]:
    if not files:
        return []
    classes = [figures.label for figures in evaluation.classes]
    called = merged(evaluation.probability, classes).argmax(axis=1)
    examples = []
    for i in order[:SHOWN].tolist():
        try:
            pixels = _small(read_photograph(files[i], enough_for=2 * SIDE).pixels)
        except Unreadable:  # it was readable when judged; a page lacking one picture is still right
            continue
        examples.append(
            Example(
                pixels=pixels,
                name=files[i].stem,
                melanoma=float(evaluation.probability[i, _MEL]),
                truth=name_of(evaluation.truth[i]),
                called=name_of(classes[called[i]]),
            )
        )
    return examples


def _small(pixels: Pixels) -> Pixels:
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((SIDE, SIDE))
    return np.asarray(picture)


def _ranking_plot(evaluation: Evaluation) -> bytes:
    """ROC and precision-recall curves of melanoma, each rule of alerting marked."""
    known = ~_ambiguous(evaluation)
    truth, score = _told(evaluation)[known], evaluation.probability[known, _MEL]
    groups = [group for group, here in zip(evaluation.groups, known, strict=True) if here]
    with new_figure(1, 2, width=9.2, height=4.1) as (figure, (left, right)):
        false, true, _ = roc_curve(truth, score)
        grid = np.linspace(0, 1, 101)
        low, high = _roc_band(truth, score, groups, evaluation, grid)
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
            name = (
                "largest probability" if decision.threshold is None else f"threshold {decision.threshold:.3g}"
            )
            style = {"color": colour, "marker": marker, "linestyle": "none", "markersize": 7, "label": name}
            if decision.sensitivity and decision.specificity:
                left.plot([1 - decision.specificity.value], [decision.sensitivity.value], **style)
            if decision.sensitivity and decision.positive_predictive_value:
                right.plot([decision.sensitivity.value], [decision.positive_predictive_value.value], **style)
        for axes in (left, right):
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
            axes.legend(fontsize=8.5)
        return as_png(figure)


def _roc_band(
    truth: NDArray[np.bool_], score: Floats, groups: Sequence[str], evaluation: Evaluation, grid: Floats
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

    drawn = bootstrap(groups, curves, resamples=evaluation.resamples, seed=evaluation.seed)["curve"]
    drawn = drawn[~np.isnan(drawn).any(axis=1)]
    if not len(drawn):
        return np.zeros_like(grid), np.ones_like(grid)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return low, high


def _confusion_plot(evaluation: Evaluation) -> bytes:
    labels = [figures.label for figures in evaluation.classes]
    side = 2.2 + 0.42 * len(labels)
    with new_figure(width=side + 0.8, height=side) as (figure, axes):
        confusion(axes, evaluation.confusion_matrix, labels, "Photographs by true and predicted class")
        return as_png(figure)


def _reliability_plot(evaluation: Evaluation) -> bytes:
    """Stated against observed: the probability of the class it was called, and that of melanoma."""
    labels = [figures.label for figures in evaluation.classes]
    joined = merged(evaluation.probability, labels)
    true = np.array(
        [
            next(i for i, label in enumerate(labels) if codes_of(own)[0] in codes_of(label))
            for own in evaluation.truth
        ]
    )
    known = ~_ambiguous(evaluation)
    with new_figure(1, 2, width=9.2, height=4.1) as (figure, (left, right)):
        _reliability(left, joined.argmax(axis=1) == true, joined.max(axis=1), "Of the class it was called")
        if known.any():
            score = evaluation.probability[known, _MEL]
            _reliability(right, _told(evaluation)[known], score, "Of melanoma")
        return as_png(figure)


def _reliability(axes: Axes, outcome: NDArray[np.bool_], stated: Floats, title: str) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    for point in reliability(outcome, stated, equal_mass=True):
        axes.plot([point.stated] * 2, [point.observed.low, point.observed.high], color=BLUE, alpha=0.45)
        axes.plot([point.stated], [point.observed.value], color=BLUE, marker="o", markersize=5)
    axes.plot(stated, np.full(len(stated), -0.045), "|", color=INK, alpha=0.25, markersize=5)
    axes.set(
        xlim=(-0.02, 1.02), ylim=(-0.08, 1.02), xlabel="stated probability", ylabel="how often it was so"
    )
    axes.set_title(title)
