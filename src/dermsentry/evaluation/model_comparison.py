"""Models on the same photographs: by how much each differs from the first, paired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from dermsentry.errors import InputError
from dermsentry.evaluation.measures import measure, prepare
from dermsentry.evaluation.results import Evaluation
from dermsentry.stats.intervals import Estimate, holm, p_value
from dermsentry.stats.resampling import Resampled, Resampler, paired_difference

COMPARED = ("roc_auc", "sensitivity", "specificity")


@dataclass(frozen=True)
class ModelDifference:
    """One of melanoma's figures of a model less that of the first.

    Parameters
    ----------
    model, figure
        Which model, and `roc_auc`, or `sensitivity` or `specificity` by its own alerts.
    first, other
        The figure of the first model and of this one.
    difference
        `other` less `first`, paired; an interval that excludes 0 is p < 0.05 before the adjustment.
    p_value, p_adjusted
        Of no difference, and the same by Holm's method for as many models as there are.

    Examples
    --------
    >>> import dermsentry, pandas
    >>> collection = dermsentry.read_collection("photographs")
    >>> table = pandas.DataFrame({"image": [path.stem for path in collection.paths]})
    >>> table["melanoma"] = table.index % 10 / 10
    >>> table.to_csv("table.csv", index=False)
    >>> ours = dermsentry.evaluate_table("table.csv", collection, threshold=0.5)
    >>> stricter = dermsentry.evaluate_table("table.csv", collection, threshold=0.8)
    >>> differences = dermsentry.compare_models({"at 0.5": ours, "at 0.8": stricter})
    >>> [(own.model, own.figure) for own in differences]
    [('at 0.8', 'roc_auc'), ('at 0.8', 'sensitivity'), ('at 0.8', 'specificity')]
    >>> differences[2].other.value > differences[2].first.value, differences[2].difference.value > 0
    (True, True)
    """

    model: str
    figure: str
    first: Estimate
    other: Estimate
    difference: Estimate
    p_value: float
    p_adjusted: float


def compare_models(evaluations: Mapping[str, Evaluation]) -> tuple[ModelDifference, ...]:
    """Compare models on the same photographs, each with the first: paired, over lesions.

    The same lesions are drawn for all in each resample, so that what makes photographs hard for every model
    cancels out. Intervals: Zou & Yue, Statistics in Medicine 32 (2013); several models: Holm, Scandinavian
    Journal of Statistics 6 (1979), within each figure.

    Parameters
    ----------
    evaluations
        By the model's name, two at least, of the same photographs in the same order.

    Returns
    -------
    tuple of ModelDifference
        Of each model but the first, melanoma's AUROC, then sensitivity and specificity at its alert
        threshold; without figures that there is nothing to measure for.

    Raises
    ------
    InputError
        Fewer than two evaluations, or of different photographs.

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> ours = dermsentry.evaluate("dermoscopy", collection, resamples=100)
    >>> both = {"dermoscopy": ours, "again": ours}
    >>> [(own.figure, own.difference.value) for own in dermsentry.compare_models(both)][0]
    ('roc_auc', 0.0)
    """
    names = list(evaluations)
    if len(names) < 2:
        raise InputError(f"Received {len(names)} evaluations to compare; expected at least two.")
    first = evaluations[names[0]]
    for name in names[1:]:
        if (evaluations[name].truth, evaluations[name].group) != (first.truth, first.group):
            raise InputError(
                f"{name} was evaluated on other photographs than {names[0]}, or in another order; "
                "evaluate both on the same part."
            )
    resampler = Resampler(first.group, first.resamples, first.seed)
    measured = [_measure(evaluation, resampler) for evaluation in evaluations.values()]
    found = []
    for figure in COMPARED:
        if figure not in measured[0]:
            continue
        own = measured[0][figure]
        apart = [paired_difference(other[figure], own) for other in measured[1:]]
        p_values = [p_value(one) for one in apart]
        found += [
            ModelDifference(name, figure, own[1], other[figure][1], difference, p, adjusted)
            for name, other, difference, p, adjusted in zip(
                names[1:], measured[1:], apart, p_values, holm(p_values), strict=True
            )
        ]
    return tuple(sorted(found, key=lambda one: names.index(one.model)))


def _measure(evaluation: Evaluation, resampler: Resampler) -> dict[str, tuple[Resampled, Estimate]]:
    cases = prepare(evaluation.truth, evaluation.probability, resampler, evaluation.threshold)
    found, rule = resampler.measure(partial(measure, cases)), len(cases.rules) - 1
    groups, others = (cases.told_groups(here) for here in (cases.melanoma, ~cases.melanoma))
    stated: dict[str, tuple[Resampled, Estimate]] = {}
    if not cases.told.any():
        return stated
    rarer = resampler.among(cases.told).rarer(cases.melanoma)
    keys = ("melanoma roc_auc", f"sensitivity {rule}", f"specificity {rule}")
    for name, key in zip(COMPARED, keys, strict=True):
        if key not in found:
            continue
        drawn, independent = found[key], {"sensitivity": groups, "specificity": others}.get(name)
        figure = drawn.bounded(rarer) if independent is None else drawn.proportion(independent)
        if figure is not None:
            stated[name] = (drawn, figure)
    return stated
