"""What a reader must know before quoting a figure, a plain sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dermsentry.diagnoses import name_of
from dermsentry.evaluation.results import ClassFigures, MelanomaFigures
from dermsentry.stats.intervals import provable

CLAIM = 0.95
"""The melanoma sensitivity that a reader will want to see shown."""

FEW = 10
"""Groups below which a class's own figures say little."""


def caveats(classes: Sequence[ClassFigures], melanoma: MelanomaFigures, unknown: int) -> tuple[str, ...]:
    """The sentences that hold for these figures; `unknown` photographs had no known diagnosis."""
    return (*_about_melanoma(melanoma), *_about_classes(classes), *_about_unknown(unknown))


def lesions_needed(sensitivity: float) -> int:
    """How many melanomas, all found, it takes to show at least this sensitivity: 72 for 95 %."""
    number = 1
    while provable(number) < sensitivity:
        number += 1
    return number


def _about_melanoma(melanoma: MelanomaFigures) -> Iterator[str]:
    shown = provable(melanoma.groups)
    if not melanoma.photographs:
        yield "There is no melanoma among these photographs: nothing here tells whether one would be found."
    elif shown < CLAIM:
        lesions = "lesion" if melanoma.groups == 1 else "lesions"
        yield (
            f"Only {melanoma.groups} {lesions} of melanoma: finding every one of them would show a "
            f"sensitivity of at least {_percent(shown)} and no more. To show {_percent(CLAIM)} takes "
            f"{lesions_needed(CLAIM)}, all found."
        )
    if not melanoma.others:
        yield "Every photograph is a melanoma: specificity and AUROC cannot be stated."


def _about_classes(classes: Sequence[ClassFigures]) -> Iterator[str]:
    present = [figures for figures in classes if figures.photographs]
    absent = [name_of(figures.label) for figures in classes if not figures.photographs]
    if len(present) == 1:
        only = name_of(present[0].label)
        yield f"Every photograph is {only}: accuracy is its recall alone, and nothing is told apart."
    elif absent:
        yield f"No photograph of {', '.join(absent)}. The means over classes leave these out."
    few = [f"{name_of(figures.label)} ({figures.groups})" for figures in present if figures.groups < FEW]
    if few:
        yield (
            f"Fewer than {FEW} lesions of {', '.join(few)}. Their own figures say little, and the balanced "
            "accuracy, in which every class counts the same, hangs on these few photographs."
        )
    joined = [name_of(figures.label) for figures in classes if "|" in figures.label]
    if joined:
        yield f"Judged as one class, because some labels do not tell them apart: {'; '.join(joined)}."


def _about_unknown(unknown: int) -> Iterator[str]:
    if unknown:
        photographs = "photograph has" if unknown == 1 else "photographs have"
        yield f"{unknown:,} {photographs} no known diagnosis and count for nothing here."


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
