"""A finished study, and what study.json holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermsentry.audit import Audit
from dermsentry.collection import Collection
from dermsentry.files import versions
from dermsentry.model import Bundle
from dermsentry.nine_class.conclusions import Conclusion, figure
from dermsentry.nine_class.experiments import Result
from dermsentry.phantoms import is_synthetic
from dermsentry.split import Split

SCHEMA = 1


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """A finished study.

    Parameters
    ----------
    folder
        Where its files are.
    collection, audit, split
        What was studied, what is wrong with it, and the honest split.
    results
        One of each experiment under each protocol.
    conclusions
        Sentences written from the numbers, in reading order.
    kept
        The honest result with the highest balanced accuracy on validation.
    bundle
        Its model bundle.
    configuration
        The options of the study.
    seconds
        Of this call.
    """

    folder: Path
    collection: Collection
    audit: Audit
    split: Split
    results: tuple[Result, ...]
    conclusions: tuple[Conclusion, ...]
    kept: Result
    bundle: Bundle
    configuration: Mapping[str, Any]
    seconds: float

    def __repr__(self) -> str:
        return (
            f"<Study of {len(self.collection)} photographs in {self.folder}: {len(self.results)} trainings, "
            f"{self.kept.experiment.name} kept>"
        )

    def _repr_html_(self) -> str:
        """The comparison and the conclusions, for a notebook."""
        sentences = "".join(f"<li>{escape(each.sentence)}</li>" for each in self.conclusions)
        table: str = self.to_frame().to_html()
        return f"<p>{escape(repr(self))}</p>{table}<ul>{sentences}</ul>"

    def to_frame(self) -> pd.DataFrame:
        """A row per experiment and protocol: accuracies, and melanomas detected on both forms of Test."""
        rows = {(r.experiment.name, r.protocol): _row(r) for r in self.results}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["experiment", "protocol"])


def _row(result: Result) -> dict[str, Any]:
    row: dict[str, Any] = {"training": result.accuracy, "validation": result.val_accuracy}
    for test, evaluation in result.evaluations.items():
        row[f"{test}: accuracy"] = figure(result, test, "accuracy")
        row[f"{test}: balanced accuracy"] = figure(result, test, "balanced_accuracy")
        row[f"{test}: melanomas"] = evaluation.melanoma.photographs
        row[f"{test}: melanomas detected"] = evaluation.melanoma.decisions[0].detected
    return row


def study_json(study: Study) -> dict[str, Any]:
    """The fields of study.json."""
    return {
        "schema": SCHEMA,
        "synthetic": is_synthetic(study.collection.root),
        "photographs": len(study.collection),
        "fingerprint": study.collection.fingerprint(),
        "configuration": study.configuration,
        "versions": versions(),
        "audit": study.audit.summary,
        "split": study.split.counts(),
        "experiments": [_result_json(result) for result in study.results],
        "findings": study.conclusions,
        "kept": {
            "experiment": study.kept.experiment.name,
            "bundle": study.bundle.folder.name,
            "chosen_by": "validation balanced accuracy, honest",
        },
        "seconds": study.seconds,
    }


def _result_json(result: Result) -> dict[str, Any]:
    return {
        "experiment": result.experiment.name,
        "title": result.experiment.title,
        "strategy": result.experiment.strategy,
        "protocol": result.protocol,
        "configuration": result.training.record(),
        "classes_before": result.before,
        "classes_after": result.after,
        "validation_photographs": result.validation_photographs,
        "history": {
            str(name): [float(value) if np.isfinite(value) else None for value in column]
            for name, column in result.history.items()
        },
        "best_epoch": result.best_epoch,
        "accuracy": result.accuracy,
        "val_accuracy": result.val_accuracy,
        "val_balanced_accuracy": result.val_balanced_accuracy,
        "relatives": result.relatives,
        "evaluations": result.evaluations,
        "seconds": result.seconds,
        "images_per_second": result.images_per_second,
    }
