"""Findings in plain sentences, each from numbers and able to come out the other way.

A network overfits where it is right on its training photographs far more often than on held-out ones, or
where the held-out loss has turned and risen; it underfits where it is not even right on those it trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["overfit", "underfit", "both", "neither"]


@dataclass(frozen=True)
class Finding:
    """A sentence, and the experiment it is about; `collection` where it is about the photographs."""

    about: str
    sentence: str


GAP = 0.10
"""Training accuracy this far above validation accuracy is overfitting."""
RISE = 1.15
"""Validation loss at the end, against its lowest, from which it has turned."""
LEARNED = 0.70
"""Training accuracy below which a network has not even learned its own photographs."""
PROTOCOL_DIFFERENCE = 0.03
"""A difference in accuracy that is worth a sentence of its own."""


@dataclass(frozen=True)
class Fit:
    """How a network fits, and by which numbers. Accuracies are of the last epoch of training, 0 to 1."""

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


def judge_fit(accuracy: float, history: Mapping[str, Sequence[float]]) -> Fit:
    """Whether a network over- or underfits.

    Parameters
    ----------
    accuracy
        On the training photographs as they are. The history's own is taken while the network still changes
        and, with augmentation, on harder pictures; the higher of the two counts.
    history
        `accuracy`, `val_accuracy`, `val_loss` per epoch; the last three epochs are averaged.
    """
    last = slice(-3, None)
    own = max(accuracy, _mean(history["accuracy"][last]))
    held = _mean(history["val_accuracy"][last])
    losses = list(history["val_loss"])
    lowest = min(range(len(losses)), key=losses.__getitem__)
    rise = _mean(losses[last]) / losses[lowest] if losses[lowest] > 0 else 1.0
    over = own - held > GAP or (rise > RISE and own > held)
    under = own < LEARNED
    state: State = "both" if over and under else "overfit" if over else "underfit" if under else "neither"
    return Fit(state, own, held, lowest + 1, len(losses), rise)


def fit_sentence(title: str, fit: Fit) -> str:
    """What the curves say of one network."""
    numbers = (
        f"at the end it is right on {_percent(fit.accuracy)} of its training photographs and on "
        f"{_percent(fit.val_accuracy)} of the "
        f"validation photographs ({_points(fit.gap)} apart)"
    )
    if fit.rise > RISE:
        loss = (
            f"validation loss was lowest in epoch {fit.lowest_val_loss_epoch} of {fit.epochs} and has "
            f"risen by {_percent(fit.rise - 1)} since"
        )
    elif fit.lowest_val_loss_epoch >= fit.epochs - 1:
        loss = f"validation loss was still falling at epoch {fit.epochs}"
    else:
        loss = f"validation loss has stayed near its lowest, of epoch {fit.lowest_val_loss_epoch}"
    verdict = {
        "overfit": "overfits",
        "underfit": "underfits",
        "both": "underfits and overfits at once (its own photographs are not learned, others even less)",
        "neither": "neither overfits nor underfits",
    }[fit.state]
    return f"{title} {verdict}: {numbers}; {loss}."


def cure_sentence(
    before: str, after: str, first: Fit, second: Fit, first_test: float | None, second_test: float | None
) -> str:
    """Whether the next step cured what the one before suffered from, on photographs training never saw."""
    narrowed = second.gap < first.gap - 0.02
    cured = first.state != "neither" and second.state == "neither"
    change = f"the gap went from {_points(first.gap)} to {_points(second.gap)}"
    if first.state in ("underfit", "both"):
        learned = f"training accuracy went from {_percent(first.accuracy)} to {_percent(second.accuracy)}"
        change = f"{learned}, {change}"
    gained = second.val_accuracy - first.val_accuracy
    moved = f"validation accuracy {'rose' if gained > 0.005 else 'fell' if gained < -0.005 else 'stayed'}"
    moved += f" ({_percent(first.val_accuracy)} to {_percent(second.val_accuracy)})"
    if first.state == "neither":
        verdict = f"{before} needed no cure; with {after}"
    elif cured:
        verdict = f"{after} cured it:"
    elif first.state in ("overfit", "both") and second.state == "underfit":
        verdict = f"{after} exchanged overfitting for underfitting:"
    elif first.state == "underfit" and second.state in ("overfit", "both"):
        verdict = f"{after} exchanged underfitting for overfitting:"
    elif narrowed:
        verdict = f"{after} eased it and did not cure it:"
    else:
        verdict = f"{after} did not cure it:"
    sentence = f"{verdict} {change}, and {moved}"
    if first_test is not None and second_test is not None:
        sentence += (
            f"; on the Test photographs without leaks, balanced accuracy went from {_percent(first_test)} "
            f"to {_percent(second_test)}"
        )
    return _capital(sentence) + "."


def leakage_sentence(
    title: str, quoted: float, honest: float, test: float | None, relatives: Mapping[str, Any]
) -> str:
    """How much of the validation accuracy one would quote is leakage.

    `relatives` counts the validation photographs that have a copy or a connected photograph in training
    (`related`), one under another diagnosis (`contradicted`), or none (`unrelated`), each with
    `accuracy_…` on them.
    """
    total = relatives["related"] + relatives["contradicted"] + relatives["unrelated"]
    kinds = {
        "related": "have a copy or a connected photograph in training",
        "contradicted": "have one there under another diagnosis",
        "unrelated": "have none",
    }
    counted = [
        f"{relatives[kind]:,} {words} (right on {_percent(relatives[f'accuracy_{kind}'])})"
        for kind, words in kinds.items()
        if relatives[kind]
    ]
    start = f"{title}, as assigned, would be quoted at {_percent(quoted)} validation accuracy. "
    if relatives["unrelated"] == total:
        middle = "None of its validation photographs has a relative in training, so copies explain none of it"
    else:
        middle = f"Of its {total:,} validation photographs {_listed(counted)}"
    excess = quoted - honest
    if excess > PROTOCOL_DIFFERENCE:
        end = (
            f"The same recipe split honestly reaches {_percent(honest)}: {_points(excess)} of the quoted "
            "figure are leakage and the luck of the split"
        )
    elif excess >= -PROTOCOL_DIFFERENCE:
        end = (
            f"Split honestly the same recipe reaches {_percent(honest)}: the quoted figure is not visibly "
            "raised by leakage"
        )
    elif relatives["contradicted"]:
        end = (
            f"Split honestly, with what stands under two diagnoses set apart, the same recipe reaches "
            f"{_percent(honest)}: the contradictions took more from the quoted figure than copies gave it"
        )
    else:
        end = (
            f"Split honestly the same recipe reaches {_percent(honest)}, more than quoted: leakage did not "
            "raise it"
        )
    if test is not None:
        end += f". As assigned it is right on {_percent(test)} of Test without leaks"
    return f"{start}{middle}. {end}."


def melanoma_sentence(title: str, detected: int, melanomas: int, low: float | None) -> str:
    """How many melanomas of Test were found, and what that proves."""
    if not melanomas:
        return f"{title}: Test has no melanoma, so nothing is known of the alerts."
    if detected == melanomas:
        verdict = "found every one"
    elif detected == 0:
        verdict = "found none"
    else:
        verdict = f"found {detected} and missed {melanomas - detected}"
    proof = "" if low is None else f" That shows a sensitivity of at least {_percent(low)} and no more."
    return f"{title}: of {melanomas} melanomas in Test without leaks it {verdict}.{proof}"


def best_sentence(title: str, figure: float, second: str, second_figure: float, by_validation: str) -> str:
    """Which network did best on Test without leaks, and which one validation had chosen."""
    if title == by_validation:
        chosen = "Validation, which alone may choose, chose the same one"
    else:
        chosen = f"Validation, which alone may choose, chose {by_validation}"
    return (
        f"On Test without leaks, {title} has the highest balanced accuracy, {_percent(figure)}, before "
        f"{second}, {_percent(second_figure)}. {chosen}."
    )


def conflict_sentences(
    conflicting: Mapping[str, int], counts: Mapping[str, int], others: Mapping[str, str]
) -> list[str]:
    """What photographs under two diagnoses do to each class they are in.

    Parameters
    ----------
    conflicting, counts
        By class name: photographs that also stand under another diagnosis, and photographs in all.
    others
        By class name: the other diagnoses, in words.
    """
    sentences = []
    for name in sorted(conflicting, key=lambda name: -conflicting[name] / counts[name]):
        share = conflicting[name] / counts[name]
        start = f"{conflicting[name]} of {counts[name]} photographs of {name} ({_percent(share)})"
        if share > 0.5:
            end = "most of this class is another class's photographs, and a recall on it means nothing"
        else:
            end = "a network that learns them learns a contradiction, and no answer on them is right"
        sentences.append(f"{start} also stand under {others[name]}: {end}.")
    return sentences


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _points(value: float) -> str:
    return f"{100 * value:.1f} percentage points"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
