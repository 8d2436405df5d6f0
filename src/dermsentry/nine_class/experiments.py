"""The assignment's experiments, each under two protocols, and their results."""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.collection import Collection
from dermsentry.diagnoses import CODES
from dermsentry.evaluation.predictions import evaluate_predictions
from dermsentry.evaluation.results import Evaluation
from dermsentry.files import fingerprint, to_json, write_bytes
from dermsentry.split import Split
from dermsentry.stats.calibration import apply_temperature
from dermsentry.stats.metrics import candidate_hits, mean_hit_rate
from dermsentry.training.balancing import PER_CLASS
from dermsentry.training.batches import Examples
from dermsentry.training.configuration import Configuration, best_precision
from dermsentry.training.fitted import Fitted
from dermsentry.training.options import Precision
from dermsentry.training.pipeline import examples_of, fit_network, with_copies
from dermsentry.training.pixels import DecodedPhotographs, digest

Protocol = Literal["as-assigned", "honest"]
PROTOCOLS: tuple[Protocol, ...] = ("as-assigned", "honest")
_ELSEWHERE: dict[str, Any] = {"json": None}  # study.json has it in another form, or not at all


@dataclass(frozen=True)
class Experiment:
    """One of the study's networks: what it changes against the one it follows, and why."""

    name: str
    title: str
    strategy: str
    augmented: bool = False
    copies: bool = False
    class_weights: bool = False
    linear: bool = False
    follows: str = ""


