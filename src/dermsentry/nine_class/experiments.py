"""The assignment's experiments, each under two protocols, and what each one gave."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.collection import Collection
from dermsentry.diagnoses import CODES
from dermsentry.evaluation.predictions import evaluate_predictions
from dermsentry.evaluation.results import Evaluation
from dermsentry.split import Split
from dermsentry.stats.calibration import apply_temperature
from dermsentry.training import Precision
from dermsentry.training.balancing import PER_CLASS
from dermsentry.training.batches import Examples
from dermsentry.training.fitting import (
    Configuration,
    Fitted,
    best_precision,
    fit,
    predict_logits,
)
from dermsentry.training.linear_probe import fit_head, head_logits
from dermsentry.training.pipeline import examples_of, followed_by_copies
from dermsentry.training.pixels import DecodedPhotographs
from dermsentry.training.scoring import is_right

Protocol = Literal["as-assigned", "honest"]
PROTOCOLS: tuple[Protocol, ...] = ("as-assigned", "honest")


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
        "balanced classes tells them apart.",
        linear=True,
    ),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Result:
    """What one experiment gave under one protocol.

    `accuracy` and `val_accuracy` are of the kept epoch, on the photographs as they are, without augmentation.
    `evaluations` holds Test as given and Test without what leaks. `relatives` counts the
    validation photographs that have a copy or a connected photograph in training, one under another
    diagnosis, or none, and the accuracy on each kind.
    """

    experiment: Experiment
    protocol: Protocol
    configuration: dict[str, Any]
    before: dict[str, int]
    after: dict[str, int]
    validation_photographs: int
    history: pd.DataFrame
    best_epoch: int
    accuracy: float
    val_accuracy: float
    val_balanced_accuracy: float
    relatives: dict[str, Any]
    evaluations: dict[str, Evaluation]
    seconds: float
    images_per_second: float
    fitted: Fitted

    def as_dict(self) -> dict[str, Any]:
        """The fields of study.json's `experiments`."""
        history = {str(column): [_number(v) for v in self.history[column]] for column in self.history.columns}
        return {
            "experiment": self.experiment.name,
            "title": self.experiment.title,
            "strategy": self.experiment.strategy,
            "protocol": self.protocol,
            "configuration": self.configuration,
            "classes_before": self.before,
            "classes_after": self.after,
            "validation_photographs": self.validation_photographs,
            "history": history,
            "best_epoch": self.best_epoch,
            "accuracy": self.accuracy,
            "val_accuracy": self.val_accuracy,
            "val_balanced_accuracy": self.val_balanced_accuracy,
            "relatives": self.relatives,
            "evaluations": {name: evaluation.as_dict() for name, evaluation in self.evaluations.items()},
            "seconds": self.seconds,
            "images_per_second": self.images_per_second,
        }


@dataclass(frozen=True, eq=False)
class Material:
    """What every experiment works on: decoded photographs, both splits, and their embeddings."""

    collection: Collection
    decoded: DecodedPhotographs
    splits: Mapping[Protocol, Split]
    embeddings: NDArray[np.float32]

    @property
    def contradicted(self) -> frozenset[str]:
        """The groups whose photograph stands under two diagnoses."""
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


def run_experiment(
    experiment: Experiment,
    protocol: Protocol,
    material: Material,
    epochs: int,
    folder: Path,
    *,
    per_class: int = PER_CLASS,
    precision: Precision | None = None,
    seed: int = 0,
    quiet: bool = True,
) -> Result:
    """Train and judge one experiment under one protocol, or find it finished in `folder`."""
    started = time.perf_counter()
    train, groups = material.examples(protocol, ["train"])
    validation, held_groups = material.examples(protocol, ["validation"])
    before = dict(Counter(train.labels))
    if experiment.copies:
        train, groups, validation, held_groups = _with_copies(
            protocol, (train, groups), (validation, held_groups), per_class, seed
        )
    configuration = Configuration(
        network="lite0" if experiment.linear else "cnn", epochs=epochs,
        size=material.decoded.size, aspect=material.decoded.aspect,
        augmented=experiment.augmented, class_weights=experiment.class_weights,
        precision="float32" if experiment.linear else precision or best_precision(), seed=seed,
    )  # fmt: skip
    if experiment.linear:
        fitted = fit_head(configuration, material.embeddings, train, validation)
    else:
        fitted = fit(
            configuration, train, validation, folder, name=f"{experiment.name}, {protocol}", quiet=quiet
        )

    def probabilities(examples: Examples) -> NDArray[np.float64]:
        if experiment.linear:
            return apply_temperature(head_logits(fitted.network, material.embeddings[examples.rows]), 1.0)
        return apply_temperature(predict_logits(fitted.network, examples), 1.0)

    held = right(probabilities(validation), validation.labels)
    labels = np.asarray(validation.labels)
    evaluations = {}
    for name, as_given in (("test-as-given", True), ("test", False)):
        examples, test_groups = material.test(as_given)
        if len(examples):
            evaluations[name] = evaluate_predictions(
                examples.labels, probabilities(examples), test_groups, seed=seed
            )
    return Result(
        experiment=experiment,
        protocol=protocol,
        configuration=_recorded(experiment, configuration),
        before=before,
        after=dict(Counter(train.labels)),
        validation_photographs=len(validation),
        history=fitted.history,
        best_epoch=fitted.best_epoch,
        accuracy=float(right(probabilities(train), train.labels).mean()),
        val_accuracy=float(held.mean()),
        val_balanced_accuracy=float(np.mean([held[labels == label].mean() for label in np.unique(labels)])),
        relatives=_relatives(held, held_groups, groups, material.contradicted),
        evaluations=evaluations,
        seconds=fitted.seconds if not experiment.linear else time.perf_counter() - started,
        images_per_second=fitted.images_per_second,
        fitted=fitted,
    )  # fmt: skip


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


def _recorded(experiment: Experiment, configuration: Configuration) -> dict[str, Any]:
    if experiment.linear:
        shared = {"size": configuration.size, "aspect": configuration.aspect, "seed": configuration.seed}
        return {"network": "lite0", "frozen": True, "head": "logistic regression", **shared}
    return {**asdict(configuration), "optimizer": "adam", "loss": "categorical cross-entropy"}


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
    filled, origins = followed_by_copies(own, per_class=per_class, seed=seed)
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


def right(probability: NDArray[np.float64], labels: Sequence[str]) -> NDArray[np.bool_]:
    """Where the most probable class is a candidate of the label, (N,)."""
    return is_right((CODES[p] for p in probability.argmax(axis=1)), labels)


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
