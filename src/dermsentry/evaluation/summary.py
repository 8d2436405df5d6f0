"""An evaluation in words: the verdict that opens the page, and the lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from dermsentry.evaluation.caveats import CLAIM
from dermsentry.evaluation.clinical_utility.operating_point import proof
from dermsentry.evaluation.results import Evaluation
from dermsentry.stats.intervals import Estimate, provable

CLINIC = 0.02
"""Melanomas among the lesions of the clinic that the words speak of, where none is given."""


def verdict(evaluation: Evaluation) -> tuple[str, ...]:
    """What the figures amount to, a few plain sentences, each with its numbers."""
    return (
        *_found(evaluation),
        *_promise(evaluation),
        *_ranking(evaluation),
        *_in_a_clinic(evaluation),
        *_worth(evaluation),
    )


def summary(evaluation: Evaluation) -> str:
    """The figures to know first as lines of text, for a terminal."""
    decision, melanoma = evaluation.decision, evaluation.melanoma
    alarms = decision.alerts - decision.detected
    found = f"{decision.detected} of {melanoma.photographs} found"
    lines = [
        _line(
            "melanoma sensitivity",
            decision.sensitivity,
            100,
            f"{found}; {proof(melanoma.groups)}" if melanoma.groups else found,
        ),
        _line(
            "melanoma specificity", decision.specificity, 100, f"{alarms} false alarms in {melanoma.others}"
        ),
        *_threshold_lines(evaluation),
        _line("melanoma AUROC", melanoma.roc_auc, 1, ""),
        _line("balanced accuracy", evaluation.balanced_accuracy, 100, "mean recall of the classes"),
        _line("accuracy", evaluation.accuracy, 100, f"{evaluation.photographs} photographs"),
    ]
    for value in evaluation.clinical_value:
        needed = value.alerts_per_melanoma
        remark = "" if needed is None else f"{needed.value:.0f} alerts per melanoma found"
        share = f"right alerts at {_percent(value.prevalence)}"
        lines.append(_line(share, value.positive_predictive_value, 100, remark))
    return "\n".join(lines)


def share(figure: Estimate) -> str:
    """A share in words: `94 % (70 to 100)`."""
    return f"{_percent(figure.value)} ({100 * figure.low:.0f} to {100 * figure.high:.0f})"


def _percent(value: float) -> str:
    """Whole per cents; a decimal below 1 %, where rounding would hide the number."""
    return f"{100 * value:.1f} %" if 0 < value < 0.0095 else f"{100 * value:.0f} %"


def _threshold_lines(evaluation: Evaluation) -> Iterator[str]:
    point = evaluation.operating_point
    if point is None:
        return
    stated = f"for {_percent(point.sensitivity_target)}"
    there = "" if point.sensitivity_there is None else f", reached {share(point.sensitivity_there)} there"
    remark = f"chosen on {point.chosen_on} {stated}{there}" if point.chosen_on else ""
    yield f"{'alert threshold':<22}{point.threshold:>8.3g}  {'':<18}{remark}".rstrip()
    cost = "" if point.needed.specificity is None else f"specificity {share(point.needed.specificity)}"
    if point.needed.threshold is not None:
        value, low, high = (
            f"{end:.2g}"
            for end in (point.needed.threshold.value, point.needed.threshold.low, point.needed.threshold.high)
        )
        yield f"{f'{stated} here it takes':<22}{value:>8}  {f'({low} to {high})':<18}{cost}".rstrip()


def _line(name: str, figure: Estimate | None, scale: int, remark: str) -> str:
    if figure is None:
        return f"{name:<22}{'–':>8}"
    form = ".1f" if scale == 100 else ".3f"
    value, low, high = (format(scale * number, form) for number in (figure.value, figure.low, figure.high))
    unit = " %" if scale == 100 else ""
    return f"{name:<22}{value + unit:>8}  {f'({low} to {high})':<18}{remark}".rstrip()


def _found(evaluation: Evaluation) -> Iterator[str]:
    decision, melanoma = evaluation.decision, evaluation.melanoma
    if decision.sensitivity is None:
        yield "None of these photographs is a melanoma, so whether one would be found stays open."
    else:
        few = f"; {proof(melanoma.groups)} and no more" if provable(melanoma.groups) < CLAIM else ""
        yield (
            f"The model raised an alert for {decision.detected} of {melanoma.photographs} photographs of "
            f"melanoma, {share(decision.sensitivity)}{few}."
        )
    if decision.specificity is not None:
        yield (
            f"It raised a false one for {decision.alerts - decision.detected:,} of {melanoma.others:,} "
            f"others: a specificity of {share(decision.specificity)}."
        )


def _promise(evaluation: Evaluation) -> Iterator[str]:
    point = evaluation.operating_point
    if point is None or point.sensitivity is None or point.needed.threshold is None:
        return
    target, reached = _percent(point.sensitivity_target), point.sensitivity
    if reached.high < point.sensitivity_target:
        kept = f"Its threshold was meant to find {target} and does not do so here"
    elif reached.low >= point.sensitivity_target:
        kept = f"Its threshold was meant to find {target}, and does so here"
    else:
        kept = f"Its threshold was meant to find {target}; these photographs neither prove nor refute that"
    cost = point.needed.specificity
    needed = (
        f"To find {target} of these, the threshold would have had to be {point.needed.threshold.value:.2g}"
    )
    yield f"{kept}. {needed}{'' if cost is None else f', at a specificity of {share(cost)}'}."


def _ranking(evaluation: Evaluation) -> Iterator[str]:
    area = evaluation.melanoma.roc_auc
    if area is not None:
        yield (
            "Of a melanoma and another lesion drawn at random, it suspects the melanoma more "
            f"{100 * area.value:.0f} times in 100 ({100 * area.low:.0f} to {100 * area.high:.0f}; AUROC)."
        )


def _in_a_clinic(evaluation: Evaluation) -> Iterator[str]:
    chosen = None if evaluation.prior_shift is None else evaluation.prior_shift.prevalence
    for value in evaluation.clinical_value:
        right = value.positive_predictive_value
        if value.prevalence == (chosen or CLINIC) and right is not None:
            yield (
                f"Where {_percent(value.prevalence)} of lesions are melanomas, {share(right)} of the alerts "
                f"would be right, and {value.per_thousand.alerts.value:.0f} of 1,000 lesions would raise one."
            )


def _worth(evaluation: Evaluation) -> Iterator[str]:
    curve = evaluation.decision_curve
    if curve is None:
        return
    more = "does more good than referring everyone or nobody"
    if not curve.useful:
        yield f"It is not shown at any threshold probability that acting on its probabilities {more}."
    else:
        low, high = curve.useful[0][0], curve.useful[-1][1]
        gaps = ", though it is not shown at each one" if len(curve.useful) > 1 else ""
        yield (
            f"Acting on its probabilities {more} at threshold probabilities from {_percent(low)} to "
            f"{_percent(high)}{gaps}."
        )
    for low, high in curve.harmful:
        yield f"From {_percent(low)} to {_percent(high)} one would do better without it."
