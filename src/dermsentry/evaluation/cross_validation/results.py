"""What a cross-validation holds: each fold's figures, their mean, the worst, the spread over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dermsentry.stats.intervals import Estimate
from dermsentry.stats.numbers import decimal, decimal_interval

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FoldFigures:
    """Figures of left-out photographs; None where there is nothing to measure.

    Parameters
    ----------
    melanoma_roc_auc, melanoma_average_precision
        Melanoma against everything else, whatever the threshold.
    sensitivity, specificity
        At the alert threshold of the model, which was chosen without these photographs.
    specificity_at_95_sensitivity
        At a threshold chosen on these photographs; None of fewer than 20 melanoma lesions.
    balanced_accuracy
        Mean recall of the classes.
    melanoma_calibration_error
        Of melanoma's probability, without what is noise.
    """

    melanoma_roc_auc: Estimate | None
    melanoma_average_precision: Estimate | None
    sensitivity: Estimate | None
    specificity: Estimate | None
    specificity_at_95_sensitivity: Estimate | None
    balanced_accuracy: Estimate | None
    melanoma_calibration_error: Estimate | None


FIGURES = tuple(own.name for own in fields(FoldFigures))
LOWER_IS_BETTER = ("melanoma_calibration_error",)


@dataclass(frozen=True)
class FoldRun:
    """One training of a fold: its random seed, its folder below that of all, and its figures."""

    seed: int
    folder: Path
    figures: FoldFigures


@dataclass(frozen=True)
class FoldResult:
    """One fold.

    Parameters
    ----------
    name
        What was left out.
    told
        The counts of its split, in words.
    photographs, groups, melanomas, melanoma_groups
        Left-out photographs of known diagnosis and their lesions, all and of melanoma.
    learned_from, quarantined
        Photographs that were learned from, and those in no part because they reach into what is left out, or
        may.
    figures
        The mean over the seeds.
    spread
        The standard deviation over the seeds, by figure; None with one seed.
    runs
        Each training.
    """

    name: str
    told: str
    photographs: int
    groups: int
    melanomas: int
    melanoma_groups: int
    learned_from: int
    quarantined: int
    figures: FoldFigures
    spread: Mapping[str, float | None]
    runs: tuple[FoldRun, ...]


@dataclass(frozen=True, repr=False)
class CrossValidation:
    """A cross-validation: each fold's figures, and what they amount to.

    Parameters
    ----------
    left_out
        What the folds leave out: a column, such as `source`, `folds`, or `test` for the split's own test.
    folds
        In their order.
    mean
        The mean over the folds, each counting the same, of the mean over the seeds. Its interval is that of
        these photographs: another hospital may be outside of it.
    worst
        For each figure, the name of the fold where it is worst.
    together
        All left-out photographs as one set, each predicted by the network that had not learned from it.
    spread
        The standard deviation over the seeds of the mean over the folds, by figure; None with one seed.
    warnings
        What to know before quoting a figure, a sentence each.
    about
        The data, the configuration and the versions.

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> split = dermsentry.make_split(collection)
    >>> done = dermsentry.cross_validate(collection, split, folds=5, seeds=3)  # doctest: +SKIP
    >>> done.mean.melanoma_roc_auc, done.worst["melanoma_roc_auc"]  # doctest: +SKIP
    >>> done.fold("1 of 5").figures.sensitivity  # doctest: +SKIP
    """

    left_out: str
    folds: tuple[FoldResult, ...]
    mean: FoldFigures
    worst: Mapping[str, str | None]
    together: FoldFigures
    spread: Mapping[str, float | None]
    warnings: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict, metadata={"json": None})

    derived: ClassVar = ("seeds",)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The random seeds that each fold was trained with."""
        return tuple(run.seed for run in self.folds[0].runs)

    def fold(self, name: str) -> FoldResult:
        """The fold that leaves out `name`.

        Parameters
        ----------
        name
            One of the folds' names.
        """
        return {fold.name: fold for fold in self.folds}[name]

    def to_frame(self) -> pd.DataFrame:
        """The table of `cross_validation.csv`: a row for each run, fold, the mean, the worst and so on."""
        import pandas as pd

        return pd.DataFrame(list(rows_of(self)))

    def __repr__(self) -> str:
        worst = self.worst["melanoma_roc_auc"]
        figure = None if worst is None else self.fold(worst).figures.melanoma_roc_auc
        least = "" if figure is None else f", worst {decimal(figure.value)} ({worst})"
        return (
            f"CrossValidation({len(self.folds)} folds by {self.left_out}, {len(self.seeds)} seeds: "
            f"mean melanoma AUROC {decimal_interval(self.mean.melanoma_roc_auc)}{least})"
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>{self.to_frame().round(3).to_html(index=False)}"


def rows_of(result: CrossValidation) -> Iterator[dict[str, Any]]:
    """The rows of the table, each with the same columns."""

    def row(kind: str, name: str, seed: Any, fold: FoldResult | None, figures: FoldFigures) -> dict[str, Any]:
        counts = ("photographs", "groups", "melanomas", "learned_from", "quarantined")
        made = {"row": kind, "left_out": name, "seed": seed}
        made |= {count: "" if fold is None else getattr(fold, count) for count in counts}
        for own in fields(figures):
            figure = getattr(figures, own.name)
            for column, end in (("", "value"), ("_low", "low"), ("_high", "high")):
                made[own.name + column] = None if figure is None else getattr(figure, end)
        return made

    for fold in result.folds:
        yield from (row("run", fold.name, run.seed, fold, run.figures) for run in fold.runs)
    yield from (row("fold", fold.name, "", fold, fold.figures) for fold in result.folds)
    yield row("mean", "", "", None, result.mean)
    worst = result.worst.items()
    found = [None if name is None else getattr(result.fold(name).figures, own) for own, name in worst]
    yield row("worst", "", "", None, FoldFigures(*found))
    yield row("together", "", "", None, result.together)
    spreads = [("spread", "", result.spread)]
    spreads += [("spread", fold.name, fold.spread) for fold in result.folds]
    for kind, name, spread in spreads if len(result.seeds) > 1 else []:
        blank = row(kind, name, "", None, FoldFigures(*[None] * len(FIGURES)))
        yield {**blank, **spread}
