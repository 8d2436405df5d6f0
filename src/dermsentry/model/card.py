"""What a model bundle says about itself: the fields of `card.json`, and reading them without trust."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from dermsentry.diagnoses import CODES, name_of
from dermsentry.errors import BundleError
from dermsentry.files import to_json
from dermsentry.images import ASPECTS, Aspect
from dermsentry.stats.intervals import Estimate

SCHEMA = 2

Floats = NDArray[np.float32]
Cut = Literal["alert", "refer"]
CUTS: tuple[Cut, ...] = get_args(Cut)


@dataclass(frozen=True)
class Threshold:
    """A melanoma probability, and the sensitivity it was chosen for.

    `sensitivity` is what was reached, with its interval, None where nobody measured; `chosen_on` names the
    photographs that chose it, such as `calibration`.
    """

    value: float
    sensitivity_target: float
    sensitivity: Estimate | None
    chosen_on: str


@dataclass(frozen=True)
class OutOfDistribution:
    """What the network refuses as unlike what it learned from; see `training/out_of_distribution.py`.

    `held_out`: how many photographs held out of training set the limit; `held_out_refused`: the share of them
    it refuses. `non_lesions`: how many views of pictures without a lesion the score was fitted against;
    `non_lesions_refused`: the share of them that is refused by a fit that had not seen their picture.
    """

    held_out: int
    held_out_refused: float
    non_lesions: int
    non_lesions_refused: float


@dataclass(frozen=True)
class SelfTest:
    """What the network gave for a picture drawn from `seed` when the bundle was written."""

    seed: int
    probability: tuple[float, ...]
    class_activation_mean: float
    out_of_distribution: float
    tolerance: float


@dataclass(frozen=True)
class Card:
    """What a bundle says about itself; `card.json` has exactly these fields.

    `size` is the network's input side in pixels, `aspect` how a photograph is brought to it, `temperature`
    the calibration already inside the network. `thresholds` has `alert` and `refer`. `evaluation` is free;
    `training` has at least `fingerprint` (text), `licences` (list of text), `synthetic` (whether phantoms
    trained it), `configuration` and `versions` (objects). `write_bundle` fills `created`, `self_test`,
    `sha256` (of `model.onnx`) and `digest` (of the other fields).
    """

    name: str
    size: int
    aspect: Aspect
    temperature: float
    thresholds: Mapping[Cut, Threshold]
    out_of_distribution: OutOfDistribution | None
    evaluation: Mapping[str, Any]
    training: Mapping[str, Any]
    classes: tuple[str, ...] = CODES
    schema: int = SCHEMA
    created: str = ""
    self_test: SelfTest | None = None
    sha256: str = ""
    digest: str = ""

    @property
    def synthetic(self) -> bool:
        """Whether phantoms, not photographs of patients, trained it."""
        return bool(self.training["synthetic"])

    def as_dict(self) -> dict[str, Any]:
        """The fields as they stand in `card.json`."""
        return asdict(self)


def describe(card: Card) -> str:
    """What a card says, in words, a fact a line."""
    training = card.training
    lines = [
        f"{card.name}, written {card.created}, digest {card.digest[:12]}",
        f"Takes photographs at {card.size}×{card.size} pixels ({card.aspect}).",
        f"Knows {', '.join(name_of(code) for code in card.classes)}.",
    ]
    if card.synthetic:
        lines.append("Trained on drawn pictures: nothing that it says is about patients.")
    lines += [_describe_threshold(name, card.thresholds[name]) for name in CUTS]
    if card.out_of_distribution is None:
        lines.append("Cannot tell a picture that is no lesion: too few photographs made it.")
    else:
        lines.append(describe_out_of_distribution(card.out_of_distribution))
    lines += [f"On {part}: {listed}." for part, listed in _describe_figures(card.evaluation)]
    licences = ", ".join(training["licences"]) or "none stated"
    lines.append(f"Trained on data {training['fingerprint'][:12]}; licences: {licences}.")
    versions = ", ".join(f"{name} {version}" for name, version in sorted(training["versions"].items()))
    lines.append(f"Made with {versions or 'versions not stated'}.")
    lines.append("Research software, not a medical device.")
    return "\n".join(lines)


def describe_out_of_distribution(found: OutOfDistribution) -> str:
    """What a network refuses, in a sentence."""
    refused, others = f"{100 * found.held_out_refused:.1f} %", f"{100 * found.non_lesions_refused:.1f} %"
    return (
        f"Refuses pictures unlike those it learned from: {refused} of {found.held_out} photographs that were "
        f"held out of training to set this limit, and {others} of {found.non_lesions} views of pictures "
        "without a lesion, each scored by a fit that had not seen its picture."
    )


def _describe_threshold(name: str, threshold: Threshold) -> str:
    reached = "sensitivity not measured"
    if threshold.sensitivity is not None:
        found = threshold.sensitivity
        interval = f"{100 * found.low:.0f}–{100 * found.high:.0f} %"
        reached = f"reached {100 * found.value:.0f} % ({interval}) there"
    aim = f"set on {threshold.chosen_on} to find {100 * threshold.sensitivity_target:.0f} % of melanomas"
    return (
        f"{name.capitalize()} from a melanoma probability of {100 * threshold.value:.1f} %: {aim}; {reached}."
    )


_HEADLINES = {
    "melanoma_roc_auc": "melanoma AUROC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "without_a_lesion_refused": "pictures without a lesion refused",
    "photographs_refused": "photographs refused",
}
"""The figures that a description names; the model card has all of them."""


def _describe_figures(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each part's first figures that have an interval, in words; the rest of `evaluation` is passed over."""
    for part, figures in evaluation.items():
        found = []
        for name, words in _HEADLINES.items() if isinstance(figures, dict) else ():
            figure = figures.get(name)
            ends: list[Any] = (
                [figure.get(k) for k in ("value", "low", "high")] if isinstance(figure, dict) else []
            )
            if ends and all(type(end) in (int, float) and 0 <= end <= 1 for end in ends):
                value, low, high = ends
                if name.endswith("roc_auc"):
                    found.append(f"{words} {value:.3f} ({low:.3f}–{high:.3f})")
                else:
                    found.append(f"{words} {100 * value:.1f} % ({100 * low:.1f}–{100 * high:.1f})")
        if found and part.isprintable():
            yield part, ", ".join(found)


