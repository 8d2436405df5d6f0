"""An evaluation in words: the verdict that opens the page, and the lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from dermsentry.diagnoses import CODES
from dermsentry.evaluation.clinical_utility.operating_point import CLAIM, proof
from dermsentry.evaluation.results import Evaluation
from dermsentry.evaluation.subgroups.comparison import FEW, Attribute, find_attribute
from dermsentry.reporting.prose import render_block
from dermsentry.stats.intervals import Estimate
from dermsentry.stats.numbers import (
    MISSING,
    Unit,
    beside_chance,
    counted,
    decimal,
    decimal_interval,
    decimal_range,
    digits_of,
    percent,
    percent_as_given,
    percent_interval,
    percent_range,
    significant,
    units,
)

CLINIC = 0.02
"""Melanomas among the lesions of the clinic that the words speak of, where none is given."""


def verdict(evaluation: Evaluation) -> tuple[str, ...]:
    """What the figures amount to, a few plain sentences on each topic, each with its numbers."""
    melanoma, point = evaluation.melanoma, evaluation.operating_point
    target = None if point is None else point.sensitivity_target
    asked = CLINIC if evaluation.prior_shift is None else evaluation.prior_shift.prevalence

    def share(figure: Estimate) -> str:
        own = figure is evaluation.sensitivity
        digits = digits_of(figure.value, figure.low, figure.high)
        return percent_interval(figure, digits, against=target if own else None)

    context = {
        "melanoma": melanoma,
        "decision": evaluation.decision,
        "point": point,
        "uniform": evaluation.decision.uniform(melanoma.photographs + melanoma.others),
        "few": melanoma.provable_sensitivity < CLAIM,
        "proof": proof(melanoma.groups),
        "clinic": next((value for value in evaluation.clinical_value if value.prevalence == asked), None),
        "curve": evaluation.decision_curve,
        "share": share,
        "given": percent_as_given,
        "significant": significant,
    }
    topics = ("alerts", "threshold", "ranking", "clinic", "benefit")
    return tuple(filter(None, (render_block("evaluation_verdict.txt", topic, **context) for topic in topics)))


def summary(evaluation: Evaluation, by: str | None = None) -> str:
    """The figures to know first as lines of text, for a terminal; those by source, and by the column `by`."""
    decision, melanoma = evaluation.decision, evaluation.melanoma
    found = f"{decision.detected} of {melanoma.photographs} found"
    alarms = f"{decision.alerts - decision.detected} false alarms in {melanoma.others}"
    proved = f"; {proof(melanoma.groups)}" if melanoma.groups else ""
    uniform = decision.uniform(melanoma.photographs + melanoma.others)
    if uniform:
        proved = "; every photograph raises an alert" if uniform == "all" else "; nothing raises an alert"
    few = len(evaluation.classes) < len(CODES)
    classes = f" in {len(evaluation.classes)} classes" if few and evaluation.accuracy else ""
    lines = [
        _share("melanoma sensitivity", decision.sensitivity, found + proved),
        _share("melanoma specificity", decision.specificity, alarms),
        *_threshold_lines(evaluation),
        _line("melanoma AUROC", *_decimals(melanoma.roc_auc), beside_chance(melanoma.roc_auc)),
        _share("balanced accuracy", evaluation.balanced_accuracy, "mean recall of the classes"),
        _share("accuracy", evaluation.accuracy, f"{evaluation.photographs} photographs{classes}"),
    ]
    for value in evaluation.clinical_value:
        needed = value.alerts_per_melanoma
        remark = "" if needed is None else f"{decimal(needed.value, 0)} alerts per melanoma found"
        name = f"PPV at {percent_as_given(value.prevalence)} prevalence"
        lines.append(_share(name, value.positive_predictive_value, remark))
    for row in evaluation.worklists:
        shares = ", ".join(
            f"{percent_interval(top.melanomas, 0)} in the first {percent_as_given(top.share)}"
            for top in row.first
        )
        name = f"worklist at {percent_as_given(row.prevalence)}"
        lines.append(_line(name, "", "", f"melanomas: {shares}"))
    hard = evaluation.hard_comparison
    if hard is not None:
        against = f"against {counted(hard.nevi, 'nevus', 'nevi')} proven by histology"
        remarks = filter(None, [beside_chance(hard.roc_auc), against])
        lines.append(_line("hardest: melanoma AUROC", *_decimals(hard.roc_auc), ", ".join(remarks)))
    lines += _artefact_lines(evaluation)
    lines += [line for attribute in evaluation.subgroups for line in _worst_line(attribute)]
    for column in dict.fromkeys(("source", by or "source")):
        lines += _subgroup_lines(find_attribute(evaluation.subgroups, column), evaluation.unit)
    return "\n".join(lines)


def _artefact_lines(evaluation: Evaluation) -> Iterator[str]:
    """The melanomas that lose their alert by a single artefact."""
    robustness = evaluation.robustness
    if robustness is None or not robustness.alerted:
        return
    yield "melanomas missed that raise an alert as they are, with:"
    for artefact in robustness.artefacts:
        missed = f"{artefact.melanomas_missed} of {robustness.alerted}"
        yield f"  {artefact.name:<31}{missed:<11}{percent_interval(artefact.missed)}"


def _worst_line(attribute: Attribute) -> Iterator[str]:
    """The subgroup where the AUROC is lowest, beside the mean of all."""
    worst = next((group for group in attribute.groups if group.value == attribute.worst), None)
    if worst is not None:
        mean = f"{worst.value}; mean of the subgroups {decimal_interval(attribute.mean)}"
        yield _line(f"worst by {attribute.name}", *_decimals(worst.roc_auc), mean)


def _subgroup_lines(attribute: Attribute | None, unit: Unit) -> Iterator[str]:
    """A heading and a line for each value: its AUROC, then what alerts do there."""
    if attribute is None:
        return
    yield f"melanoma AUROC by {attribute.name}:"
    for group in attribute.groups:
        shares = {"sensitivity": group.sensitivity, "specificity": group.specificity}
        told = [f"{name} {percent_interval(share)}" for name, share in shares.items() if share is not None]
        counts = f"{counted(group.melanomas, 'melanoma')} in {group.photographs:,}"
        few = [] if group.enough else [f"fewer than {FEW} {units(unit)} of melanoma or of others"]
        remarks = filter(None, [beside_chance(group.roc_auc), *told, counts, *few])
        yield _line(f"  {group.value}", *_decimals(group.roc_auc), ", ".join(remarks))


def _threshold_lines(evaluation: Evaluation) -> Iterator[str]:
    point = evaluation.operating_point
    if point is None:
        return
    target, there, needed = percent_as_given(point.sensitivity_target), point.sensitivity_there, point.needed
    remark = f"chosen on {point.chosen_on} for {target}" if point.chosen_on else ""
    if there is not None:
        remark += f", reached {percent_interval(there, 0, against=point.sensitivity_target)} there"
    yield _line("alert threshold", significant(point.threshold), "", remark)
    if needed.threshold is None:
        yield _line(f"needed for {target} here", MISSING, "", needed.reason)
    else:
        ends = f"{significant(needed.threshold.low, 2)}–{significant(needed.threshold.high, 2)}"
        cost = needed.specificity and f"specificity {percent_interval(needed.specificity, 0)}"
        yield _line(f"needed for {target} here", significant(needed.threshold.value, 2), ends, cost or "")


def _share(name: str, figure: Estimate | None, remark: str) -> str:
    if figure is None:
        return _line(name, MISSING)
    return _line(name, percent(figure.value), percent_range(figure), remark)


def _decimals(figure: Estimate | None) -> tuple[str, str]:
    return (MISSING, "") if figure is None else (decimal(figure.value), decimal_range(figure))


def _line(name: str, value: str, ends: str = "", remark: str = "") -> str:
    within = f"({ends})" if ends else ""
    return f"{name:<25}{value:>8}  {within:<17} {remark}".rstrip()
