"""A comparison of models as lines for a terminal, and as JSON, CSV and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dermsentry.evaluation.model_comparison import ModelDifference
from dermsentry.evaluation.results import Evaluation
from dermsentry.files import csv_line, plain, versions, write_json, write_text
from dermsentry.reporting import write_report
from dermsentry.stats.intervals import Estimate
from dermsentry.stats.numbers import (
    counted,
    counted_units,
    decimal,
    decimal_interval,
    percent_interval,
    signed,
)

SCHEMA = 1
NAME = "comparison"
FIGURES = {"roc_auc": "AUROC", "sensitivity": "sensitivity", "specificity": "specificity"}
_WIDTH = 24


def as_text(evaluations: Mapping[str, Evaluation], differences: Sequence[ModelDifference]) -> str:
    """The table for a terminal: a line for each model and figure, differences from the first model."""
    first, evaluation = next(iter(evaluations.items()))
    melanoma = evaluation.melanoma
    lines = [
        f"{counted(melanoma.photographs, 'melanoma')} and {counted(melanoma.others, 'other')}, "
        f"{counted_units(evaluation.groups, evaluation.unit)}; differences from {first}, paired"
    ]
    for figure, called in FIGURES.items():
        here = [one for one in differences if one.figure == figure]
        if not here:
            continue
        width = max(len(name) for name in (first, *(one.model for one in here)))
        lines += ["", called, f"  {first:<{width}}  {shown(figure, here[0].first)}"]
        for one in here:
            adjusted = f", adjusted {decimal(one.p_adjusted)}" if len(here) > 1 else ""
            lines.append(
                f"  {one.model:<{width}}  {shown(figure, one.other):<{_WIDTH}}  "
                f"{apart(figure, one.difference)}, p {decimal(one.p_value)}{adjusted}"
            )
    return "\n".join(lines)


def shown(figure: str, value: Estimate) -> str:
    """An AUROC as a decimal, a share as per cent, with its interval."""
    return decimal_interval(value) if figure == "roc_auc" else percent_interval(value)


def apart(figure: str, value: Estimate) -> str:
    """A difference with its interval; of shares in percentage points."""
    scale, digits, unit = (1, 3, "") if figure == "roc_auc" else (100, 1, " points")
    own, low, high = (signed(scale * end, digits) for end in (value.value, value.low, value.high))
    return f"{own}{unit} ({low} to {high})"


def write_comparison(
    evaluations: Mapping[str, Evaluation], differences: Sequence[ModelDifference], out: Path
) -> None:
    """Write `comparison.json`, `.csv` and `.html` into a folder. Raises OutputError."""
    columns: list[Any] = ["model", "figure", "value", "low", "high"]
    columns += ["difference", "difference_low", "difference_high", "p_value", "p_adjusted"]
    rows = [
        [one.model, one.figure, *_ends(one.other), *_ends(one.difference), one.p_value, one.p_adjusted]
        for one in differences
    ]
    write_text(out / f"{NAME}.csv", "".join(map(csv_line, [columns, *rows])))
    first = next(iter(evaluations))
    write_report(
        out / f"{NAME}.html",
        f"{NAME}.html",
        evaluations=evaluations,
        first=first,
        differences=differences,
        figures=FIGURES,
        shown=shown,
        apart=apart,
        synthetic=False,
    )
    models = {
        name: {"photographs": one.photographs, "threshold": one.threshold, **one.about}
        for name, one in evaluations.items()
    }
    settings = {
        "schema": SCHEMA,
        "models": models,
        "first": first,
        "interval": evaluations[first].interval,
        "versions": versions(),
    }
    write_json(out / f"{NAME}.json", {**settings, "differences": plain(differences)})


def _ends(figure: Estimate) -> tuple[float, float, float]:
    return figure.value, figure.low, figure.high