def card_text(card: Card, where: Path) -> str:
    """The text of `card.json`. Raises BundleError if a field holds what JSON cannot, such as NaN."""
    try:
        text = to_json(card.as_dict())
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
    """Read a card, field by field. Raises BundleError that names the first field that is wrong."""

    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is no number")

    try:
        record = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where} is not readable JSON: {error}.") from error
    if not isinstance(record, dict):
        raise BundleError(f"{where}: received {_kind(record)}, expected an object with a card's fields.")
    return _card(_Reader(_in_today_s_names(record), f"{where}: "))


_FIELDS_OF_SCHEMA_1 = {
    "known": "held_out",
    "known_refused": "held_out_refused",
    "strange": "non_lesions",
    "strange_refused": "non_lesions_refused",
}


def _in_today_s_names(record: dict[str, Any]) -> dict[str, Any]:
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


@dataclass(frozen=True)
class _Reader:
    """One object of the card being read, and where it stands, for errors that name the field."""

    record: Mapping[str, Any]
    where: str

    def wrong(self, key: str, expected: str) -> BundleError:
        if key not in self.record:
            return BundleError(f"{self.where}{key} is missing; expected {expected}.")
        return BundleError(f"{self.where}{key}: received {_kind(self.record[key])}, expected {expected}.")

    def only(self, kind: type[Any]) -> None:
        extra = sorted(set(self.record) - set(kind.__dataclass_fields__))
        if extra:
            name = extra[0][:60]
            raise BundleError(
                f"{self.where}{name!a} is a field that this version does not know; "
                "upgrade Dermsentry or get the bundle again."
            )

    def below(self, key: str) -> _Reader:
        value = self.record.get(key)
        if not isinstance(value, dict):
            raise self.wrong(key, "an object")
        return _Reader(value, f"{self.where}{key}.")

    def text(self, key: str, pattern: str = r"\S.{0,199}", expected: str = "one line of text") -> str:
        value = self.record.get(key)
        if not isinstance(value, str) or not re.fullmatch(pattern, value) or not value.isprintable():
            raise self.wrong(key, expected)
        return value

    def number(self, key: str, low: float, high: float) -> float:
        value = self.record.get(key)
        if type(value) not in (int, float) or not low <= cast(float, value) <= high:
            raise self.wrong(key, f"a number from {low:g} to {high:g}")
        return float(cast(float, value))

    def whole(self, key: str, low: int, high: int) -> int:
        value = self.record.get(key)
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(key, f"a whole number from {low} to {high}")
        return value

    def numbers(self, key: str, low: float, high: float) -> Floats:
        values = self.record.get(key)
        if not isinstance(values, list) or not values:
            raise self.wrong(key, "numbers")
        if not all(type(value) in (int, float) and low <= value <= high for value in values):
            raise self.wrong(key, f"numbers from {low:g} to {high:g}")
        found: Floats = np.array(values, dtype=np.float32)
        return found


