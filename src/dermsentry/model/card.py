"""What a model bundle says about itself: the fields of `card.json`, and reading them without trust."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from dermsentry.diagnoses import CODES, name_of
from dermsentry.errors import BundleError
from dermsentry.files import to_json
from dermsentry.images import ASPECTS, Aspect
from dermsentry.stats.intervals import Estimate
from dermsentry.stats.numbers import brief, decimal_interval, percent, percent_interval

SCHEMA = 3
HELD_OUT = "validation and calibration"
"""The part of a card's `evaluation` that says what alerts do on the images that chose their threshold."""

Floats = NDArray[np.float32]
Cut = Literal["alert", "refer"]
CUTS: tuple[Cut, ...] = get_args(Cut)

# What a field may hold; `parse_card` refuses anything else.
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1, le=10**9)]
Line = Annotated[str, Meta(pattern=r"^\S.{0,199}\Z")]
Moment = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d(T[0-9:.+\-Z]{5,30})?\Z")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


@dataclass(frozen=True)
class Threshold:
    """A melanoma probability, and the sensitivity it was chosen for.

    `sensitivity` is what was reached, with its interval, None where it was not measured; `chosen_on` names
    the images that chose it, such as `calibration`.
    """

    value: Share
    sensitivity_target: Share
    sensitivity: Estimate | None
    chosen_on: Line


@dataclass(frozen=True)
class NoLesion:
    """What the network refuses as no image of a lesion; see `training/refusal.py`.

    `held_out`: how many images held out of training set the limit; `held_out_refused`: the share of them that
    is refused. `non_lesions`: how many views of images without a lesion the score was fitted against;
    `non_lesions_refused`: the share of them that is refused by a fit that had not seen their image.
    `sources`: the share of each source's images that is refused by a fit that had not seen the source.
    """

    held_out: Count
    held_out_refused: Share
    non_lesions: Count
    non_lesions_refused: Share
    sources: Mapping[Line, Share] = field(default_factory=dict)


@dataclass(frozen=True)
class OutOfDistribution:
    """Which lesions are unlike those learned from; see `training/refusal.py`.

    `held_out`: how many images held out of training set the limit; `held_out_flagged`: the share of them
    above it. `sources`: the share of each source's images above it by a fit that had not seen the source.
    """

    held_out: Count
    held_out_flagged: Share
    sources: Mapping[Line, Share] = field(default_factory=dict)


@dataclass(frozen=True)
class Promise:
    """At least this share of melanomas raises an alert, with this confidence, as so many lesions show.

    `melanomas`: how many independent ones chose the threshold.
    """

    sensitivity: Share
    confidence: Share
    melanomas: Count


@dataclass(frozen=True)
class Adopted:
    """How a site bundle differs from the bundle it came from, whose network it has; see `adoption/`.

    `parent` is that bundle's digest. After the network, the logit of melanoma's probability is multiplied by
    `slope` and moved by `intercept`; the other diagnoses share what is left as they did. `promise` is None
    where no labelled melanomas chose the alert threshold. `record` is free: what `adoption.json` holds.
    """

    parent: Digest
    slope: Annotated[float, Meta(ge=1e-3, le=1e3)]
    intercept: Annotated[float, Meta(ge=-1e3, le=1e3)]
    promise: Promise | None
    record: Mapping[str, Any]


@dataclass(frozen=True)
class SelfTest:
    """What the network gave for a picture drawn from `seed` when the bundle was written."""

    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    probability: Annotated[
        tuple[Annotated[float, Meta(ge=0, le=1.0001)], ...], Meta(min_length=9, max_length=9)
    ]
    class_activation_mean: Annotated[float, Meta(ge=-1e9, le=1e9)]
    no_lesion: Share
    out_of_distribution: Share
    # One that lets everything pass would be no test.
    tolerance: Annotated[float, Meta(ge=1e-7, le=0.02)]


@dataclass(frozen=True)
class Card:
    """What a bundle says about itself; `card.json` has exactly these fields.

    `size` is the network's input side in pixels, `aspect` how an image is brought to it, `temperature` the
    calibration already inside the network. `thresholds` has `alert` and `refer`. `adoption` is None but in a
    site bundle. `evaluation` is free;
    `training` has at least `fingerprint` (text), `licences` (list of text), `synthetic` (whether phantoms
    trained it), `configuration` and `versions` (objects). `write_bundle` fills `created`, `self_test`,
    `sha256` (of `model.onnx`) and `digest` (of the other fields).
    """

    name: Line
    size: Annotated[int, Meta(ge=8, le=4096)]
    aspect: Aspect
    temperature: Annotated[float, Meta(ge=1e-3, le=1e3)]
    thresholds: Mapping[Cut, Threshold]
    no_lesion: NoLesion | None
    out_of_distribution: OutOfDistribution | None
    evaluation: Mapping[str, Any]
    training: Mapping[str, Any]
    adoption: Adopted | None = None
    classes: tuple[str, ...] = CODES
    schema: Annotated[int, Meta(ge=1, le=10**6)] = SCHEMA
    created: Moment = ""
    self_test: SelfTest | None = None
    sha256: Digest = ""
    digest: Digest = ""

    @property
    def fitted(self) -> tuple[int, Aspect]:
        """How images are brought to the network: `size` and `aspect`."""
        return self.size, self.aspect

    @property
    def synthetic(self) -> bool:
        """Whether phantoms, not photographs of patients, trained it."""
        return bool(self.training["synthetic"])


