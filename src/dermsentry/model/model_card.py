"""The model card: what a bundle's `card.json` says, as a page that a person reads.

Mitchell et al., "Model Cards for Model Reporting", FAccT 2019: details, intended use, data, figures with
intervals, what it must not be used for. Every number comes from the card, nothing is added to it; the prose
is in `templates/model_card.md`.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from dermsentry.diagnoses import CODES, name_of
from dermsentry.model import Bundle
from dermsentry.model.card import CUTS, Card, Threshold, describe_adoption, describe_refusal
from dermsentry.reporting.environment import template_environment
from dermsentry.stats.intervals import Estimate
from dermsentry.stats.numbers import brief, decimal_interval, percent, percent_interval

WIDTH = 100

TITLES = {
    "targets": "Targets, and whether they were reached",
    "left_out": "The recipe on hospitals left out of a short training",
    "calibration": "Calibration methods that were compared",
    "shortcuts": "Shortcuts that were tested for",
    "experiments": "Experiments that led to it",
}
"""Tables that `evaluation` may hold beside the figures of each part."""

_PASSED_OVER = ("classes", "failures")
_DECIMAL = re.compile(
    r"auc|average_precision|loss|brier|correlation|slope|(?:^|_)(?:ratio|per|needed)(?:_|$)"
)
_NON_COMMERCIAL = re.compile(r"\bNC\b|non-?commercial|no commercial", re.IGNORECASE)
_NAMES = {
    "roc_auc": "AUROC",
    "auroc": "AUROC",
    "brier": "Brier",
    # as cards of schema 1 have them
    "familiarity": "out-of-distribution score",
    "heat_inside": "saliency inside",
    "hottest_place": "highest saliency",
}


def model_card(bundle: Bundle) -> str:
    """A bundle's model card, as Markdown, from its `card.json` alone; see `card_page`."""
    return card_page(bundle.card)