EXPERIMENTS: tuple[Experiment, ...] = (
    Experiment(
        "baseline", "Baseline",
        "Three convolutions of 16, 32 and 64 filters, a dense layer of 128; nothing against overfitting.",
    ),
    Experiment(
        "augmented", "Augmented",
        "The same network. Every epoch sees each photograph turned by any angle, mirrored, zoomed by up to "
        "15 %, shifted by up to 5 % "
        "and with 15 % more or less brightness and contrast, borders reflected: a lesion has no up or down "
        "and cameras differ in "
        "light, but hue is a dermoscopic criterion and stays.",
        augmented=True, follows="baseline",
    ),
    Experiment(
        "balanced", "Balanced by copies",
        "The same network. Augmentor's copies (rotation up to 25°, mirroring, zoom, brightness) fill "
        "every class up to one number of photographs.",
        copies=True, follows="augmented",
    ),
    Experiment(
        "weighted", "Balanced by class weights",
        "The same network and photographs as the baseline; each class's loss is weighted so that all count "
        "the same. Beside the copies, for comparison.",
        class_weights=True, follows="baseline",
    ),
    Experiment(
        "linear", "Frozen EfficientNet-Lite0",
        "No network is trained: ImageNet's EfficientNet-Lite0 describes each photograph by 1,280 numbers, "
        "and a logistic regression with "
        "balanced classes classifies them.",
        linear=True,
    ),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Material:
    """What every experiment works on: decoded photographs, both splits, and their embeddings."""

    collection: Collection
    decoded: DecodedPhotographs
    splits: Mapping[Protocol, Split]
    embeddings: NDArray[np.float32]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of every pixel."""
        return digest(self.decoded.pixels)

    @property
    def contradicted(self) -> frozenset[str]:
        """The groups whose photograph carries two labels."""
        table = self.splits["honest"].table
        return frozenset(table.loc[table["reason"].str.startswith("conflict"), "group"])

    def examples(self, protocol: Protocol, parts: Sequence[str]) -> tuple[Examples, tuple[str, ...]]:
        """The photographs of these parts by that protocol's labels, and their groups."""
        table = self.splits[protocol].table
        return self._of(table[table["part"].isin(parts)])

    def test(self, as_given: bool) -> tuple[Examples, tuple[str, ...]]:
        """Test as given, by its folders' labels; or without what leaks, by the honest split's labels."""
        table = self.splits["honest"].table
        if not as_given:
            return self._of(table[table["part"] == "test"])
        own = dict(zip(self.collection.table["path"], self.collection.table["diagnosis"], strict=True))
        given = set(self.collection.table.loc[self.collection.table["split"] == "test", "path"])
        chosen = table["path"].isin(given) if given else table["part"] == "test"
        return self._of(table[chosen].assign(diagnosis=table.loc[chosen, "path"].map(own)))

    def _of(self, table: pd.DataFrame) -> tuple[Examples, tuple[str, ...]]:
        examples = examples_of(table, self.collection, self.decoded)
        group_of = dict(zip(table["path"], table["group"], strict=True))
        paths = list(self.collection.table["path"])
        return examples, tuple(group_of[paths[row]] for row in examples.rows)


@dataclass(frozen=True, eq=False)
class Training:
    """One experiment under one protocol, and all that decides what it gives."""

    experiment: Experiment
    protocol: Protocol
    material: Material
    epochs: int
    folder: Path
    per_class: int = PER_CLASS
    precision: Precision | None = None
    seed: int = 0
    quiet: bool = True

    @property
    def configuration(self) -> Configuration:
        """How the network is trained."""
        linear = self.experiment.linear
        return Configuration(
            network="lite0" if linear else "cnn",
            epochs=self.epochs,
            size=self.material.decoded.size,
            aspect=self.material.decoded.aspect,
            augmented=self.experiment.augmented,
            class_weights=self.experiment.class_weights,
            precision="float32" if linear else self.precision or best_precision(),
            seed=self.seed,
        )

    def record(self) -> dict[str, Any]:
        """The configuration as study.json has it."""
        if not self.experiment.linear:
            how = {"optimizer": "adam", "loss": "categorical cross-entropy"}
            return asdict(self.configuration) | how
        kept = {key: asdict(self.configuration)[key] for key in ("size", "aspect", "seed")}
        return {"network": "lite0", "frozen": True, "head": "logistic regression", **kept}

    def fingerprint(self, tests: Sequence[Examples]) -> str:
        """SHA-256 over the configuration, the pixels, and the rows, labels and relatives of every part."""
        parts = [self.material.examples(self.protocol, [part]) for part in ("train", "validation")]
        options = {**self.record(), "protocol": self.protocol}
        if self.experiment.copies:
            options["per_class"] = self.per_class
        rows = [examples.fingerprint() for examples in (*(own for own, _ in parts), *tests)]
        contradicted = self.material.contradicted
        groups = [f"{group}:{group in contradicted}" for _, own in parts for group in own]
        return fingerprint([to_json(options), self.material.digest, *rows, *groups])

    def run(self) -> tuple[Fitted, dict[str, Any]]:
        """The fitted network and the figures of its training, each by the name of its field of `Result`."""
        started = time.perf_counter()
        train, groups = self.material.examples(self.protocol, ["train"])
        validation, held_groups = self.material.examples(self.protocol, ["validation"])
        before = dict(Counter(train.labels))
        if self.experiment.copies:
            train, groups, validation, held_groups = _with_copies(
                self.protocol, (train, groups), (validation, held_groups), self.per_class, self.seed
            )
        fitted = fit_network(
            self.configuration,
            train,
            validation,
            self.folder,
            embeddings=self.material.embeddings if self.experiment.linear else None,
            name=f"{self.experiment.name}, {self.protocol}",
            quiet=self.quiet,
        )
        own, held = (_hits(fitted.logits(part), part.labels) for part in (train, validation))
        seconds = time.perf_counter() - started if self.experiment.linear else fitted.seconds
        return fitted, {
            "before": before,
            "after": dict(Counter(train.labels)),
            "validation_photographs": len(validation),
            "history": fitted.history.to_dict("list"),
            "best_epoch": fitted.best_epoch,
            "accuracy": float(own.mean()),
            "val_accuracy": float(held.mean()),
            "val_balanced_accuracy": mean_hit_rate(validation.labels, held),
            "relatives": _relatives(held, held_groups, groups, self.material.contradicted),
            "seconds": seconds,
            "images_per_second": fitted.images_per_second,
            "devices": fitted.devices,
        }


@dataclass(frozen=True, eq=False)
class Result:
    """What one experiment gave under one protocol.

    `before` and `after` count training photographs by class, without and with copies. `accuracy` and
    `val_accuracy` are of the kept epoch, on the photographs as they are, without augmentation. `evaluations`
    holds Test as given and Test without what leaks. `relatives` counts the validation photographs that have
    a copy or a connected photograph in training, one under another label, or none, and the accuracy on each
    kind. `fitted` is None where the experiment was finished by an earlier call.
    """

    training: Training = field(metadata=_ELSEWHERE)
    before: dict[str, int] = field(metadata={"json": "classes_before"})
    after: dict[str, int] = field(metadata={"json": "classes_after"})
    validation_photographs: int
    history: pd.DataFrame = field(metadata=_ELSEWHERE)
    best_epoch: int
    accuracy: float
    val_accuracy: float
    val_balanced_accuracy: float
    relatives: dict[str, Any]
    evaluations: dict[str, Evaluation]
    seconds: float
    images_per_second: float
    fitted: Fitted | None = field(metadata=_ELSEWHERE)
    devices: int = 1  # as those that earlier versions finished

    @property
    def experiment(self) -> Experiment:
        """What was changed."""
        return self.training.experiment

    @property
    def protocol(self) -> Protocol:
        """Under which protocol."""
        return self.training.protocol

    def figure(self, test: str, name: str) -> float | None:
        """One overall figure on `test` or `test-as-given`; None where there is nothing to measure."""
        evaluation = self.evaluations.get(test)
        found = evaluation.overall[name] if evaluation else None
        return None if found is None else found.value


def run_experiment(training: Training) -> Result:
    """Train, predict and evaluate one experiment; what an earlier call finished is read from its folder."""
    material = training.material
    both = {"test-as-given": material.test(as_given=True), "test": material.test(as_given=False)}
    tests = {name: test for name, test in both.items() if len(test[0])}
    key = training.fingerprint([examples for examples, _ in tests.values()])
    path, fitted = training.folder / "result.npz", None
    kept = _read_kept(path, key)
    if kept is None:
        fitted, figures = training.run()
        predictions = {
            name: apply_temperature(fitted.logits(examples), 1.0) for name, (examples, _) in tests.items()
        }
        _keep(path, key, figures, predictions)
    else:
        figures, predictions = kept
    evaluations = {
        name: evaluate_predictions(examples.labels, predictions[name], groups, seed=training.seed)
        for name, (examples, groups) in tests.items()
    }
    history = pd.DataFrame(figures.pop("history"))
    history["epoch"] = range(1, len(history) + 1)  # earlier versions counted from 0
    return Result(training, history=history, evaluations=evaluations, fitted=fitted, **figures)


def _keep(path: Path, key: str, figures: Mapping[str, Any], predictions: Mapping[str, Any]) -> None:
    """Write what a resumed study needs of a finished experiment: figures, and probabilities of each Test."""
    buffer = io.BytesIO()
    np.savez(buffer, figures=np.array(to_json({"fingerprint": key, **figures})), **predictions)
    write_bytes(path, buffer.getvalue())


def _read_kept(path: Path, key: str) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]] | None:
    """What `_keep` wrote for this fingerprint; None where it is not there or of something else."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as kept:
        figures = json.loads(str(kept["figures"]))
        if figures.pop("fingerprint") != key:
            return None
        return figures, {name: kept[name] for name in kept.files if name != "figures"}


def _relatives(
    held: NDArray[np.bool_], held_groups: Sequence[str], groups: Sequence[str], contradicted: frozenset[str]
) -> dict[str, Any]:
    """What validation shares with training, and the accuracy on each kind of photograph."""
    known = set(groups)
    kinds = np.array(
        [
            "unrelated" if group not in known else "contradicted" if group in contradicted else "related"
            for group in held_groups
        ]
    )
    found: dict[str, Any] = {}
    for kind in ("related", "contradicted", "unrelated"):
        here = held[kinds == kind]
        found |= {kind: len(here), f"accuracy_{kind}": float(here.mean()) if len(here) else None}
    return found


def _with_copies(
    protocol: Protocol,
    train: tuple[Examples, tuple[str, ...]],
    validation: tuple[Examples, tuple[str, ...]],
    per_class: int,
    seed: int,
) -> tuple[Examples, tuple[str, ...], Examples, tuple[str, ...]]:
    """Honest: copies of training photographs only. As assigned: copies of all, split at random after."""
    own, own_groups = train
    held, held_groups = validation
    if protocol == "as-assigned":
        own = Examples(own.pixels, np.concatenate([own.rows, held.rows]), (*own.labels, *held.labels))
        own_groups = (*own_groups, *held_groups)
    filled, origins = with_copies(own, per_class=per_class, seed=seed)
    groups = (*own_groups, *(own_groups[i] for i in origins))
    if protocol == "honest":
        return filled, groups, held, held_groups
    order = np.random.default_rng(seed).permutation(len(filled))
    at = round(0.2 * len(order))

    def chosen(which: NDArray[np.int64]) -> tuple[Examples, tuple[str, ...]]:
        labels = tuple(filled.labels[i] for i in which)
        examples = Examples(filled.pixels, filled.rows[which], labels, filled.copies)
        return examples, tuple(groups[i] for i in which)

    return *chosen(order[at:]), *chosen(order[:at])


def _hits(logits: NDArray[np.float32], labels: Sequence[str]) -> NDArray[np.bool_]:
    """Where the most probable class is a candidate of the label, (N,)."""
    return candidate_hits(labels, [CODES[code] for code in logits.argmax(axis=1)])
