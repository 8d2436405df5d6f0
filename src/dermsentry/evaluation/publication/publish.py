"""Write what a paper needs of a result that `evaluate` or `study` wrote."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermsentry.errors import InputError
from dermsentry.evaluation import plots
from dermsentry.evaluation.publication.tables import TESTED, Table, evaluation_tables, study_table
from dermsentry.evaluation.written import read_evaluation
from dermsentry.files import read_json, to_json, write_bytes
from dermsentry.outputs import read_run
from dermsentry.reporting.figures import as_pdf, as_svg, confusion, curves, new_figure
from dermsentry.reporting.prose import render_block, render_text
from dermsentry.stats.intervals import Estimate
from dermsentry.stats.numbers import decimal_interval, percent_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Draw = Callable[[Callable[[Figure], bytes]], bytes]

_FACTS = "publication_facts.txt"
_FORMS: dict[str, Callable[..., bytes]] = {"svg": as_svg, "pdf": as_pdf}


def publish(result: str | Path, out: str | Path) -> tuple[Path, ...]:
    """Write what a paper needs of a result.

    Parameters
    ----------
    result
        The folder that `evaluate` or `study` wrote.
    out
        A folder for `tables/` (CSV and LaTeX), `figures/` (SVG and PDF), `run.json` (command, commit and
        hardware), `checklists/` (TRIPOD+AI, CLAIM, STARD-AI) and `datasheet.md`. What is known is filled in,
        the rest is left to the authors.

    Returns
    -------
    tuple of Path
        The files that were written.

    Raises
    ------
    InputError
        `result` holds neither an evaluation nor a finished study.
    OutputError
        `out` cannot be written.

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> _ = dermsentry.evaluate("dermoscopy", collection, resamples=100, out="evaluation")
    >>> sorted({path.suffix for path in dermsentry.publish("evaluation", "paper")})
    ['.csv', '.json', '.md', '.pdf', '.svg', '.tex']
    """
    target, written = Path(out), []
    for name, content in published_files(result).items():
        written.append(target / name)
        write_bytes(written[-1], content())
    return tuple(written)


def published_files(result: str | Path) -> dict[str, Callable[[], bytes]]:
    """What `publish` writes: names in its folder, and what makes the content of each. Raises InputError."""
    folder = Path(result)
    study: Mapping[str, Any] | None = None
    tables: dict[str, Table]
    drawn: dict[str, Draw]
    if (folder / "evaluation.json").is_file():
        command, evaluation = "evaluate", read_json(folder / "evaluation.json")
        tables, drawn = evaluation_tables(evaluation), _evaluation_figures(folder)
    elif (folder / "study.json").is_file():
        command, study = "study", read_json(folder / "study.json")
        evaluation = _kept(study)
        tables = {"networks": study_table(study["experiments"]), **evaluation_tables(evaluation)}
        drawn = _study_figures(study)
    else:
        raise InputError(
            f"{folder} holds neither evaluation.json nor study.json; expected a folder that evaluate --out "
            "or study wrote."
        )
    run = read_run(folder, command)
    texts: dict[str, Callable[[], str]] = {}
    for name, table in tables.items():
        texts |= {f"tables/{name}.csv": table.csv, f"tables/{name}.tex": table.tex}
    made: dict[str, Callable[[], bytes]] = {
        f"figures/{name}.{form}": partial(draw, save)
        for name, draw in drawn.items()
        for form, save in _FORMS.items()
    }
    versions = (study or evaluation)["versions"]
    texts["run.json"] = partial(to_json, {"versions": versions, **(run or {"command": None})})
    facts = _facts(evaluation, study, run)
    named = folder.resolve().name
    for key, checklist in _checklists().items():
        items = [(number, asked, facts.get(fact, "")) for number, asked, fact in checklist["items"]]
        texts[f"checklists/{key}.md"] = partial(
            render_text, "checklist.md", name=named, title=checklist["title"], source=checklist["source"],
            items=items, answered=sum(bool(answer) for _, _, answer in items),
        )  # fmt: skip
    texts["datasheet.md"] = partial(render_text, "datasheet.md", name=named, facts=facts)
    return made | {name: partial(_encoded, text) for name, text in texts.items()}


def _encoded(text: Callable[[], str]) -> bytes:
    return text().encode("utf-8", "backslashreplace")


def _checklists() -> dict[str, Any]:
    return tomllib.loads((files(__package__) / "checklists.toml").read_text(encoding="utf-8"))


def _kept(study: Mapping[str, Any]) -> Mapping[str, Any]:
    """The evaluation, without leaks where there is one, of the network that the study kept."""
    kept = [
        one["evaluations"]
        for one in study["experiments"]
        if one["experiment"] == study["kept"]["experiment"] and one["protocol"] == "honest"
    ]
    evaluations = kept[0] if kept else {}
    if not evaluations:
        raise InputError("The study has not evaluated the network that it kept; expected a Test.")
    found: Mapping[str, Any] = evaluations.get("test") or next(iter(evaluations.values()))
    return found


def _facts(
    evaluation: Mapping[str, Any], study: Mapping[str, Any] | None, run: Mapping[str, Any] | None
) -> dict[str, str]:
    """What is known of what checklists ask for, by the blocks of the template; `""` where nothing is."""
    melanoma = evaluation["melanoma"]
    decision = melanoma["decisions"][-1]
    context = {
        "e": evaluation,
        "study": study,
        "run": run,
        "model": "" if study else evaluation["model"]["name"],
        "images": study["photographs"] if study else evaluation["photographs"],
        "fingerprint": study["fingerprint"] if study else evaluation["data"]["fingerprint"],
        "lesions": study["lesions"] if study else evaluation["data"]["lesions"],
        "versions": (study or evaluation)["versions"],
        "networks": list({one["title"]: one for one in study["experiments"]}.values()) if study else [],
        "how": _training_of(evaluation, study),
        "figures": {
            "sensitivity": percent_interval(_estimate(decision["sensitivity"])),
            "specificity": percent_interval(_estimate(decision["specificity"])),
            "roc_auc": decimal_interval(_estimate(melanoma["roc_auc"])),
        },
    }
    asked = {fact for one in _checklists().values() for _, _, fact in one["items"] if fact}
    return {fact: render_block(_FACTS, fact, **context) for fact in sorted(asked)}


def _training_of(evaluation: Mapping[str, Any], study: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """How the network was trained, as `train` records it; empty where something else trained it."""
    defaults = {"balance": "none", "schedule": "constant", "patience": None, "weights": "imagenet"}
    if study is None:
        found = evaluation["model"].get("training") or {}
        return {**defaults, **found} if {"recipe", "aspect", "precision"} <= found.keys() else {}
    kept = next(
        one["configuration"]
        for one in study["experiments"]
        if one["experiment"] == study["kept"]["experiment"] and one["protocol"] == "honest"
    )
    linear = kept.get("frozen", False)
    return {**defaults, **kept, "recipe": "linear" if linear else kept["network"]}


def _estimate(figure: Mapping[str, float] | None) -> Estimate | None:
    return None if figure is None else Estimate(figure["value"], figure["low"], figure["high"])


def _evaluation_figures(folder: Path) -> dict[str, Draw]:
    evaluation = read_evaluation(folder)
    made: dict[str, Draw] = {
        "confusion_matrix": partial(plots.confusion_plot, evaluation),
        "calibration": partial(plots.reliability_plot, evaluation),
    }
    if evaluation.melanoma.photographs and evaluation.melanoma.others:
        made["ranking"] = partial(plots.ranking_plot, evaluation)
    if evaluation.decision_curve is not None:
        made["net_benefit"] = partial(plots.decision_plot, evaluation)
    return made


def _study_figures(study: Mapping[str, Any]) -> dict[str, Draw]:
    made: dict[str, Draw] = {}
    for one in study["experiments"]:
        name = f"{one['experiment']}-{one['protocol']}"
        if len(one["history"].get("epoch", ())) > 1 and "loss" in one["history"]:
            made[f"curves-{name}"] = partial(_curves, one)
        for tested, evaluation in one["evaluations"].items():
            title = f"{_titled(one)},\non {TESTED.get(tested, tested)}"
            made[f"confusion-{name}-{tested}"] = partial(_confusion, title, evaluation)
    return made


def _curves(one: Mapping[str, Any], save: Callable[[Figure], bytes]) -> bytes:
    with new_figure(1, 2, width=8.6, height=3.2) as (figure, axes):
        for panel, measure in zip(axes, ("accuracy", "loss"), strict=True):
            curves(panel, one["history"], measure)
        figure.suptitle(_titled(one))
        return save(figure)


def _titled(one: Mapping[str, Any]) -> str:
    return f"{one['title']}, {one['protocol'].replace('-', ' ')}"


def _confusion(title: str, evaluation: Mapping[str, Any], save: Callable[[Figure], bytes]) -> bytes:
    matrix = evaluation["confusion_matrix"]
    side = 2.2 + 0.42 * len(matrix["labels"])
    with new_figure(width=side + 0.8, height=side) as (figure, axes):
        confusion(axes, matrix["counts"], [label.replace("|", "/") for label in matrix["labels"]], title)
        return save(figure)