def card_page(card: Card) -> str:
    """The page of a card, as Markdown.

    `card.evaluation` may hold, by the name of a part, figures (`{"value", "low", "high"}`, nested as deep as
    wanted) and counts; lists of objects under `targets`, `calibration`, `shortcuts`, `experiments`, which
    become tables; and sentences under `failures`. `card.training` may hold `weights_licence`.
    """
    training = card.training
    licence, failures = training.get("weights_licence"), card.evaluation.get("failures")
    versions = ", ".join(f"{name} {version}" for name, version in sorted(training["versions"].items()))
    prints = [("collection", training["fingerprint"]), ("split", training.get("split_fingerprint"))]
    records = {title: list(_records(card.evaluation.get(name))) for name, title in TITLES.items()}
    text = _template().render(
        card=card,
        facts=_facts(card),
        settings=_settings(card),
        versions=_plain(versions) or "versions that are not stated",
        photographs=_photographs(training),
        licences=[_marked(one) for one in training["licences"]],
        fingerprints=", ".join(f"{n} `{_plain(text)[:12]}`" for n, text in prints if isinstance(text, str)),
        thresholds=[_threshold(name, card.thresholds[name]) for name in CUTS],
        parts=list(_parts(card.evaluation)),
        tables=[(title, blocks) for title, blocks in records.items() if blocks],
        adoption=card.adoption and describe_adoption(card.adoption),
        refusal=describe_refusal(card),
        failures=[_plain(one) for one in failures if isinstance(one, str)] if type(failures) is list else [],
        weights_licence=_marked(licence) if isinstance(licence, str) else None,
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


@lru_cache
def _template() -> Any:
    filters: dict[str, Any] = {"plain": _plain, "wrapped": _paragraph, "bullets": _bullets, "table": _table}
    # Markdown: `_plain` is what keeps a card from breaking the page.
    return template_environment("dermsentry.model", filters, escape=False).get_template("model_card.md")


def _facts(card: Card) -> list[tuple[str, str]]:
    configuration, licence = card.training["configuration"], card.training.get("weights_licence")
    network = configuration.get("network") or configuration.get("experiment")
    return [
        ("name", _plain(card.name)),
        ("digest", f"`{card.digest}`"),
        ("SHA-256 of the weights", f"`{card.sha256}`"),
        ("written", _plain(card.created)),
        ("network", _plain(network) if network else "not stated"),
        ("input", f"one photograph, {card.size}×{card.size} pixels ({card.aspect})"),
        ("diagnoses", ", ".join(f"{name_of(code)} ({code})" for code in card.classes)),
        ("output", "a probability of each, an embedding, and a class activation map of each"),
        ("licence of the weights", _marked(licence) if isinstance(licence, str) else "not stated"),
    ]


def _settings(card: Card) -> list[tuple[str, str]]:
    rows = [(_words(name), _cell(value)) for name, value in _flat(card.training["configuration"])]
    rows.append(("temperature of the calibration", f"{card.temperature:.3g}"))
    if not any(name.split(", ")[-1] == "seed" for name, _ in rows):
        rows.append(("seed", "not stated"))
    return rows


def _photographs(training: Mapping[str, Any]) -> dict[str, Any] | None:
    """A table of how many photographs there were: by diagnosis and part, or by part, or None."""
    counts, classes = training.get("photographs"), training.get("photographs_by_diagnosis")
    if isinstance(classes, Mapping) and classes and all(isinstance(p, Mapping) for p in classes.values()):
        labels = sorted(dict.fromkeys(str(label) for part in classes.values() for label in part), key=_order)
        rows = [
            (_diagnosis(label), *(_cell(part.get(label, 0)) for part in classes.values())) for label in labels
        ]
        if isinstance(counts, Mapping):
            rows.append(("all", *(_cell(counts.get(part)) for part in classes)))
        return {"header": ("photographs", *(_words(str(part)) for part in classes)), "rows": rows}
    if isinstance(counts, Mapping):
        rows = [(_words(str(part)), _cell(count)) for part, count in counts.items()]
        return {"header": ("part", "photographs"), "rows": rows}
    return None


def _threshold(name: str, cut: Threshold) -> tuple[str, ...]:
    reached = "not measured" if cut.sensitivity is None else percent_interval(cut.sensitivity)
    return name, percent(cut.value), brief(cut.sensitivity_target), reached, _plain(cut.chosen_on)


def _parts(evaluation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What was measured on each part that has figures."""
    for part, content in evaluation.items():
        if part in TITLES or part in _PASSED_OVER or not isinstance(content, Mapping):
            continue
        entries = list(_flat(content))
        rows = [(_words(name), _cell(value, name)) for name, value in entries if _is_figure(value)]
        counts = [f"{value:,} {_words(name)}" for name, value in entries if type(value) is int and value >= 0]
        if rows:
            yield {"title": _sentence(part), "counts": ", ".join(counts), "rows": rows}


def _records(content: Any) -> Iterator[str]:
    """A list of objects, or an object of objects, as a table; sentences as a list."""
    if isinstance(content, Mapping):
        content = [
            {"": name, **value} if isinstance(value, Mapping) else {"": name, "value": value}
            for name, value in content.items()
        ]
    if not isinstance(content, list):
        return
    objects = [dict(_flat(entry)) for entry in content if isinstance(entry, Mapping)]
    columns = list(dict.fromkeys(name for entry in objects for name in entry))
    if columns:
        header = [_words(name) for name in columns]
        yield _table([[_cell(entry.get(name), name) for name in columns] for entry in objects], *header)
    sentences = [_plain(entry) for entry in content if isinstance(entry, str)]
    if sentences:
        yield _bullets(sentences)


def _marked(licence: str) -> str:
    """A licence, in bold where it forbids commercial use."""
    text = _plain(licence)
    return f"**Non-commercial.** {text}" if _NON_COMMERCIAL.search(licence) else text


def _is_figure(value: Any) -> bool:
    if not isinstance(value, Mapping) or not {"value", "low", "high"} <= set(value):
        return False
    return type(value["value"]) in (int, float)


def _flat(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every value of nested objects, with the names that lead to it; a figure is a value."""
    for name, value in content.items():
        if isinstance(value, Mapping) and not _is_figure(value):
            yield from ((f"{name}, {inner}", own) for inner, own in _flat(value))
        else:
            yield name, value


def _cell(value: Any, name: str = "") -> str:
    """A value as a table's text; `name` decides whether a figure is a share."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}"
    if _is_figure(value):
        return _figure(value, name)
    if isinstance(value, Mapping):
        return "; ".join(f"{_words(str(inner))}: {_cell(own)}" for inner, own in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(f"({_cell(own)})" if isinstance(own, Mapping) else _cell(own) for own in value)
    return _words(value) if name == "figure" else _plain(value)


def _figure(figure: Mapping[str, Any], name: str) -> str:
    given = [figure[key] for key in ("value", "low", "high")]
    ends = [end if type(end) in (int, float) else math.inf for end in given]
    shares = all(0 <= end <= 1 for end in ends) and not _DECIMAL.search(name)
    return (percent_interval if shares else decimal_interval)(Estimate(*ends))


def _words(name: str) -> str:
    """`melanoma_roc_auc` as `melanoma AUROC`."""
    for written, spoken in _NAMES.items():
        name = name.replace(written, spoken)
    return _plain(name.replace("_", " "))


def _sentence(name: str) -> str:
    words = _words(name)
    return words[:1].upper() + words[1:]


def _order(label: str) -> tuple[int, str]:
    first = label.split("|")[0]
    return (CODES.index(first) if first in CODES else len(CODES), label)


def _diagnosis(label: str) -> str:
    known = label and all(code in CODES for code in label.split("|"))
    return _plain(f"{name_of(label)} ({label})" if known else label)


def _plain(text: Any) -> str:
    """Text of a card on one line that no Markdown or HTML in it can change: a card comes from outside."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    line = re.sub(r"([\\`*\[\]|])", r"\\\1", line)
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _paragraph(text: str) -> str:
    return textwrap.fill(text.strip(), WIDTH, break_long_words=False, break_on_hyphens=False)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(
        textwrap.fill(
            line,
            WIDTH,
            initial_indent="- ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines
    )


def _table(rows: Iterable[Sequence[str]], *header: str) -> str:
    lines: list[Sequence[str]] = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
