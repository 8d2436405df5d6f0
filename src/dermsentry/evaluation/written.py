"""Evaluations read back from the folders that `evaluate` wrote, on the photographs that all of them have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from dermsentry.csv_tables import read_table
from dermsentry.errors import InputError
from dermsentry.evaluation.prediction_table import PredictionTable, read_prediction_table
from dermsentry.evaluation.predictions import evaluate_predictions
from dermsentry.evaluation.results import Evaluation
from dermsentry.stats.numbers import Unit


class _Rule(msgspec.Struct):
    threshold: float | None


class _Melanoma(msgspec.Struct):
    decisions: tuple[_Rule, ...]


class _Interval(msgspec.Struct):
    resamples: int
    seed: int


class _Settings(msgspec.Struct):
    """What of `evaluation.json` is needed to measure again."""

    melanoma: _Melanoma
    interval: _Interval
    unit: Unit = "group"


def read_evaluations(folders: Sequence[str | Path]) -> dict[str, Evaluation]:
    """What `evaluate` wrote into each folder, measured again on the photographs that all of them have.

    Parameters
    ----------
    folders
        Each with `truth.csv`, `predictions.csv` and `evaluation.json`, two at least.

    Returns
    -------
    dict
        By the folder's name, or its path where two have one name. What only some have is left out:
        `about["left_out"]` has the number of each. Classes that one model does not distinguish count as one
        in all. Resamples and seed are those of the first.

    Raises
    ------
    InputError
        A folder holds no such files, or they have no photograph, or not one truth, in common.

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> for name in ("first", "second"):
    ...     _ = dermsentry.evaluate("dermoscopy", collection, resamples=100, out=f"results/{name}")
    >>> list(dermsentry.read_evaluations(["results/first", "results/second"]))
    ['first', 'second']
    """
    read = {str(folder): _Written.read(Path(folder)) for folder in folders}
    if len(read) < 2:
        raise InputError(f"Received {len(read)} folders to compare; expected at least two different ones.")
    written = list(read.values())
    common = [path for path in written[0].row if all(path in one.row for one in written)]
    if not common:
        raise InputError(f"{' and '.join(read)} have no photograph in common; evaluate all on the same part.")
    truths = []
    for own in written:
        labels = [own.label[path] for path in common]
        for other in written:
            labels = other.predictions.coarsened(labels)
        truths.append(labels)
    for folder, labels in zip(read, truths, strict=True):
        apart = [path for path, one, first in zip(common, labels, truths[0], strict=True) if one != first]
        if apart:
            raise InputError(
                f"{folder} has another truth for {len(apart):,} of {len(common):,} photographs than "
                f"{written[0].folder}, such as {apart[0]}; evaluate all with the same labels."
            )
    names = [one.folder.name for one in written]
    groups = [written[0].group[path] for path in common]
    found = {}
    for folder, one in read.items():
        evaluation = evaluate_predictions(
            truths[0],
            one.predictions.probability[[one.row[path] for path in common]],
            groups,
            threshold=one.threshold,
            resamples=written[0].resamples,
            seed=written[0].seed,
        )
        name = one.folder.name if names.count(one.folder.name) == 1 else folder
        found[name] = replace(
            evaluation, unit=written[0].unit, about={"left_out": len(one.row) - len(common)}
        )
    return found


def read_evaluation(folder: str | Path) -> Evaluation:
    """What `evaluate` wrote into one folder, measured again from its predictions. Raises InputError."""
    one = _Written.read(Path(folder))
    paths = list(one.row)
    return replace(
        evaluate_predictions(
            one.predictions.coarsened([one.label[path] for path in paths]),
            one.predictions.probability[list(one.row.values())],
            [one.group[path] for path in paths],
            threshold=one.threshold,
            resamples=one.resamples,
            seed=one.seed,
        ),
        unit=one.unit,
    )


@dataclass(frozen=True, eq=False)
class _Written:
    """An evaluation's files: by path, the row of its prediction, its label and its group."""

    folder: Path
    predictions: PredictionTable
    row: dict[str, int]
    label: dict[str, str]
    group: dict[str, str]
    threshold: float | None
    resamples: int
    seed: int
    unit: Unit

    @classmethod
    def read(cls, folder: Path) -> _Written:
        try:
            known = msgspec.json.decode((folder / "evaluation.json").read_bytes(), type=_Settings)
        except OSError as error:
            raise InputError(
                f"{folder} holds no evaluation ({error.strerror or error}: evaluation.json); expected a "
                "folder that evaluate --out wrote."
            ) from error
        except msgspec.DecodeError as error:
            raise InputError(f"{folder / 'evaluation.json'} is not one of ours: {error}.") from error
        truth = read_table(folder / "truth.csv", exact=True)
        missing = [name for name in ("image", "path", "diagnosis", "group") if name not in truth.columns]
        if missing:
            raise InputError(f"{folder / 'truth.csv'} has no column {missing[0]}; expected evaluate's own.")
        predictions = read_prediction_table(folder / "predictions.csv")
        paths = list(truth["path"])
        matched = predictions.matched(paths, list(truth["image"]))
        return cls(
            folder=folder.resolve(),
            predictions=predictions,
            row={paths[place]: row for place, row in sorted(matched.items())},
            label=dict(zip(paths, truth["diagnosis"], strict=True)),
            group=dict(zip(paths, truth["group"], strict=True)),
            threshold=known.melanoma.decisions[-1].threshold,
            resamples=known.interval.resamples,
            seed=known.interval.seed,
            unit=known.unit,
        )
