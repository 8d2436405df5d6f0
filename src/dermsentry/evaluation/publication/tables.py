"""Tables of a result for a paper: figures with their intervals, as CSV to compute with and LaTeX to print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dermsentry.diagnoses import name_of
from dermsentry.files import csv_line
from dermsentry.stats.intervals import Estimate
from dermsentry.stats.numbers import MISSING, decimal_interval, significant

Row = Mapping[str, Any]
_OVERALL = (
    "accuracy", "balanced_accuracy", "roc_auc", "average_precision", "log_loss", "brier_score",
    "calibration_error",
)  # fmt: skip
_DECISION = ("sensitivity", "specificity", "positive_predictive_value", "negative_predictive_value")
_SUBGROUP = ("roc_auc", "sensitivity", "specificity")
TESTED = {"test-as-given": "Test as given", "test": "Test without known leaks"}
"""What a study evaluates on, in words."""
_SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
        "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
        ">": r"\textgreater{}", "|": r"\textbar{}", "−": "$-$", "–": "--", "∞": r"$\infty$",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table: its caption, and rows of one set of columns, whose values may be figures with an interval."""

    caption: str
    rows: tuple[Row, ...]

    def csv(self) -> str:
        """The numbers, a figure as three columns: its value and the ends of its interval."""
        figures = {name for row in self.rows for name, value in row.items() if is_figure(value)}
        columns = list(self.rows[0])
        ends = {name: (name, f"{name}_low", f"{name}_high") for name in figures}
        header = [one for name in columns for one in ends.get(name, (name,))]
        lines = [header]
        for row in self.rows:
            fields: list[Any] = []
            for name in columns:
                value = row[name]
                if name in figures:
                    fields += [value[end] for end in ("value", "low", "high")] if value else ["", "", ""]
                else:
                    fields.append("" if value is None else value)
            lines.append(fields)
        return "".join(map(csv_line, lines))

    def tex(self) -> str:
        """The table for LaTeX with booktabs, a figure with its interval in brackets."""
        columns = list(self.rows[0])
        numbers = [all(not isinstance(row[name], str) for row in self.rows) for name in columns]
        layout = "".join("r" if number else "l" for number in numbers)
        lines = [" & ".join(map(_escaped, map(_heading, columns)))]
        lines += [" & ".join(_escaped(_text(row[name])) for name in columns) for row in self.rows]
        header, *body = [f"{line} \\\\" for line in lines]
        return "\n".join(
            [
                f"% {self.caption}", r"% \usepackage{booktabs}", rf"\begin{{tabular}}{{{layout}}}",
                r"\toprule", header, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", "",
            ]
        )  # fmt: skip


def is_figure(value: Any) -> bool:
    """Whether a value is a figure with its interval, as JSON has it."""
    return isinstance(value, Mapping) and {"value", "low", "high"} <= value.keys()


def evaluation_tables(evaluation: Mapping[str, Any]) -> dict[str, Table]:
    """The tables of one evaluation, by name, from the fields of its JSON."""
    melanoma = evaluation["melanoma"]
    figures = [(_named(name), evaluation.get(name)) for name in _OVERALL]
    decision = melanoma["decisions"][-1]
    figures += [
        (f"melanoma {_named(name)}", value)
        for name, value in (melanoma | decision).items()
        if is_figure(value)
    ]
    made: dict[str, tuple[str, list[Row]]] = {
        "figures": ("Figures", [{"figure": name, "estimate": value} for name, value in figures if value]),
        "classes": ("Each diagnosis against the others", [_of_class(one) for one in evaluation["classes"]]),
        "alerts": ("What each rule of alerting does", [_rule(one) for one in melanoma["decisions"]]),
        "confusion_matrix": ("Images by true (rows) and predicted class", list(_confusion(evaluation))),
        "subgroups": ("Subgroups", list(_subgroups(evaluation))),
        "predictive_values": ("Predictive values at a prevalence", list(_values(evaluation))),
    }
    return {name: Table(caption, tuple(rows)) for name, (caption, rows) in made.items() if rows}


def study_table(experiments: Sequence[Mapping[str, Any]]) -> Table:
    """Each network of a study under each protocol, on each set of test images."""
    rows = []
    for one in experiments:
        for tested, evaluation in one["evaluations"].items():
            melanoma = evaluation["melanoma"]
            rows.append(
                {
                    "network": one["title"],
                    "protocol": one["protocol"].replace("-", " "),
                    "evaluated on": TESTED.get(tested, tested),
                    "images": evaluation["photographs"],
                    "validation accuracy": round(one["val_accuracy"], 4),
                    "accuracy": evaluation["accuracy"],
                    "balanced accuracy": evaluation["balanced_accuracy"],
                    "melanoma AUROC": melanoma["roc_auc"],
                    "melanoma sensitivity": melanoma["decisions"][-1]["sensitivity"],
                }
            )
    return Table("Networks of the study", tuple(rows))


def _of_class(one: Mapping[str, Any]) -> Row:
    counts = {"images": one["photographs"], "groups": one["groups"], "predicted": one["predicted"]}
    named = ("recall", "precision", "roc_auc", "average_precision")
    return {"diagnosis": name_of(one["label"]), **counts, **{name: one[name] for name in named}}


def _rule(one: Mapping[str, Any]) -> Row:
    counts = {"threshold": one["threshold"], "melanomas found": one["detected"], "alerts": one["alerts"]}
    return {"rule": one["rule"], **counts, **{name: one[name] for name in _DECISION}}


def _confusion(evaluation: Mapping[str, Any]) -> Iterator[Row]:
    matrix = evaluation["confusion_matrix"]
    labels = [label.replace("|", "/") for label in matrix["labels"]]
    for label, counts in zip(labels, matrix["counts"], strict=True):
        yield {"true": label, **dict(zip(labels, counts, strict=True))}


def _subgroups(evaluation: Mapping[str, Any]) -> Iterator[Row]:
    for attribute in evaluation["subgroups"]:
        for one in attribute["subgroups"]:
            counts = {"images": one["photographs"], "groups": one["groups"], "melanomas": one["melanomas"]}
            figures = {name: one.get(name) for name in _SUBGROUP}
            yield {"by": attribute["name"], "value": one["value"], **counts, **figures}


def _values(evaluation: Mapping[str, Any]) -> Iterator[Row]:
    for one in evaluation["clinical_value"]:
        yield {name: one[name] for name in ("prevalence", *_DECISION[2:])}


def _named(name: str) -> str:
    return name.replace("roc_auc", "AUROC").replace("brier", "Brier").replace("_", " ")


def _heading(name: str) -> str:
    plain = _named(name)
    return plain[0].upper() + plain[1:]


def _text(value: Any) -> str:
    if value is None:
        return MISSING
    if is_figure(value):
        return decimal_interval(Estimate(value["value"], value["low"], value["high"]))
    return significant(value) if isinstance(value, float) else str(value)


def _escaped(text: str) -> str:
    return text.translate(_SPECIAL)
