"""The figures of a cross-validation from what was predicted for the left-out photographs."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermsentry.diagnoses import is_melanoma
from dermsentry.evaluation.cross_validation.results import (
    FIGURES,
    LOWER_IS_BETTER,
    CrossValidation,
    FoldFigures,
    FoldResult,
    FoldRun,
)
from dermsentry.evaluation.measures import LabelledCases, measure, prepare, raises_alert
from dermsentry.evaluation.predictions import class_figures, melanoma_figures, overall_figures
from dermsentry.evaluation.results import Evaluation
from dermsentry.files import write_bytes
from dermsentry.split import Fold
from dermsentry.split.folds import LEARNED_FROM
from dermsentry.stats.intervals import Estimate, mean_of
from dermsentry.stats.resampling import Resampler

FEW = 10
"""Melanoma lesions below which a fold's figures say little."""

SENSITIVITY = 0.95


@dataclass(frozen=True, eq=False)
class LeftOut:
    """The predictions of n left-out photographs: labels, probabilities (n, 9), groups, and alerts (n,).

    `unreadable` counts those that have none.
    """

    labels: tuple[str, ...]
    probability: NDArray[np.float64]
    groups: tuple[str, ...]
    alert: NDArray[np.bool_]
    unreadable: int = 0

    def cases(self, resampler: Resampler) -> LabelledCases:
        """The photographs prepared for measuring, the model's own alerts as the only rule."""
        made = prepare(self.labels, self.probability, resampler, None)
        return replace(made, rules=((None, self.alert[made.told]),))

    def save(self, path: Path, key: str) -> None:
        """Write it to a file, under a key of what it is the result of. Raises OutputError."""
        arrays: dict[str, Any] = {"key": key, **vars(self)}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_bytes(path, buffer.getvalue())


def left_out_of(evaluation: Evaluation) -> LeftOut:
    """The predictions that an evaluation is of."""
    return LeftOut(
        evaluation.truth,
        evaluation.probability,
        evaluation.group,
        raises_alert(evaluation.probability, evaluation.threshold),
        len(evaluation.about["unreadable"]),
    )


