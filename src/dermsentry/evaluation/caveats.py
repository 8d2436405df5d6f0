"""What a reader must know before quoting a figure, a plain sentence each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dermsentry.evaluation.clinical_utility.operating_point import CLAIM
from dermsentry.evaluation.results import ClassFigures, MelanomaFigures
from dermsentry.reporting.prose import render_block
from dermsentry.stats.intervals import provable
from dermsentry.stats.numbers import Unit, beside_chance, compared

FEW = 10
"""Groups below which a class's own figures say little."""


def caveats(
    classes: Sequence[ClassFigures],
    melanoma: MelanomaFigures,
    unknown: int,
    undecided: int = 0,
    *,
    unit: Unit = "group",
    constant: bool = False,
) -> tuple[str, ...]:
    """The sentences that hold for these figures.

    `unknown` photographs had no known diagnosis; of `undecided` others it is not known whether they are
    melanomas. `unit`: what a group is. `constant`: that every photograph gets the same probabilities.
    """
    predicted = [figures for figures in classes if figures.predicted]
    present = [figures for figures in classes if figures.photographs]
    shown, claim = compared(melanoma.provable_sensitivity, CLAIM, digits=0)
    context = {
        "melanoma": melanoma,
        "unit": unit,
        "constant": constant,
        "uniform": melanoma.decisions[-1].uniform(melanoma.photographs + melanoma.others),
        "predicted": predicted,
        "ranked": beside_chance(melanoma.roc_auc),
        "few": melanoma.provable_sensitivity < CLAIM,
        "shown": shown,
        "claim": claim,
        "needed": lesions_needed(CLAIM),
        "present": present,
        "absent": [figures for figures in classes if not figures.photographs],
        "enough": FEW,
        "rare": [figures for figures in present if figures.groups < FEW],
        "merged": [figures for figures in present if "|" in figures.label],
        "single": len(classes) == 1,
        "undecided": undecided,
        "unknown": unknown,
    }
    topics = ("constant", "melanomas", "others", "chance", "absent", "rare", "merged", "undecided", "unknown")
    return tuple(filter(None, (caveat(topic, **context) for topic in topics)))


def caveat(topic: str, **context: Any) -> str:
    """One sentence of `evaluation_caveats.txt`."""
    return render_block("evaluation_caveats.txt", topic, **context)


def lesions_needed(sensitivity: float) -> int:
    """How many melanomas, all found, it takes to prove at least this sensitivity: 72 for 95 %."""
    number = 1
    while provable(number) < sensitivity:
        number += 1
    return number