@dataclass(frozen=True)
class _Training:
    """The fields that `training` has beside free ones."""

    synthetic: bool
    fingerprint: Line
    licences: tuple[str, ...]
    configuration: Mapping[str, Any]
    versions: Mapping[str, str]


def describe(card: Card) -> str:
    """What a card says, in words, a fact per line."""
    training = card.training
    lines = [
        f"{card.name}, written {card.created}, digest {card.digest[:12]}",
        f"Input: images of {card.size}×{card.size} pixels ({card.aspect}).",
        f"Diagnoses: {', '.join(name_of(code) for code in card.classes)}.",
    ]
    if card.synthetic:
        lines.append("Trained on synthetic images: its output says nothing about patients.")
    if card.adoption is not None:
        lines.append(describe_adoption(card.adoption))
    lines += describe_thresholds(card)
    lines += describe_refusal(card)
    lines += [f"On {part}: {listed}." for part, listed in _describe_figures(card.evaluation)]
    licences = ", ".join(training["licences"]) or "none stated"
    lines.append(f"Training data {training['fingerprint'][:12]}; licences: {licences}.")
    versions = ", ".join(f"{name} {version}" for name, version in sorted(training["versions"].items()))
    lines.append(f"Made with {versions or 'versions not stated'}.")
    lines.append("Research software, not a medical device.")
    return "\n".join(lines)


def describe_refusal(card: Card) -> tuple[str, str]:
    """What a network refuses as no lesion, and what it flags as out of distribution: a sentence each."""
    refused, flagged = card.no_lesion, card.out_of_distribution
    first = "Refuses no image as one without a lesion: it has no such score."
    if refused is not None:
        first = (
            f"Refuses images without a lesion: {percent(refused.non_lesions_refused)} of "
            f"{refused.non_lesions:,} views of such images, each scored by a fit that had not seen its "
            f"image, and {percent(refused.held_out_refused)} of {refused.held_out:,} held-out images of "
            f"lesions"
            f"{_by_source(refused.sources)}."
        )
    second = "Flags no lesion as out of distribution: it has no such score."
    if flagged is not None:
        second = (
            f"Flags lesions as out of distribution: {percent(flagged.held_out_flagged)} of "
            f"{flagged.held_out:,} held-out images{_by_source(flagged.sources)}."
        )
    return first, second


def _by_source(sources: Mapping[str, float]) -> str:
    if not sources:
        return ""
    listed = ", ".join(f"{percent(share)} of {name}" for name, share in sources.items())
    return f"; by a fit that had not seen the source, {listed}"


def describe_adoption(adopted: Adopted) -> str:
    """Where a site bundle comes from and what it promises, in a sentence."""
    origin = f"Adopted for a site from the bundle {adopted.parent[:12]}, the same network"
    promise = adopted.promise
    if promise is None:
        return f"{origin}: its alerts are those of that bundle, and nothing is promised of their sensitivity."
    return (
        f"{origin}: with {brief(promise.confidence)} confidence its alerts find at least "
        f"{brief(promise.sensitivity)} of the site's melanomas that it assesses, chosen on "
        f"{promise.melanomas:,} melanomas there."
    )


def describe_thresholds(card: Card) -> list[str]:
    """The operating point that was chosen in sentences, and whether its alerts tell nothing apart."""
    lines = [_describe_threshold(name, card.thresholds[name]) for name in CUTS]
    there = card.evaluation.get(HELD_OUT)
    specificity = _figure(there.get("specificity")) if isinstance(there, Mapping) else None
    if specificity is not None:
        lines.append(
            f"Of those without melanoma, {percent_interval(specificity)} raise no alert (specificity)."
        )
        if not specificity.value:
            lines.append("Every one of them raises an alert: these alerts tell nothing apart.")
    return lines


def _figure(figure: Any) -> Estimate | None:
    """A share with its interval from `evaluation`, which is free; None for anything else."""
    if isinstance(figure, Estimate):
        return figure
    ends: list[Any] = (
        [figure.get(end) for end in ("value", "low", "high")] if isinstance(figure, Mapping) else []
    )
    if ends and all(type(end) in (int, float) and 0 <= end <= 1 for end in ends):
        return Estimate(*ends)
    return None


