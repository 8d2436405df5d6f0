"""The study's conclusions: plain sentences, each from numbers and able to come out the other way.

A network overfits where its accuracy is far higher on its training images than on held-out ones, or where
the held-out loss has turned and risen; it underfits where it is not even right on those it was trained on.
The wording is in `reporting/templates/study_conclusions.txt`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from dermsentry.collection import Collection
from dermsentry.collection.lesions import known_lesions
from dermsentry.diagnoses import name_of
from dermsentry.nine_class.experiments import EXPERIMENTS, Result
from dermsentry.reporting.prose import render_block
from dermsentry.split import Split

State = Literal["overfit", "underfit", "both", "neither"]

GAP = 0.10
"""Training accuracy this far above validation accuracy is overfitting."""
RISE = 1.15
"""Validation loss at the end, against its lowest, from which it has turned."""
LEARNED = 0.70
"""Training accuracy below which a network has not even learned its own images."""
PROTOCOL_DIFFERENCE = 0.03
"""A difference in accuracy between the protocols that is worth a sentence of its own."""


@dataclass(frozen=True)
class Conclusion:
    """A sentence, and the experiment it is about; `collection` or `best` where it is about none."""

    about: str
    sentence: str


@dataclass(frozen=True)
class Fit:
    """How a network fits, and by which numbers. Accuracies are of the end of training, 0 to 1."""

    state: State
    accuracy: float
    val_accuracy: float
    lowest_val_loss_epoch: int
    epochs: int
    rise: float

    @property
    def gap(self) -> float:
        """Training accuracy less validation accuracy."""
        return self.accuracy - self.val_accuracy

    @property
    def turned(self) -> bool:
        """Whether validation loss has risen from its lowest."""
        return self.rise > RISE


def assess_fit(accuracy: float, history: pd.DataFrame) -> Fit:
    """Whether a network over- or underfits.

    Parameters
    ----------
    accuracy
        On the training images as they are. The history's own is taken while the network still changes and,
        with augmentation, on harder images; the higher of the two counts.
    history
        `accuracy`, `val_accuracy`, `val_loss` per epoch. The end is the mean of the last quarter of them, of
        three epochs at most.
    """
    last = max(1, min(3, len(history) // 4))
    end, losses = history.tail(last).mean(), history["val_loss"]
    own, held = max(accuracy, float(end["accuracy"])), float(end["val_accuracy"])
    lowest = float(losses.min())
    rise = float(end["val_loss"]) / lowest if lowest > 0 else 1.0
    over = own - held > GAP or (rise > RISE and own > held)
    under = own < LEARNED
    state: State = "both" if over and under else "overfit" if over else "underfit" if under else "neither"
    return Fit(state, own, held, int(losses.to_numpy().argmin()) + 1, len(losses), rise)


def draw_conclusions(
    collection: Collection, split: Split, results: Sequence[Result], kept: Result
) -> Iterator[Conclusion]:
    """The study's conclusions in reading order, each from these results' numbers."""
    by = {(r.experiment.name, r.protocol): r for r in results}
    for text in about_collection(collection, split):
        yield Conclusion("collection", text)
    for experiment in EXPERIMENTS:
        honest, assigned = by.get((experiment.name, "honest")), by.get((experiment.name, "as-assigned"))
        if honest and assigned:
            before = by.get((experiment.follows, "honest"))
            for text in _about_experiment(honest, assigned, before):
                yield Conclusion(experiment.name, text)
    evaluated = [r for r in results if r.protocol == "honest" and "test" in r.evaluations]
    ranked = sorted(evaluated, key=lambda r: -(r.figure("test", "balanced_accuracy") or 0.0))
    if len(ranked) > 1:
        first, second = ranked[:2]
        text = sentence(
            "best",
            title=first.experiment.title,
            figure=first.figure("test", "balanced_accuracy") or 0.0,
            second=second.experiment.title,
            second_figure=second.figure("test", "balanced_accuracy") or 0.0,
            by_validation=kept.experiment.title,
        )
        yield Conclusion("best", text)


def about_collection(collection: Collection, split: Split) -> Iterator[str]:
    """What is to be known of the images before any network: conflicts, and what is left of Test."""
    yield from _about_conflicts(collection, split)
    yield from _about_test(collection, split)


def about_fit(result: Result, before: Result | None) -> Iterator[str]:
    """How a network fits; with the one that it follows, under the same protocol, whether it is a remedy."""
    title, fit = result.experiment.title, assess_fit(result.accuracy, result.history)
    yield sentence("fit", title=title, fit=fit)
    if before is not None:
        tests = [r.figure("test", "balanced_accuracy") for r in (before, result)]
        first = assess_fit(before.accuracy, before.history)
        yield cure_sentence(before.experiment.title, title, first, fit, *tests)


def about_leakage(assigned: Result, honest: Result) -> str:
    """How much of what one would quote is leakage."""
    test = assigned.figure("test", "accuracy")
    title, quoted = assigned.experiment.title, assigned.val_accuracy
    return leakage_sentence(title, quoted, honest.val_accuracy, test, assigned.relatives)


def _about_experiment(honest: Result, assigned: Result, before: Result | None) -> Iterator[str]:
    if not honest.experiment.linear:
        yield from about_fit(honest, before)
    yield about_leakage(assigned, honest)
    if "test" in honest.evaluations:
        melanoma = honest.evaluations["test"].melanoma
        decision = melanoma.decisions[0]
        low = decision.sensitivity.low if decision.sensitivity else None
        yield sentence(
            "melanoma",
            title=honest.experiment.title,
            detected=decision.detected,
            melanomas=melanoma.photographs,
            low=low,
            uniform=decision.uniform(melanoma.photographs + melanoma.others),
            others=melanoma.others,
        )


def _about_test(collection: Collection, split: Split) -> Iterator[str]:
    """How much of a Test that the collection names is left, and what can be told of its leaks."""
    given = set(collection.table.loc[collection.table["split"] == "test", "path"])
    parts = split.table.loc[split.table["path"].isin(given), "part"]
    if given:
        yield sentence(
            "test",
            of=len(given),
            left=int((parts == "test").sum()),
            leaking=int((parts == "test-leaking").sum()),
            quarantined=int((parts == "quarantined").sum()),
        )
    yield known_lesions(collection.table).sentence


def _about_conflicts(collection: Collection, split: Split) -> list[str]:
    """A sentence for each label whose images carry another one too, the most affected label first."""
    labels = collection.table.set_index("path")["diagnosis"]
    counts = labels.value_counts()
    rows = split.table[split.table["reason"].str.startswith("conflict")]
    rows = rows.assign(label=rows["path"].map(labels))
    found: list[dict[str, Any]] = []
    for label, images in rows.groupby("label", sort=False):
        others = set(rows.loc[rows["group"].isin(images["group"]), "label"]) - {label}
        found.append(
            {
                "name": name_of(str(label)),
                "conflicting": len(images),
                "count": int(counts[label]),
                "others": " and ".join(sorted(name_of(other) for other in others)),
            }
        )
    found.sort(key=lambda values: -values["conflicting"] / values["count"])
    return [sentence("conflict", **values) for values in found]


def cure_sentence(
    before: str, after: str, first: Fit, second: Fit, first_test: float | None, second_test: float | None
) -> str:
    """Whether the next network cured what the one before suffered from, on images training never saw."""
    if first.state == "neither":
        outcome = "not needed"
    elif second.state == "neither":
        outcome = "cured"
    elif first.state == "both" and second.state != "both":
        outcome = f"still {second.state}"
    elif first.state in ("overfit", "underfit") and second.state not in (first.state, "both"):
        outcome = f"now {second.state}"
    elif first.state == "underfit":
        outcome = "eased" if second.accuracy > first.accuracy + 0.02 else "not cured"
    else:
        outcome = "eased" if second.gap < first.gap - 0.02 else "not cured"
    text = sentence(
        "cure",
        before=before,
        after=after,
        outcome=outcome,
        first=first,
        second=second,
        first_test=first_test,
        second_test=second_test,
    )
    return text[:1].upper() + text[1:]


def leakage_sentence(
    title: str, quoted: float, honest: float, test: float | None, relatives: Mapping[str, Any]
) -> str:
    """How much of the validation accuracy that one would quote is leakage.

    `relatives` counts the validation images that have a copy or a connected image in training (`related`),
    one under another label (`contradicted`), or none (`unrelated`), each with `accuracy_…` on them.
    """
    words = {
        "related": "have a copy or a connected image in training",
        "contradicted": "have one there under another label",
        "unrelated": "have none",
    }
    kinds = {
        kind: {"count": relatives[kind], "accuracy": relatives[f"accuracy_{kind}"], "words": text}
        for kind, text in words.items()
    }
    if quoted - honest > PROTOCOL_DIFFERENCE:
        outcome = "inflated"
    elif quoted - honest >= -PROTOCOL_DIFFERENCE:
        outcome = "not raised"
    else:
        outcome = "contradicted" if relatives["contradicted"] else "lower"
    total = sum(relatives[kind] for kind in words)
    return sentence(
        "leakage",
        title=title,
        quoted=quoted,
        honest=honest,
        test=test,
        kinds=kinds,
        total=total,
        outcome=outcome,
    )


def sentence(topic: str, **values: Any) -> str:
    """One sentence of `study_conclusions.txt`."""
    return render_block("study_conclusions.txt", topic, **values)
