"""The model card: what a bundle's `card.json` says, as a page that a person reads.

Mitchell et al., "Model Cards for Model Reporting", FAccT 2019: details, intended use, data, figures with
intervals, what it must not be used for. Every number comes from the card, nothing is added to it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dermsentry.diagnoses import CODES, name_of
from dermsentry.model import Bundle
from dermsentry.model.card import CUTS, Card, Threshold, describe_out_of_distribution

WIDTH = 100

TITLES = {
    "targets": "Targets, and whether they were reached",
    "calibration": "Ways of calibrating that were compared",
    "shortcuts": "Shortcuts that were looked for",
    "experiments": "Experiments that led to it",
}
"""Tables that `evaluation` may hold beside the figures of each part."""

_PASSED_OVER = ("classes", "failures")
_DECIMAL = re.compile(
    r"auc|average_precision|loss|brier|correlation|slope|(?:^|_)(?:ratio|per|needed)(?:_|$)"
)
_NON_COMMERCIAL = re.compile(r"\bNC\b|non-?commercial|no commercial", re.IGNORECASE)
_NAMES = {"roc_auc": "AUROC", "auroc": "AUROC", "brier": "Brier"}


def model_card(bundle: Bundle) -> str:
    """A bundle's model card, as Markdown, from its `card.json` alone; see `card_page`."""
    return card_page(bundle.card)


def card_page(card: Card) -> str:
    """The page of a card, as Markdown.

    `card.evaluation` may hold, by the name of a part, figures (`{"value", "low", "high"}`, nested as deep as
    wanted) and counts; lists of objects under `targets`, `calibration`, `shortcuts`, `experiments`, which
    become tables; and sentences under `failures`. `card.training` may hold `weights_licence`.
    """
    blocks = [
        f"# Model card: {_plain(card.name)}",
        *_notices(card),
        *_details(card),
        *_use(card),
        *_making(card),
        *_data(card),
        *_thresholds(card),
        *_figures(card.evaluation),
        *_out_of_distribution(card),
        *_failures(card.evaluation),
        *_licence(card),
    ]
    return "\n\n".join(blocks) + "\n"


def _notices(card: Card) -> Iterator[str]:
    yield _paragraph(
        "**Research software, not a medical device.** It must not be the reason that a lesion is or is not "
        "treated."
    )
    if card.synthetic:
        yield _paragraph(
            "**Trained on drawn pictures.** Nothing that it says, and no figure below, is about patients."
        )


def _details(card: Card) -> Iterator[str]:
    configuration = card.training["configuration"]
    network = configuration.get("network") or configuration.get("experiment")
    licence = card.training.get("weights_licence")
    facts = [
        ("name", _plain(card.name)),
        ("digest", f"`{card.digest}`"),
        ("SHA-256 of the weights", f"`{card.sha256}`"),
        ("written", _plain(card.created)),
        ("network", _plain(network) if network else "not stated"),
        ("takes", f"one photograph, {card.size}×{card.size} pixels ({card.aspect})"),
        ("tells apart", ", ".join(f"{name_of(code)} ({code})" for code in card.classes)),
        ("gives", "a probability of each, an embedding, and where in the picture each class was seen"),
        ("licence of the weights", _marked(licence) if isinstance(licence, str) else "not stated"),
    ]
    yield "## The model"
    yield _table(("", ""), facts)


def _use(card: Card) -> Iterator[str]:
    yield "## What it is for"
    yield _bullets(
        [
            "Research and teaching: sorting photographs of single skin lesions so that a dermatologist sees "
            "first what is suspicious of melanoma.",
            "A second look beside a person who sees the patient, never instead of one.",
        ]
    )
    yield "## What it is not for"
    yield _bullets(
        [
            "Deciding alone: no lesion may be left, treated or removed because of it.",
            "Calming anyone: `routine` means that the model knows of nothing against it, not that there is "
            "nothing.",
            "Photographs of another kind than those it learned from (see Data), several lesions in one "
            "picture, or any diagnosis but the nine that it tells apart.",
        ]
    )
    yield "## Who should not rely on it"
    yield _bullets(
        [
            "Anyone looking at their own skin: see a doctor.",
            "A practice that has not measured it on its own camera and its own patients "
            "(`dermsentry evaluate` does).",
            "Anyone whose age, skin type or part of the body is not among the figures below: for them nobody "
            "has measured it.",
        ]
    )


def _making(card: Card) -> Iterator[str]:
    training = card.training
    rows = [(_words(name), _cell(value)) for name, value in _flat(training["configuration"])]
    rows.append(("temperature of the calibration", f"{card.temperature:.3g}"))
    yield "## How it was made"
    if not any(name.split(", ")[-1] == "seed" for name, _ in rows):
        rows.append(("seed", "not stated"))
    yield _table(("setting", "value"), rows)
    versions = ", ".join(f"{name} {version}" for name, version in sorted(training["versions"].items()))
    yield _paragraph(f"Made with {_plain(versions) or 'versions that are not stated'}.")