def _describe_threshold(name: str, threshold: Threshold) -> str:
    reached = "sensitivity not measured"
    if threshold.sensitivity is not None:
        reached = f"sensitivity there {percent_interval(threshold.sensitivity)}"
    aim = f"chosen on {threshold.chosen_on} for a sensitivity of {brief(threshold.sensitivity_target)}"
    return f"{name.capitalize()} from a melanoma probability of {percent(threshold.value)}: {aim}; {reached}."


_HEADLINES = {
    "melanoma_roc_auc": "melanoma AUROC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "without_a_lesion_refused": "images without a lesion refused",
    "photographs_refused": "photographs refused",
}
"""The figures that a description names; the model card has all of them."""


def _describe_figures(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each part's first figures that have an interval, in words; the rest of `evaluation` is passed over."""
    for part, figures in evaluation.items():
        found = []
        for name, words in _HEADLINES.items() if isinstance(figures, dict) else ():
            figure = _figure(figures.get(name))
            if figure is not None:
                shown = decimal_interval if name.endswith("roc_auc") else percent_interval
                found.append(f"{words} {shown(figure)}")
        if found and part.isprintable() and part != HELD_OUT:
            yield part, ", ".join(found)


def card_text(card: Card, where: Path) -> str:
    """The text of `card.json`. Raises BundleError if a field holds what JSON cannot, such as NaN."""
    try:
        text = to_json(card)
    except (TypeError, ValueError) as error:
        raise BundleError(f"{where} cannot hold this card: {error}.") from error
    # A row of numbers on one line: the card stays a page that a person can read.
    return re.sub(r"\[\s+(-?\d[^\[\]{}\"]*?)\s+\]", lambda row: "[" + re.sub(r"\s+", " ", row[1]) + "]", text)


def card_digest(text: str) -> str:
    """SHA-256 over every field of a card's text but `digest`, however it is laid out."""
    fields = {key: value for key, value in json.loads(text).items() if key != "digest"}
    plain = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(plain.encode("ascii")).hexdigest()


def parse_card(text: str, where: Path) -> Card:
    """Read a card. Raises BundleError that names the first field that is wrong."""

    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is no number")

    try:
        record = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where} is not readable JSON: {error}.") from error
    if not isinstance(record, dict):
        raise BundleError(f"{where}: received {_kind(record)}, expected an object with a card's fields.")
    return _read_card(_of_schema_2(_of_schema_1(record)), f"{where}: ")


_FIELDS_OF_SCHEMA_1 = {
    "known": "held_out",
    "known_refused": "held_out_refused",
    "strange": "non_lesions",
    "strange_refused": "non_lesions_refused",
}


def _of_schema_2(record: dict[str, Any]) -> dict[str, Any]:
    """A card of schema 1 or 2 with the fields of schema 3; any other as it is.

    Its only score was fitted against images without a lesion.
    """
    if record.get("schema") not in (1, 2) or "no_lesion" in record or "out_of_distribution" not in record:
        return record
    old, test = record["out_of_distribution"], record.get("self_test")
    if isinstance(old, dict):
        old = {**old, "sources": {}}
    if isinstance(test, dict) and "out_of_distribution" in test:
        test = {**test, "no_lesion": test["out_of_distribution"], "out_of_distribution": 0.0}
    return {**record, "no_lesion": old, "out_of_distribution": None, "self_test": test}


def _of_schema_1(record: dict[str, Any]) -> dict[str, Any]:
    """A card of schema 1 under the names of schema 2; any other as it is."""
    if record.get("schema") != 1 or "familiarity" not in record:
        return record
    renamed = {key: value for key, value in record.items() if key != "familiarity"}
    old = record["familiarity"]
    if isinstance(old, dict):
        old = {_FIELDS_OF_SCHEMA_1.get(key, key): value for key, value in old.items()}
    renamed["out_of_distribution"] = old
    test = record.get("self_test")
    if isinstance(test, dict):
        test = dict(test)
        if "heat_mean" in test:
            test["class_activation_mean"] = test.pop("heat_mean")
        familiarity = test.pop("familiarity", None)
        if isinstance(familiarity, int | float):
            test["out_of_distribution"] = 1 - familiarity
        renamed["self_test"] = test
    return renamed


def _kind(value: Any) -> str:
    """A value from the card, short enough for an error's line."""
    if value is None:
        return "null"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    if isinstance(value, str):
        return ascii(value[:40])
    return (
        f"{value:.6g}"
        if isinstance(value, float)
        else str(value).lower()
        if abs(value) < 10**20
        else "a huge number"
    )


