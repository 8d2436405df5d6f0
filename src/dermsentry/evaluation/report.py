"""An evaluation as one HTML page: what to know first, then the figures, the plots and the photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dermsentry.diagnoses import name_of
from dermsentry.evaluation import plots
from dermsentry.evaluation.caveats import CLAIM
from dermsentry.evaluation.clinical_utility.operating_point import proof
from dermsentry.evaluation.measures import merged, raises_alert
from dermsentry.evaluation.results import Evaluation
from dermsentry.evaluation.summary import CLINIC, verdict
from dermsentry.images import Pixels, Unreadable, read_photograph
from dermsentry.reporting import write_report
from dermsentry.stats.intervals import provable

SHOWN = 12  # photographs in each gallery
SIDE = 220  # pixels of a gallery picture's longer side


@dataclass(frozen=True)
class Example:
    """A photograph that was judged wrongly: its melanoma probability, its truth and what it was called."""

    pixels: Pixels
    name: str
    melanoma: float
    truth: str
    called: str


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
    few = bool(melanoma.photographs) and provable(melanoma.groups) < CLAIM
    write_report(
        path,
        "evaluation.html",
        evaluation=evaluation,
        melanoma=melanoma,
        decision=evaluation.decision,
        about=evaluation.about,
        model=evaluation.about.get("model", {}).get("name", ""),
        part=evaluation.about.get("data", {}).get("part", ""),
        synthetic=_synthetic(evaluation),
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
        robustness=evaluation.robustness,
        saliency=evaluation.saliency,
        refusal=evaluation.refusal,
    )


def _synthetic(evaluation: Evaluation) -> bool:
    return any(evaluation.about.get(part, {}).get("synthetic", False) for part in ("model", "data"))


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


def _missed(evaluation: Evaluation, files: Sequence[Path]) -> list[Example]:
    """Melanomas without an alert, the least suspected first."""
    here = np.flatnonzero(
        evaluation.is_melanoma & ~raises_alert(evaluation.probability, evaluation.threshold)
    )
    order = np.argsort(evaluation.melanoma_probability[here], kind="stable")
    return _examples(evaluation, files, here[order])


def _alarms(evaluation: Evaluation, files: Sequence[Path]) -> list[Example]:
    """Other photographs with an alert, the most suspected first."""
    others = ~evaluation.is_melanoma & ~evaluation.may_be_melanoma
    here = np.flatnonzero(others & raises_alert(evaluation.probability, evaluation.threshold))
    order = np.argsort(-evaluation.melanoma_probability[here], kind="stable")
    return _examples(evaluation, files, here[order])


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
                melanoma=float(evaluation.melanoma_probability[i]),
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
