"""An evaluation as one HTML page: what to know first, then the figures, the plots and the photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dermsentry.diagnoses import name_of
from dermsentry.evaluation import plots
from dermsentry.evaluation.clinical_utility.operating_point import CLAIM, proof
from dermsentry.evaluation.measures import merged, raises_alert
from dermsentry.evaluation.results import Evaluation
from dermsentry.evaluation.summary import CLINIC, verdict
from dermsentry.images import Pixels, Unreadable, read_photograph
from dermsentry.reporting import write_report
from dermsentry.stats.numbers import compared, percent

SHOWN = 12  # photographs in each gallery
SIDE = 220  # pixels of a gallery picture's longer side


@dataclass(frozen=True)
class Example:
    """A wrong alert decision: the photograph, its melanoma probability as text, truth and predicted class."""

    pixels: Pixels
    name: str
    melanoma: str
    truth: str
    predicted: str


@dataclass(frozen=True)
class Gallery:
    """Examples, and the threshold as text, None without one: every probability on the side that it is on."""

    examples: tuple[Example, ...]
    threshold: str | None


@dataclass(frozen=True)
class Hundred:
    """A hundred photographs, `prevalence` of them melanomas: what happens to each, adding up to 100."""

    prevalence: float
    found: int
    missed: int
    alarms: int
    quiet: int

    @property
    def each(self) -> list[str]:
        """A word for each of the hundred."""
        counts = {"found": self.found, "missed": self.missed, "alarm": self.alarms, "quiet": self.quiet}
        return [word for word, count in counts.items() for _ in range(count)]


def write_page(path: Path, evaluation: Evaluation, files: Sequence[Path] = ()) -> None:
    """Write an evaluation's page, with what was missed if `files` (one per `evaluation.truth`) are given.

    Raises OutputError.
    """
    melanoma = evaluation.melanoma
    both = bool(melanoma.photographs and melanoma.others)
    few = bool(melanoma.photographs) and melanoma.provable_sensitivity < CLAIM
    model, data = (evaluation.about.get(part, {}) for part in ("model", "data"))
    write_report(
        path,
        "evaluation.html",
        evaluation=evaluation,
        melanoma=melanoma,
        decision=evaluation.decision,
        about=evaluation.about,
        model=model.get("name", ""),
        part=data.get("part", ""),
        synthetic=model.get("synthetic", False) or data.get("synthetic", False),
        verdict=verdict(evaluation),
        proof=proof(melanoma.groups),
        few=few,
        hundreds=_hundreds(evaluation),
        missed=_missed(evaluation, files),
        alarms=_alarms(evaluation, files),
        ranking=plots.ranking_plot(evaluation) if both else None,
        curve=plots.decision_plot(evaluation) if evaluation.decision_curve else None,
        matrix=plots.confusion_plot(evaluation),
        reliability=plots.reliability_plot(evaluation),
        subgroups=evaluation.subgroups,
        hard=evaluation.hard_comparison,
        robustness=evaluation.robustness,
        saliency=evaluation.saliency,
        surroundings=evaluation.surroundings,
        refusal=evaluation.refusal,
    )


def _hundreds(evaluation: Evaluation) -> list[Hundred]:
    """A hundred photographs like these, and a hundred where melanomas are as rare as in a clinic."""
    decision, melanoma = evaluation.decision, evaluation.melanoma
    if decision.sensitivity is None or decision.specificity is None:
        return []
    here = melanoma.photographs / (melanoma.photographs + melanoma.others)
    chosen = evaluation.prior_shift.prevalence if evaluation.prior_shift else CLINIC
    rule = (decision.sensitivity.value, decision.specificity.value)
    return [hundred(here, *rule), hundred(chosen, *rule)]


def hundred(prevalence: float, sensitivity: float, specificity: float) -> Hundred:
    """What a rule does to a hundred photographs with this share of melanomas, in whole photographs."""
    others = 1 - prevalence
    shares = np.array(
        [
            prevalence * sensitivity,
            prevalence * (1 - sensitivity),
            others * (1 - specificity),
            others * specificity,
        ]
    )
    counts = np.floor(100 * shares).astype(int)
    for i in np.argsort(counts - 100 * shares, kind="stable")[: 100 - counts.sum()]:
        counts[i] += 1
    return Hundred(prevalence, *(int(count) for count in counts))


def _missed(evaluation: Evaluation, files: Sequence[Path]) -> Gallery:
    """Melanomas without an alert, the lowest probability first."""
    alert = raises_alert(evaluation.probability, evaluation.threshold)
    here = np.flatnonzero(evaluation.is_melanoma & ~alert)
    order = np.argsort(evaluation.melanoma_probability[here], kind="stable")
    return _gallery(evaluation, files, here[order])


def _alarms(evaluation: Evaluation, files: Sequence[Path]) -> Gallery:
    """Other photographs with an alert, the highest probability first."""
    others = ~evaluation.is_melanoma & ~evaluation.may_be_melanoma
    here = np.flatnonzero(others & raises_alert(evaluation.probability, evaluation.threshold))
    order = np.argsort(-evaluation.melanoma_probability[here], kind="stable")
    return _gallery(evaluation, files, here[order])


def _gallery(evaluation: Evaluation, files: Sequence[Path], order: NDArray[np.int64]) -> Gallery:
    """The first of `order` that can still be read; none without files."""
    pictures = {}
    for i in order[:SHOWN].tolist() if files else ():
        try:
            pictures[i] = _small(read_photograph(files[i], enough_for=2 * SIDE).pixels)
        except Unreadable:  # it was readable when evaluated; a page lacking one picture is still right
            continue
    stated = [float(evaluation.melanoma_probability[i]) for i in pictures]
    if evaluation.threshold is None:
        threshold, shown = None, [percent(value) for value in stated]
    else:
        threshold, *shown = compared(evaluation.threshold, *stated)
    classes = [figures.label for figures in evaluation.classes]
    predicted = merged(evaluation.probability, classes).argmax(axis=1)
    examples = (
        Example(own, files[i].stem, text, name_of(evaluation.truth[i]), name_of(classes[predicted[i]]))
        for (i, own), text in zip(pictures.items(), shown, strict=True)
    )
    return Gallery(tuple(examples), threshold)


def _small(pixels: Pixels) -> Pixels:
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((SIDE, SIDE))
    return np.asarray(picture)
