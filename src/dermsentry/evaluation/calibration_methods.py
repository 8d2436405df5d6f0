"""Ways of calibrating, compared on photographs that none of them was fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dermsentry.diagnoses import CODES, MELANOMA, codes_of
from dermsentry.errors import InputError
from dermsentry.stats.calibration import (
    Floats,
    apply_isotonic,
    apply_platt,
    apply_temperature,
    candidate_log_losses,
    fit_bias_corrected_temperature,
    fit_isotonic,
    fit_platt,
    fit_temperature,
    known_logits,
    melanoma_log_odds,
)
from dermsentry.stats.intervals import (
    Estimate,
    bootstrap,
    group_index,
    percentile_interval,
)
from dermsentry.stats.metrics import brier_score_loss, expected_calibration_error, log_loss

NINE = ("none", "temperature", "bias-corrected temperature")
"""The methods that give nine probabilities, the simplest first."""

MELANOMA_ALONE = ("Platt", "isotonic")
"""Those that restate melanoma's alone."""


@dataclass(frozen=True)
class CalibrationMethod:
    """What one method does to photographs it was not fitted to.

    `log_loss` is over the nine classes, None for a method of melanoma alone; the others are melanoma's
    against the rest, None where no photograph is known to be one or the other. `chosen`: the lowest
    `log_loss` of those that have one. `chosen_for_melanoma`: the lowest `melanoma_log_loss` of all.
    """

    method: str
    folds: int
    photographs: int
    melanomas: int
    log_loss: Estimate | None
    melanoma_log_loss: Estimate | None
    melanoma_brier_score: Estimate | None
    melanoma_calibration_error: Estimate | None
    melanoma_calibration_error_equal_mass: Estimate | None
    chosen: bool
    chosen_for_melanoma: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            name: value.as_dict() if isinstance(value, Estimate) else value
            for name, value in vars(self).items()
        }


def read_comparison(record: Any) -> tuple[CalibrationMethod, ...]:
    """What `compare_calibrations` gave, from its dicts as a bundle's card holds them.

    A card comes from outside: anything else than such dicts gives nothing.
    """
    try:
        return tuple(_read_method(entry) for entry in record)
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()


def _read_method(entry: Any) -> CalibrationMethod:
    def interval(name: str) -> Estimate | None:
        figure = entry[name]
        if figure is None:
            return None
        ends = [figure[end] for end in ("value", "low", "high")]
        if not all(type(end) in (int, float) and np.isfinite(end) for end in ends):
            raise ValueError(name)
        return Estimate(*map(float, ends))

    method, counts = entry["method"], [entry[name] for name in ("folds", "photographs", "melanomas")]
    if method not in (*NINE, *MELANOMA_ALONE) or not all(type(count) is int for count in counts):
        raise ValueError(method)
    return CalibrationMethod(
        method=method,
        folds=counts[0],
        photographs=counts[1],
        melanomas=counts[2],
        log_loss=interval("log_loss"),
        melanoma_log_loss=interval("melanoma_log_loss"),
        melanoma_brier_score=interval("melanoma_brier_score"),
        melanoma_calibration_error=interval("melanoma_calibration_error"),
        melanoma_calibration_error_equal_mass=interval("melanoma_calibration_error_equal_mass"),
        chosen=entry["chosen"] is True,
        chosen_for_melanoma=entry["chosen_for_melanoma"] is True,
    )


