"""The study's conclusions: plain sentences, each from numbers and able to come out the other way.

A network overfits where its accuracy is far higher on its training images than on held-out ones, or where
the held-out loss has turned and risen; it underfits where it is not even right on those it was trained on.
The wording is in `reporting/templates/study_conclusions.txt`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dermsentry.collection import Collection
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


def assess_fit(accuracy: float, history: Mapping[str, Sequence[float]]) -> Fit:
    """Whether a network over- or underfits.

    Parameters
    ----------
    accuracy
        On the training images as they are. The history's own is taken while the network still changes and,
        with augmentation, on harder images; the higher of the two counts.
    history
        `accuracy`, `val_accuracy`, `val_loss` per epoch; the last three epochs are averaged.
    """
    own = max(accuracy, _end(history["accuracy"]))
    held = _end(history["val_accuracy"])
    losses = list(history["val_loss"])
    lowest = min(range(len(losses)), key=losses.__getitem__)
    rise = _end(losses) / losses[lowest] if losses[lowest] > 0 else 1.0
    over = own - held > GAP or (rise > RISE and own > held)
    under = own < LEARNED
    state: State = "both" if over and under else "overfit" if over else "underfit" if under else "neither"
    return Fit(state, own, held, lowest + 1, len(losses), rise)


def draw_conclusions(
    collection: Collection, split: Split, results: Sequence[Result], kept: Result
) -> Iterator[Conclusion]:
    """The study's conclusions in reading order, each from these results' numbers."""
    by = {(r.experiment.name, r.protocol): r for r in results}
    for sentence in _about_conflicts(collection, split):
        yield Conclusion("collection", sentence)
    for experiment in EXPERIMENTS:
        honest, assigned = by.get((experiment.name, "honest")), by.get((experiment.name, "as-assigned"))
        if honest and assigned:
            before = by.get((experiment.follows, "honest"))
            for sentence in _about_experiment(honest, assigned, before):
                yield Conclusion(experiment.name, sentence)
    evaluated = [r for r in results if r.protocol == "honest" and "test" in r.evaluations]
    ranked = sorted(evaluated, key=lambda r: -(figure(r, "test", "balanced_accuracy") or 0.0))
    if len(ranked) > 1:
        names = [r.experiment.title for r in ranked]
        values = [figure(r, "test", "balanced_accuracy") or 0.0 for r in ranked]
        yield Conclusion(
            "best", best_sentence(names[0], values[0], names[1], values[1], kept.experiment.title)
        )


def _about_experiment(honest: Result, assigned: Result, before: Result | None) -> Iterator[str]:
    title = honest.experiment.title
    if not honest.experiment.linear:
        fit = _fit_of(honest)
        yield fit_sentence(title, fit)
        if before is not None:
            tests = [figure(r, "test", "balanced_accuracy") for r in (before, honest)]
            yield cure_sentence(before.experiment.title, title, _fit_of(before), fit, *tests)
    test = figure(assigned, "test", "accuracy")
    yield leakage_sentence(title, assigned.val_accuracy, honest.val_accuracy, test, assigned.relatives)
    if "test" in honest.evaluations:
        melanoma = honest.evaluations["test"].melanoma
        decision = melanoma.decisions[0]
        low = decision.sensitivity.low if decision.sensitivity else None
        yield melanoma_sentence(title, decision.detected, melanoma.photographs, low)


def _fit_of(result: Result) -> Fit:
    columns = ("accuracy", "val_accuracy", "val_loss")
    return assess_fit(result.accuracy, {column: result.history[column].tolist() for column in columns})


def _about_conflicts(collection: Collection, split: Split) -> list[str]:
    own = dict(zip(collection.table["path"], collection.table["diagnosis"], strict=True))
    quarantined = split.table[split.table["reason"].str.startswith("conflict")]
    groups: dict[str, set[str]] = {}
    for path, group in zip(quarantined["path"], quarantined["group"], strict=True):
        groups.setdefault(group, set()).add(own[path])
    conflicting: dict[str, int] = {}
    others: dict[str, set[str]] = {}
    for path, group in zip(quarantined["path"], quarantined["group"], strict=True):
        name = name_of(own[path])
        conflicting[name] = conflicting.get(name, 0) + 1
        others.setdefault(name, set()).update(groups[group] - {own[path]})
    totals = collection.table["diagnosis"].value_counts()
    counts = {name_of(str(label)): int(count) for label, count in totals.items()}
    words = {name: " and ".join(sorted(name_of(label) for label in found)) for name, found in others.items()}
    names = sorted(conflicting, key=lambda name: -conflicting[name] / counts[name])
    return [conflict_sentence(name, conflicting[name], counts[name], words[name]) for name in names]


def figure(result: Result, test: str, name: str) -> float | None:
    """One overall figure of a result on `test` or `test-as-given`; None where there is nothing to measure."""
    evaluation = result.evaluations.get(test)
    found = evaluation.overall[name] if evaluation else None
    return None if found is None else found.value


def fit_sentence(title: str, fit: Fit) -> str:
    """What the curves say of one network."""
    return _write("fit", title=title, fit=fit)


def cure_sentence(
    before: str, after: str, first: Fit, second: Fit, first_test: float | None, second_test: float | None
) -> str:
    """Whether the next network cured what the one before suffered from, on images training never saw."""
    if first.state == "neither":
        outcome = "not needed"
    elif second.state == "neither":
        outcome = "cured"
    elif first.state in ("overfit", "both") and second.state == "underfit":
        outcome = "now underfits"
    elif first.state == "underfit" and second.state in ("overfit", "both"):
        outcome = "now overfits"
    else:
        outcome = "eased" if second.gap < first.gap - 0.02 else "not cured"
    sentence = _write(
        "cure",
        before=before,
        after=after,
        outcome=outcome,
        first=first,
        second=second,
        first_test=first_test,
        second_test=second_test,
    )
    return sentence[:1].upper() + sentence[1:]


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
    return _write(
        "leakage",
        title=title,
        quoted=quoted,
        honest=honest,
        test=test,
        kinds=kinds,
        total=total,
        outcome=outcome,
    )


def melanoma_sentence(title: str, detected: int, melanomas: int, low: float | None) -> str:
    """How many melanomas of Test were detected, and what that proves."""
    return _write("melanoma", title=title, detected=detected, melanomas=melanomas, low=low)


def best_sentence(title: str, figure: float, second: str, second_figure: float, by_validation: str) -> str:
    """Which network did best on Test without leaks, and which one validation had chosen."""
    return _write(
        "best",
        title=title,
        figure=figure,
        second=second,
        second_figure=second_figure,
        by_validation=by_validation,
    )


def conflict_sentence(name: str, conflicting: int, count: int, others: str) -> str:
    """What images of a class that are also labelled `others` do to it; `count` are all of the class."""
    return _write("conflict", name=name, conflicting=conflicting, count=count, others=others)


def _write(block: str, **values: Any) -> str:
    return render_block("study_conclusions.txt", block, **values)


def _end(values: Sequence[float]) -> float:
    """The mean of the last three."""
    last = values[-3:]
    return sum(last) / len(last)
