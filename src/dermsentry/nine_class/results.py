"""A finished study, and what study.json holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dermsentry.audit import Audit
from dermsentry.collection import Collection
from dermsentry.files import plain, versions
from dermsentry.model import Bundle
from dermsentry.phantoms import is_synthetic
from dermsentry.split import Split

if TYPE_CHECKING:  # a study can be looked at without a training framework
    from dermsentry.nine_class.conclusions import Conclusion
    from dermsentry.nine_class.experiments import Result

SCHEMA = 1


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """A finished study of the nine-class set.

    Parameters
    ----------
    folder
        The folder that holds its files.
    collection
        The images.
    audit
        What is wrong with them.
    split
        The honest split.
    results
        The result of each experiment under each protocol.
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

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> done = dermsentry.study(collection, "study", fast=True)  # doctest: +SKIP
    >>> done.kept.experiment.name, done.kept.evaluations  # doctest: +SKIP
    >>> for conclusion in done.conclusions:  # doctest: +SKIP
    ...     print(conclusion.sentence)
    >>> dermsentry.screen("photographs/Test", done.bundle)  # doctest: +SKIP
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
        row[f"{test}: accuracy"] = result.figure(test, "accuracy")
        row[f"{test}: balanced accuracy"] = result.figure(test, "balanced_accuracy")
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
        "lesions": study.audit.lesions,
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
        "history": result.history.astype(float).to_dict("list"),
        **plain(result),
    }