def compare_calibrations(
    logits: ArrayLike,
    truth: Sequence[str],
    groups: Sequence[str],
    *,
    folds: int = 5,
    seed: int = 0,
    resamples: int = 1000,
) -> tuple[CalibrationMethod, ...]:
    """Judge every way of calibrating on photographs that it was not fitted to.

    Each method is fitted to all folds but one and judged on that one, in turn: isotonic regression, which
    can follow every photograph it is fitted to, gains nothing by that.

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
    seed, resamples
        Of the folds and of the bootstrap.

    Returns
    -------
    tuple
        One of each method, in the order of `NINE` and `MELANOMA_ALONE`.

    Raises
    ------
    InputError
        What `fit_temperature` raises; groups that do not fit, fewer than two of them, or fewer folds.
    """
    values, _ = known_logits(logits, truth, CODES)
    if len(groups) != len(truth):
        raise InputError(f"Received {len(groups)} groups for {len(truth)} photographs; expected one each.")
    labels = [label for label in truth if label]
    lesions = [group for group, label in zip(groups, truth, strict=True) if label]
    if folds < 2 or len(set(lesions)) < 2:
        raise InputError(
            f"Received {len(set(lesions))} groups and {folds} folds; expected at least two of each, to fit "
            "on some and judge on others."
        )
    melanoma = np.array([label == MELANOMA for label in labels])
    told = melanoma | np.array([MELANOMA not in codes_of(label) for label in labels])
    fold = _group_folds(lesions, melanoma, folds, seed)
    nine, score = _cross_fitted(values, labels, melanoma, told, fold)

    def measure(weights: Floats) -> dict[str, Floats]:
        total = weights.sum(axis=1)
        out = {
            f"{method} log_loss": weights @ candidate_log_losses(probability, labels) / total
            for method, probability in nine.items()
        }
        for method, probability in score.items() if told.any() else ():
            own, outcome, weight = probability[told], melanoma[told], weights[:, told]
            pair = np.stack([1 - own, own], axis=1)
            errors = [
                expected_calibration_error(outcome, own, equal_mass=equal_mass, sample_weight=weight)
                for equal_mass in (False, True)
            ]
            out |= {
                f"{method} melanoma_log_loss": log_loss(outcome, pair, sample_weight=weight),
                f"{method} melanoma_brier_score": brier_score_loss(outcome, own, sample_weight=weight),
                f"{method} melanoma_calibration_error": errors[0],
                f"{method} melanoma_calibration_error_equal_mass": errors[1],
            }
        return out

    found = {name: float(value[0]) for name, value in measure(np.ones((1, len(labels)))).items()}
    drawn = bootstrap(lesions, measure, resamples=resamples, seed=seed)

    def lowest(methods: Sequence[str], figure: str) -> str | None:
        known = [method for method in methods if found.get(f"{method} {figure}", np.nan) >= 0]
        return min(known, key=lambda method: found[f"{method} {figure}"], default=None)

    def interval(name: str) -> Estimate | None:
        if name not in found:
            return None
        return percentile_interval(found[name], drawn[name], unbiased="calibration" in name)

    best, best_for_melanoma = lowest(NINE, "log_loss"), lowest([*NINE, *MELANOMA_ALONE], "melanoma_log_loss")
    return tuple(
        CalibrationMethod(
            method=method,
            folds=int(fold.max()) + 1,
            photographs=len(labels),
            melanomas=int(melanoma.sum()),
            log_loss=interval(f"{method} log_loss"),
            melanoma_log_loss=interval(f"{method} melanoma_log_loss"),
            melanoma_brier_score=interval(f"{method} melanoma_brier_score"),
            melanoma_calibration_error=interval(f"{method} melanoma_calibration_error"),
            melanoma_calibration_error_equal_mass=interval(f"{method} melanoma_calibration_error_equal_mass"),
            chosen=method == best,
            chosen_for_melanoma=method == best_for_melanoma,
        )
        for method in (*NINE, *MELANOMA_ALONE)
    )


def _group_folds(
    groups: Sequence[str], melanoma: NDArray[np.bool_], folds: int, seed: int
) -> NDArray[np.int64]:
    """The fold of each photograph, (n,): groups at random, those with a melanoma dealt out first."""
    index = group_index(groups)
    number = int(index.max()) + 1
    order = np.random.default_rng(seed).permutation(number)
    suspected = np.bincount(index, weights=melanoma, minlength=number) > 0
    order = order[np.argsort(~suspected[order], kind="stable")]
    fold = np.empty(number, dtype=np.int64)
    fold[order] = np.arange(number) % min(folds, number)
    return fold[index]


def _cross_fitted(
    logits: Floats,
    labels: Sequence[str],
    melanoma: NDArray[np.bool_],
    told: NDArray[np.bool_],
    fold: NDArray[np.int64],
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """By method: nine probabilities (n, 9), and melanoma's (n,), from fits without the photograph's fold.

    NaN where nothing outside the fold is known to be a melanoma or not.
    """
    nine = {method: np.empty_like(logits) for method in NINE}
    alone = {method: np.full(len(labels), np.nan) for method in MELANOMA_ALONE}
    odds = melanoma_log_odds(logits)
    for number in range(int(fold.max()) + 1):
        rest, here = fold != number, fold == number
        known = [label for label, used in zip(labels, rest, strict=True) if used]
        nine["none"][here] = apply_temperature(logits[here], 1.0)
        nine["temperature"][here] = apply_temperature(logits[here], fit_temperature(logits[rest], known))
        fitted = fit_bias_corrected_temperature(logits[rest], known)
        nine["bias-corrected temperature"][here] = apply_temperature(logits[here], *fitted)
        known_odds, outcome = odds[rest & told], melanoma[rest & told]
        if len(outcome):
            alone["Platt"][here] = apply_platt(odds[here], *fit_platt(known_odds, outcome))
            alone["isotonic"][here] = apply_isotonic(odds[here], *fit_isotonic(known_odds, outcome))
    column = CODES.index(MELANOMA)
    return nine, {method: probability[:, column] for method, probability in nine.items()} | alone