def _data(card: Card) -> Iterator[str]:
    training = card.training
    yield "## Data"
    counts, classes = training.get("photographs"), training.get("photographs_by_diagnosis")
    if (
        isinstance(classes, Mapping)
        and all(isinstance(part, Mapping) for part in classes.values())
        and classes
    ):
        labels = list(dict.fromkeys(label for part in classes.values() for label in part))
        labels.sort(key=lambda label: _order(str(label)))
        rows = [
            (_diagnosis(str(label)), *(_cell(part.get(label, 0)) for part in classes.values()))
            for label in labels
        ]
        if isinstance(counts, Mapping):
            rows.append(("all", *(_cell(counts.get(part)) for part in classes)))
        yield _table(("photographs", *(_words(str(part)) for part in classes)), rows)
    elif isinstance(counts, Mapping):
        yield _table(("part", "photographs"), [(_words(str(k)), _cell(v)) for k, v in counts.items()])
    else:
        yield "How many photographs there were is not stated."
    licences = training["licences"]
    yield "Licences of what it learned from:" if licences else "No licence of the data is stated."
    if licences:
        yield _bullets(_marked(licence) for licence in licences)
    prints = [("collection", training["fingerprint"]), ("split", training.get("split_fingerprint"))]
    told = ", ".join(f"{name} `{_plain(text)[:12]}`" for name, text in prints if isinstance(text, str))
    yield _paragraph(f"Fingerprints: {told}.")


def _thresholds(card: Card) -> Iterator[str]:
    yield "## Thresholds"

    def row(name: str, cut: Threshold) -> tuple[str, ...]:
        found = "not measured"
        if cut.sensitivity is not None:
            low, high = 100 * cut.sensitivity.low, 100 * cut.sensitivity.high
            found = f"{100 * cut.sensitivity.value:.1f} % ({low:.1f}–{high:.1f})"
        target = f"{100 * cut.sensitivity_target:.0f} %"
        return name, f"{100 * cut.value:.1f} %", target, found, _plain(cut.chosen_on)

    header = ("tier", "from a melanoma probability of", "set to find", "found there", "chosen on")
    yield _table(header, [row(name, card.thresholds[name]) for name in CUTS])
    yield _paragraph(
        "What was found on the photographs that chose a threshold flatters it; the figures on other "
        "photographs, below, do not."
    )


def _figures(evaluation: Mapping[str, Any]) -> Iterator[str]:
    yield "## Figures"
    yield "Each with its 95 % interval. AUROC, losses and scores are numbers, shares are in per cent."
    nothing = True
    for part, content in evaluation.items():
        if part in TITLES or part in _PASSED_OVER or not isinstance(content, Mapping):
            continue
        entries = list(_flat(content))
        rows = [(_words(name), _cell(value, name)) for name, value in entries if _is_figure(value)]
        if not rows:
            continue
        nothing = False
        yield f"### {_sentence(part)}"
        counts = [f"{value:,} {_words(name)}" for name, value in entries if type(value) is int and value >= 0]
        if counts:
            yield _paragraph(f"{', '.join(counts)}.")
        yield _table(("figure", "value (95 % interval)"), rows)
    if nothing:
        yield "None was measured."
    for name, title in TITLES.items():
        table = list(_records(evaluation.get(name)))
        if table:
            yield f"### {title}"
            yield from table


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
        yield _table(header, [[_cell(entry.get(name), name) for name in columns] for entry in objects])
    sentences = [_plain(entry) for entry in content if isinstance(entry, str)]
    if sentences:
        yield _bullets(sentences)


def _out_of_distribution(card: Card) -> Iterator[str]:
    yield "## Pictures that it refuses"
    found = card.out_of_distribution
    if found is None:
        yield _paragraph(
            "None: too few photographs made it, and it will give a diagnosis to a picture of anything."
        )
        return
    yield _paragraph(
        f"{describe_out_of_distribution(found)} They get `cannot-say` instead of a diagnosis. So do images "
        "that are out of focus, too dark or too bright, or without a lesion in view, unless they raise an "
        "alert, and charts always."
    )


def _failures(evaluation: Mapping[str, Any]) -> Iterator[str]:
    yield "## Known failures"
    failures = evaluation.get("failures")
    told = [_plain(one) for one in failures if isinstance(one, str)] if isinstance(failures, list) else []
    if told:
        yield _bullets(told)
    else:
        yield "None is recorded, which does not mean that there are none."


def _licence(card: Card) -> Iterator[str]:
    licence = card.training.get("weights_licence")
    yield "## Licence"
    if isinstance(licence, str):
        yield _paragraph(f"Weights: {_marked(licence)}.")
    else:
        yield _paragraph("Weights: no licence is stated. Those of the data, above, may bind them.")


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
    ends = [figure[key] if type(figure[key]) in (int, float) else None for key in ("value", "low", "high")]
    shares = all(end is not None and 0 <= end <= 1 for end in ends) and not _DECIMAL.search(name)
    value, low, high = (
        "∞" if end is None else f"{100 * end:.1f}" if shares else f"{end:.3f}" for end in ends
    )
    return f"{value}{' %' if shares else ''} ({low}–{high})"


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
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


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


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
