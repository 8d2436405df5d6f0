"""Ways of calibrating, compared on photographs that none of them was fitted to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dermsentry.diagnoses import CODES, MELANOMA
from dermsentry.errors import InputError
from dermsentry.evaluation.measures import melanoma_truth
from dermsentry.files import to_json
from dermsentry.stats.calibration import (
    Floats,
    apply_temperature,
    calibration_error,
    candidate_log_losses,
    fit_bias_corrected_temperature,
    fit_temperature,
    known_logits,
)
from dermsentry.stats.intervals import Estimate
from dermsentry.stats.metrics import LARGEST_LOSS, losses
from dermsentry.stats.resampling import Resampler, group_folds

Method = Literal["none", "temperature", "bias-corrected temperature"]
METHODS: tuple[Method, ...] = get_args(Method)
"""The methods, the simplest first."""

_OfOlderCards = Literal["Platt", "isotonic"]  # they calibrated melanoma alone, and reached no bundle
_LOSSES = ("log_loss", "melanoma_log_loss", "melanoma_brier_score")


@dataclass(frozen=True)
class CalibrationMethod:
    """What one method does to photographs it was not fitted to.

    `log_loss` is over the nine classes (None in an older card for a method of melanoma alone); the others are
    melanoma's against the rest, None where no photograph is known to be one or the other. `chosen`: the
    lowest `log_loss`. `chosen_for_melanoma`: the lowest `melanoma_log_loss`.
    """

    method: Method | _OfOlderCards
    folds: int
    photographs: int
    melanomas: int
    log_loss: Estimate | None
    melanoma_log_loss: Estimate | None
    melanoma_brier_score: Estimate | None
    melanoma_calibration_error: Estimate | None
    chosen: bool
    chosen_for_melanoma: bool


def read_comparison(record: Any) -> tuple[CalibrationMethod, ...]:
    """What `compare_calibrations` gave, as a bundle's card holds it.

    A card comes from outside: anything else than such records gives nothing.
    """
    try:
        found = msgspec.convert(record, tuple[CalibrationMethod, ...])
        to_json(found)  # refuses what is not finite
    except (msgspec.ValidationError, ValueError):
        return ()
    return found


def compare_calibrations(
    logits: ArrayLike,
    truth: Sequence[str],
    groups: Sequence[str],
    *,
    folds: int = 5,
    seed: int = 0,
    resamples: int = 1000,
) -> tuple[CalibrationMethod, ...]:
    """Evaluate each way of calibrating on photographs that it was not fitted to.

    Each method is fitted to all folds but one and evaluated on that one, in turn.

    Parameters
    ----------
    logits
        Logits (n, 9) by `CODES`, of photographs that did not train the network.
    truth
        The label of each, as in `fit_temperature`; unknown ones are left out.
    groups
        The group of each photograph: a fold has all of a group or nothing, and the bootstrap draws groups.
    folds
        How many, at most as many as there are groups. Groups with a melanoma are dealt evenly.
    seed
        Random seed of the folds and of the bootstrap.
    resamples
        Bootstrap resamples, at least 2.

    Returns
    -------
    tuple
        One of each method, in the order of `METHODS`.

    Raises
    ------
    InputError
        What `fit_temperature` raises; groups that do not fit, fewer than two of them, or fewer folds.
    """
    values, _ = known_logits(logits, truth)
    if len(groups) != len(truth):
        raise InputError(f"Received {len(groups)} groups for {len(truth)} photographs; expected one each.")
    labels = [label for label in truth if label]
    lesions = [group for group, label in zip(groups, truth, strict=True) if label]
    if folds < 2 or len(set(lesions)) < 2:
        raise InputError(
            f"Received {len(set(lesions))} groups and {folds} folds; expected at least two of each, to fit "
            "on some and evaluate on others."
        )
    melanoma, told = melanoma_truth(labels)
    fold = group_folds(lesions, melanoma, folds, seed)
    fitted = _cross_fitted(values, labels, fold)
    of_melanoma = CODES.index(MELANOMA)

    def measure(weights: Floats) -> dict[str, Floats]:
        total = weights.sum(axis=1)
        out = {}
        for method, probability in fitted.items():
            out[f"{method} log_loss"] = weights @ candidate_log_losses(probability, labels) / total
            if told.any():
                own = losses(melanoma[told], probability[told, of_melanoma], weights[:, told])
                out |= {f"{method} melanoma_{name}": found for name, found in own.items()}
        return out

    resampler = Resampler(lesions, resamples, seed)
    found = resampler.measure(measure)
    rarer = resampler.among(told).rarer(melanoma[told]) if told.any() else 0.0
    every = resampler.effective(np.ones(len(labels), np.bool_))

    def lowest(figure: str) -> str | None:
        known = {method: found.get(f"{method} {figure}") for method in METHODS}
        values = {method: float(own.value) for method, own in known.items() if own is not None}
        return min(values, key=values.__getitem__, default=None)

    def interval(method: Method, name: str) -> Estimate | None:
        figure = found.get(f"{method} {name}")
        largest = LARGEST_LOSS.get(name.removeprefix("melanoma_"), math.inf)
        return figure and figure.loss(rarer if "melanoma" in name else every, largest)

    def error(method: Method) -> Estimate | None:
        stated = fitted[method][told, of_melanoma]
        return calibration_error(melanoma[told], stated, resampler.index[told]) if rarer >= 2 else None

    best, best_for_melanoma = lowest("log_loss"), lowest("melanoma_log_loss")
    return tuple(
        CalibrationMethod(
            method=method,
            folds=int(fold.max()) + 1,
            photographs=len(labels),
            melanomas=int(melanoma.sum()),
            **{name: interval(method, name) for name in _LOSSES},
            melanoma_calibration_error=error(method),
            chosen=method == best,
            chosen_for_melanoma=method == best_for_melanoma,
        )
        for method in METHODS
    )


def _cross_fitted(logits: Floats, labels: Sequence[str], fold: NDArray[np.int64]) -> dict[Method, Floats]:
    """By method: nine probabilities (n, 9), from fits without the photograph's fold."""
    fitted = {method: np.empty_like(logits) for method in METHODS}
    none, temperature, corrected = (fitted[method] for method in METHODS)
    for number in range(int(fold.max()) + 1):
        rest, here = fold != number, fold == number
        known = [label for label, used in zip(labels, rest, strict=True) if used]
        none[here] = apply_temperature(logits[here], 1.0)
        temperature[here] = apply_temperature(logits[here], fit_temperature(logits[rest], known))
        fit = fit_bias_corrected_temperature(logits[rest], known)
        corrected[here] = apply_temperature(logits[here], *fit)
    return fitted
