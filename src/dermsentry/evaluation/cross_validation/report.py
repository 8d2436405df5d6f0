"""A cross-validation as lines for a terminal, and as JSON, CSV and a page."""

from __future__ import annotations

from pathlib import Path

from dermsentry.evaluation.cross_validation.results import CrossValidation, FoldFigures, rows_of
from dermsentry.files import csv_line, plain, write_json, write_text
from dermsentry.reporting import write_report
from dermsentry.stats.numbers import beside_chance, decimal, decimal_interval, percent, percent_interval

SCHEMA = 1
NAME = "cross_validation"


def as_text(result: CrossValidation) -> str:
    """The table for a terminal: a line for each fold, then the mean, the worst and the spread."""
    width = max(len(name) for name in ("all left-out together", *(fold.name for fold in result.folds)))
    lines = [
        f"{'left out':<{width}}  {'images':>7}  {'melanomas':>9}  {'melanoma AUROC':<20}  "
        f"{'sensitivity':<20}  specificity"
    ]

    def line(name: str, figures: FoldFigures, photographs: str = "", melanomas: str = "") -> str:
        return (
            f"{name:<{width}}  {photographs:>7}  {melanomas:>9}  "
            f"{decimal_interval(figures.melanoma_roc_auc):<20}  {percent_interval(figures.sensitivity):<20}  "
            f"{percent_interval(figures.specificity):<20}  {beside_chance(figures.melanoma_roc_auc)}"
        ).rstrip()

    lines += [
        line(fold.name, fold.figures, f"{fold.photographs:,}", f"{fold.melanomas:,}") for fold in result.folds
    ]
    if len(result.folds) > 1:
        lines.append(line(f"mean of {len(result.folds)}", result.mean))
        lines.append(line("all left-out together", result.together))
        worst = result.worst["melanoma_roc_auc"]
        if worst is not None:
            found = decimal_interval(result.fold(worst).figures.melanoma_roc_auc)
            lines.append(f"worst melanoma AUROC: {found}, {worst} left out")
    if len(result.seeds) > 1:
        spread = result.spread
        lines.append(
            f"standard deviation over {len(result.seeds)} seeds: "
            f"melanoma AUROC {decimal(spread['melanoma_roc_auc'])}, "
            f"sensitivity {percent(spread['sensitivity'])}, specificity {percent(spread['specificity'])}"
        )
    return "\n".join(lines)


def write_cross_validation(result: CrossValidation, out: Path) -> None:
    """Write `cross_validation.json`, `.csv` and `.html` into a folder. Raises OutputError."""
    rows = list(rows_of(result))
    table = [list(rows[0]), *(["" if v is None else v for v in row.values()] for row in rows)]
    write_text(out / f"{NAME}.csv", "".join(map(csv_line, table)))
    write_report(out / f"{NAME}.html", f"{NAME}.html", result=result, synthetic=result.about["synthetic"])
    write_json(out / f"{NAME}.json", {"schema": SCHEMA, **result.about, **plain(result)})