def _card(reader: _Reader) -> Card:
    record = reader.record
    schema = reader.whole("schema", 1, 10**6)
    if schema > SCHEMA:
        raise BundleError(
            f"{reader.where}schema {schema} was written by a later version (this one reads up to {SCHEMA}); "
            "upgrade Dermsentry."
        )
    reader.only(Card)
    if record.get("classes") != list(CODES):
        raise reader.wrong("classes", f"the codes {', '.join(CODES)} in this order")
    if record.get("aspect") not in ASPECTS:
        raise reader.wrong("aspect", " or ".join(ASPECTS))
    without = "out_of_distribution" in record and record["out_of_distribution"] is None
    hexadecimal = (r"[0-9a-f]{64}", "64 hexadecimal digits")
    day = (r"\d{4}-\d\d-\d\d(T[0-9:.+\-Z]{5,30})?", "a date such as 2026-01-31T12:00:00+00:00")
    return Card(
        name=reader.text("name"),
        size=reader.whole("size", 8, 4096),
        aspect=cast(Aspect, record["aspect"]),
        temperature=reader.number("temperature", 1e-3, 1e3),
        thresholds=_thresholds(reader.below("thresholds")),
        out_of_distribution=None if without else _out_of_distribution(reader.below("out_of_distribution")),
        evaluation=reader.below("evaluation").record,
        training=_training(reader.below("training")),
        created=reader.text("created", *day),
        self_test=_self_test(reader.below("self_test")),
        sha256=reader.text("sha256", *hexadecimal),
        digest=reader.text("digest", *hexadecimal),
    )


def _thresholds(reader: _Reader) -> dict[Cut, Threshold]:
    found = {name: _threshold(reader.below(name)) for name in CUTS}
    if found["refer"].value > found["alert"].value:
        raise BundleError(
            f"{reader.where}refer.value: received {found['refer'].value:g}, expected at most the alert's "
            f"{found['alert'].value:g}."
        )
    return found


def _threshold(reader: _Reader) -> Threshold:
    reader.only(Threshold)
    sensitivity = None
    if reader.record.get("sensitivity") is not None:
        figure = reader.below("sensitivity")
        figure.only(Estimate)
        sensitivity = Estimate(*(figure.number(key, 0, 1) for key in ("value", "low", "high")))
    return Threshold(
        value=reader.number("value", 0, 1),
        sensitivity_target=reader.number("sensitivity_target", 0, 1),
        sensitivity=sensitivity,
        chosen_on=reader.text("chosen_on"),
    )


def _out_of_distribution(reader: _Reader) -> OutOfDistribution:
    reader.only(OutOfDistribution)
    return OutOfDistribution(
        held_out=reader.whole("held_out", 1, 10**9),
        held_out_refused=reader.number("held_out_refused", 0, 1),
        non_lesions=reader.whole("non_lesions", 1, 10**9),
        non_lesions_refused=reader.number("non_lesions_refused", 0, 1),
    )


def _training(reader: _Reader) -> Mapping[str, Any]:
    if not isinstance(reader.record.get("synthetic"), bool):
        raise reader.wrong("synthetic", "true or false")
    reader.text("fingerprint")
    licences = reader.record.get("licences")
    if not isinstance(licences, list) or not all(isinstance(t, str) and t.isprintable() for t in licences):
        raise reader.wrong("licences", "a list of texts")
    reader.below("configuration")
    versions = reader.below("versions").record
    if not all(isinstance(v, str) and (k + v).isprintable() for k, v in versions.items()):
        raise reader.wrong("versions", "an object of texts")
    return reader.record


def _self_test(reader: _Reader) -> SelfTest:
    reader.only(SelfTest)
    probability = reader.numbers("probability", 0, 1.0001)
    if probability.size != len(CODES):
        raise reader.wrong("probability", f"{len(CODES)} numbers")
    return SelfTest(
        seed=reader.whole("seed", 0, 2**63 - 1),
        probability=tuple(probability.tolist()),
        class_activation_mean=reader.number("class_activation_mean", -1e9, 1e9),
        out_of_distribution=reader.number("out_of_distribution", 0, 1),
        tolerance=reader.number("tolerance", 1e-7, 0.02),  # one that lets everything pass would be no test
    )