def read_left_out(path: Path, key: str) -> LeftOut | None:
    """What `LeftOut.save` wrote under this key; None where it is not there, not whole, or another's."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as saved:
            if str(saved["key"]) != key:
                return None
            labels, groups = (tuple(saved[name].tolist()) for name in ("labels", "groups"))
            return LeftOut(labels, saved["probability"], groups, saved["alert"], int(saved["unreadable"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def joined_left_out(parts: Sequence[LeftOut]) -> LeftOut:
    """The photographs of several folds as one set."""
    return LeftOut(
        tuple(label for part in parts for label in part.labels),
        np.concatenate([part.probability for part in parts]),
        tuple(group for part in parts for group in part.groups),
        np.concatenate([part.alert for part in parts]),
    )


@dataclass(frozen=True, eq=False)
class Measured:
    """The figures of left-out photographs, and how many lesions they rest on."""

    figures: FoldFigures
    groups: int
    melanoma_groups: int
    other_groups: int


def measure_left_out(runs: Sequence[LeftOut], resamples: int, seed: int) -> list[Measured]:
    """The figures of each run on the same photographs, as an evaluation states them."""
    resampler = Resampler(runs[0].groups, resamples, seed)
    return [_measured(run.cases(resampler)) for run in runs]


def _measured(cases: LabelledCases) -> Measured:
    found = cases.resampler.measure(partial(measure, cases))
    melanoma = melanoma_figures(cases, found)
    decision = melanoma.decisions[0]
    at_95 = [point.specificity for point in melanoma.at_sensitivity if point.sensitivity == SENSITIVITY]
    figures = FoldFigures(
        melanoma_roc_auc=melanoma.roc_auc,
        melanoma_average_precision=melanoma.average_precision,
        sensitivity=decision.sensitivity,
        specificity=decision.specificity,
        specificity_at_95_sensitivity=next(iter(at_95), None),
        balanced_accuracy=overall_figures(cases, found, class_figures(cases, found))["balanced_accuracy"],
        melanoma_calibration_error=melanoma.calibration_error,
    )
    others = cases.told_groups(~cases.melanoma)
    return Measured(figures, cases.resampler.count(), melanoma.groups, others)


def over_seeds(runs: Sequence[Measured]) -> Measured:
    """The mean over the runs of one fold: of the same photographs, so no narrower than each."""
    return replace(runs[0], figures=_mean(runs, np.ones((len(runs), len(runs)))))


def over_folds(folds: Sequence[Measured]) -> FoldFigures:
    """The mean over folds, of those where there is something to measure; folds are independent."""
    return _mean(folds, np.eye(len(folds)))


def _mean(parts: Sequence[Measured], correlation: NDArray[np.float64]) -> FoldFigures:
    made: dict[str, Estimate | None] = {}
    for name in FIGURES:
        known = [figure for part in parts if (figure := getattr(part.figures, name)) is not None]
        made[name] = mean_of(known, correlation[: len(known), : len(known)]) if known else None
    return FoldFigures(**made)


def spread_of(runs: Sequence[FoldFigures]) -> dict[str, float | None]:
    """The standard deviation of each figure over runs; None with fewer than two figures."""
    spread: dict[str, float | None] = {}
    for name in FIGURES:
        known = [figure.value for run in runs if (figure := getattr(run, name)) is not None]
        spread[name] = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return spread


def worst_of(folds: Sequence[FoldResult]) -> dict[str, str | None]:
    """The name of the fold where each figure is worst; None where no fold has it."""
    worst: dict[str, str | None] = {}
    for name in FIGURES:
        known = {fold.name: figure.value for fold in folds if (figure := getattr(fold.figures, name))}
        pick: Callable[..., str] = max if name in LOWER_IS_BETTER else min
        worst[name] = pick(known, key=known.__getitem__) if known else None
    return worst


@dataclass(frozen=True, eq=False)
class FoldPredictions:
    """A fold, and for each of its trainings the random seed, the folder and what was predicted."""

    fold: Fold
    seeds: tuple[int, ...]
    folders: tuple[Path, ...]
    left_out: tuple[LeftOut, ...]

    def result(self, measured: Sequence[Measured], mean: Measured) -> FoldResult:
        """The figures of each run and of their mean, with what they rest on."""
        own = [one.figures for one in measured]
        counts, labels = self.fold.split.counts(), self.left_out[0].labels
        return FoldResult(
            name=self.fold.name,
            told=self.fold.told,
            photographs=len(labels),
            groups=mean.groups,
            melanomas=sum(is_melanoma(label) is True for label in labels),
            melanoma_groups=mean.melanoma_groups,
            learned_from=sum(counts.get(part, 0) for part in LEARNED_FROM),
            quarantined=self.fold.across + self.fold.unknown,
            figures=mean.figures,
            spread=spread_of(own),
            runs=tuple(map(FoldRun, self.seeds, self.folders, own)),
        )


def summarise(
    left_out: str,
    folds: Sequence[FoldPredictions],
    *,
    resamples: int,
    seed: int,
    warnings: Sequence[str],
    about: Mapping[str, Any],
) -> CrossValidation:
    """What the folds show, each alone and together; every fold has the same seeds."""
    measured = [measure_left_out(fold.left_out, resamples, seed) for fold in folds]
    means = [over_seeds(runs) for runs in measured]
    results = [fold.result(runs, mean) for fold, runs, mean in zip(folds, measured, means, strict=True)]
    together = [joined_left_out(runs) for runs in zip(*(fold.left_out for fold in folds), strict=True)]
    each_seed = [over_folds(runs) for runs in zip(*measured, strict=True)]
    return CrossValidation(
        left_out=left_out,
        folds=tuple(results),
        mean=over_folds(means),
        worst=worst_of(results),
        together=over_seeds(measure_left_out(together, resamples, seed)).figures,
        spread=spread_of(each_seed),
        warnings=(*warnings, *_beware(results)),
        about=about,
    )


def _beware(folds: Sequence[FoldResult]) -> Iterator[str]:
    unknown = [fold.name for fold in folds if fold.figures.melanoma_roc_auc is None]
    if unknown:
        yield (
            f"{len(unknown)} of {len(folds)} folds have no melanoma AUROC, since melanomas or others are "
            f"missing ({_some(unknown)}); the mean and the worst are those of the other folds."
        )
    few = [fold.name for fold in folds if fold.name not in unknown and fold.melanoma_groups < FEW]
    if few:
        yield (
            f"{len(few)} of {len(folds)} folds have fewer than {FEW} melanoma lesions ({_some(few)}): their "
            "figures say little."
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