Part = TypeVar("Part")
# msgspec's words for what a field may hold, for people.
_WORDS = {
    "int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "array": "a list",
    "object": "an object", ">=": "of at least", "<=": "of at most", "|": "or",
}  # fmt: skip


def _read_card(record: dict[str, Any], where: str) -> Card:
    schema = record.get("schema")
    if type(schema) is int and schema > SCHEMA:
        raise BundleError(
            f"{where}schema {_kind(schema)} was written by a later version (this one reads up to {SCHEMA}); "
            "upgrade Dermsentry."
        )
    if type(schema) is int and schema < 3:
        record = {"adoption": None, **record}
    _require(record, _names(Card), where)
    if record["adoption"] is not None:
        found = _object(record, "adoption", where)
        _read(found, Adopted, f"{where}adoption.")
        if found["promise"] is not None:
            _read(_object(found, "promise", f"{where}adoption."), Promise, f"{where}adoption.promise.")
    if record["classes"] != list(CODES):
        raise _wrong(f"{where}classes", record["classes"], f"the codes {', '.join(CODES)} in this order")
    thresholds = _object(record, "thresholds", where)
    _require(thresholds, set(CUTS), f"{where}thresholds.")
    for name in CUTS:
        cut = _object(thresholds, name, f"{where}thresholds.")
        _read(cut, Threshold, f"{where}thresholds.{name}.")
        if cut["sensitivity"] is not None:
            figure = _read(cut["sensitivity"], Estimate, f"{where}thresholds.{name}.sensitivity.")
            if not all(0 <= end <= 1 for end in (figure.value, figure.low, figure.high)):
                raise _wrong(
                    f"{where}thresholds.{name}.sensitivity", cut["sensitivity"], "shares from 0 to 1"
                )
    scores: tuple[tuple[str, type[Any]], ...] = (
        ("no_lesion", NoLesion),
        ("out_of_distribution", OutOfDistribution),
    )
    for score, kind in scores:
        if record[score] is not None:
            _read(_object(record, score, where), kind, f"{where}{score}.")
    _read(_object(record, "self_test", where), SelfTest, f"{where}self_test.")
    training = _convert(_object(record, "training", where), _Training, f"{where}training.")
    card = _convert({**record, "schema": SCHEMA}, Card, where)
    alert, refer = (card.thresholds[name].value for name in CUTS)
    if refer > alert:
        raise _wrong(f"{where}thresholds.refer.value", refer, f"at most the alert's {alert:g}")
    texts = {
        "name": card.name,
        **{f"thresholds.{name}.chosen_on": card.thresholds[name].chosen_on for name in CUTS},
        "training.fingerprint": training.fingerprint,
        "training.licences": "".join(training.licences),
        "training.versions": "".join(key + value for key, value in training.versions.items()),
    }
    for place, text in texts.items():
        if not text.isprintable():
            raise _wrong(f"{where}{place}", text, "text without control characters")
    return card


def _read(record: dict[str, Any], kind: type[Part], where: str) -> Part:
    """An object of the card whose fields are those of `kind`, no more and no less."""
    if isinstance(record, dict):
        _require(record, _names(kind), where)
    return _convert(record, kind, where)


def _names(kind: type[Any]) -> set[str]:
    return {field.name for field in fields(kind)}


def _require(record: dict[str, Any], names: set[str], where: str) -> None:
    """Raise BundleError that names the first field which is missing or not among `names`."""
    for name in sorted(names - set(record)):
        raise BundleError(f"{where}{name} is missing; get the bundle again.")
    for name in sorted(set(record) - names):
        raise BundleError(
            f"{where}{name[:60]!a} is a field that this version does not know; "
            "upgrade Dermsentry or get the bundle again."
        )


def _object(record: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    value = record[name]
    if not isinstance(value, dict):
        raise _wrong(f"{where}{name}", value, "an object")
    return value


def _convert(value: Any, kind: type[Part], where: str) -> Part:
    """`value` as `kind`, every number in its range and every text of its pattern."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        names = re.findall(r"\w+", path)
        for name in names:
            value = value[int(name)] if isinstance(value, list) else value.get(name)
        if text.startswith("Object missing"):
            raise BundleError(f"{where}{'.'.join([*names, text.split('`')[1]])} is missing.") from None
        words = text.removeprefix("Expected ").split(", got ")[0].replace("`", "").split()
        expected = " ".join(_WORDS.get(word, word) for word in words)
        if text.startswith("Invalid enum"):
            expected = " or ".join(ASPECTS)
        raise _wrong(f"{where}{'.'.join(names)}".rstrip("."), value, expected) from None


def _wrong(name: str, value: Any, expected: str) -> BundleError:
    return BundleError(f"{name}: received {_kind(value)}, expected {expected}.")
