"""`train --recipe dermoscopy`: the bundled model, from the folders of photographs to its bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry import files
from dermsentry.collection import Collection
from dermsentry.diagnoses import CODES, MELANOMA
from dermsentry.evaluation.calibration_methods import METHODS, compare_calibrations
from dermsentry.evaluation.predictions import evaluate_predictions
from dermsentry.model import Bundle
from dermsentry.split import Split, check_split, read_split, write_split
from dermsentry.stats.calibration import (
    apply_temperature,
    fit_bias_corrected_temperature,
    fit_temperature,
)
from dermsentry.stats.metrics import rank
from dermsentry.training import Run
from dermsentry.training.batches import Examples
from dermsentry.training.export import export_bundle, rounded
from dermsentry.training.finetuning import Phase, Plan, Validate, finetune
from dermsentry.training.fitting import Configuration, best_precision, build, predict_logits
from dermsentry.training.out_of_distribution import KNOWN
from dermsentry.training.pipeline import examples_of, training_record
from dermsentry.training.pixels import decode
from dermsentry.training.scoring import is_right, mean_recall
from recipes.dermoscopy.data import (
    LICENCES,
    WEIGHTS_LICENCE,
    read_dermoscopy,
    split_dermoscopy,
    views,
    without_tests,
)

STORED = 224
"""The side in pixels that training photographs are kept at; they go into the network at a phase's size."""
EVENNESS = 0.5
"""How far the case mix that probabilities are stated for lies from the photographs' own, 0, to
all classes being as frequent, 1: a geometric mean (docs/why.md)."""
PLAN = Plan(phases=(Phase(2, 128, adapting=True), Phase(10, 128), Phase(10, 192), Phase(4, 224)))


def train_dermoscopy(data: str | Path, out: str | Path, *, plan: Plan = PLAN, quiet: bool = True) -> Run:
    """Make the bundled model anew; run again after an interruption, it goes on where it stopped.

    Parameters
    ----------
    data
        The folder with the sets that `dermoscopy.SETS` names, and `labels/`.
    out
        The run's folder: `split.csv`, `history.csv`, the state to go on from, and `bundle/`.

    Raises
    ------
    InputError
        A set is missing.
    TrainingError
        The loss is not a number.
    OutputError
        `out` cannot be written.
    """
    folder = Path(out)
    whole = read_dermoscopy(data)
    learned = without_tests(whole)
    split = _kept_split(folder / "split.csv", whole, learned, data, plan.seed, quiet)
    stored = decode(learned, folder / "cache", size=STORED, quiet=quiet)
    network, history = finetune(
        lambda size: _build(size, plan.seed),
        plan,
        views(split, "train", learned, stored),
        _validation(split, learned, folder / "cache"),
        folder,
        name="dermoscopy",
        quiet=quiet,
    )
    bundle = make_bundle(network, split, learned, folder, plan, quiet=quiet)
    return Run(folder, bundle.folder, history, len(history), float(history["seconds"].sum()))


def make_bundle(
    network: keras.Model,
    split: Split,
    collection: Collection,
    folder: Path,
    plan: Plan,
    *,
    quiet: bool = True,
) -> Bundle:
    """Calibrate a trained network, choose its thresholds and write its bundle.

    Its card has the figures of the validation part, and how each way of calibrating does on the calibration
    part.
    """
    plain = rounded(network)
    size = int(network.input.shape[1])
    group = dict(zip(split.table["path"], split.table["group"], strict=True))
    examples, groups = {}, {}
    for part in ("validation", "calibration"):
        own = _part(split, part, collection)
        examples[part] = _examples(split, part, own, folder / "cache", size, quiet)
        groups[part] = [group[path] for path in own.table["path"].iloc[examples[part].rows]]
    calibration = examples["calibration"]
    logits = predict_logits(plain, calibration)
    compared = compare_calibrations(logits, calibration.labels, groups["calibration"], seed=plan.seed)
    chosen = next(method.method for method in compared if method.chosen)
    temperature = calibrate_head(plain, logits, calibration.labels, chosen)
    mix = even_out(plain, predict_logits(plain, calibration), temperature)
    joined = _joined(examples["validation"], calibration)
    probability = apply_temperature(predict_logits(plain, joined), temperature)
    validation = len(examples["validation"])
    judged = evaluate_predictions(
        examples["validation"].labels, probability[:validation], groups["validation"], seed=plan.seed
    )
    return export_bundle(
        plain,
        folder / "bundle",
        name="dermoscopy",
        known=_some_of_training(split, collection, folder / "cache", size, plan.seed),
        pixels=joined.gather(np.arange(len(joined))),
        labels=joined.labels,
        probability=probability,
        temperature=temperature,
        aspect="squash",
        training=_record(collection, split, plan, mix),
        evaluation={
            "validation": {
                **files.plain(judged.overall),
                "melanoma_roc_auc": files.plain(judged.melanoma.roc_auc),
            },
            "calibration": files.plain(compared),
        },
        seed=plan.seed,
    )


def calibrate_head(
    network: keras.Model, logits: NDArray[np.float32], labels: tuple[str, ...], method: str
) -> float:
    """Fit a method of `METHODS`; its biases go into the network's last layer. Returns its temperature."""
    if method == METHODS[0]:
        return 1.0
    if method == METHODS[1]:
        return fit_temperature(logits, labels)
    temperature, biases = fit_bias_corrected_temperature(logits, labels)
    head = network.get_layer("logits")
    kernel, bias = head.get_weights()
    head.set_weights([kernel, bias + (biases * temperature).astype(np.float32)])
    return temperature


def even_out(network: keras.Model, logits: NDArray[np.float32], temperature: float) -> dict[str, float]:
    """State the probabilities for a more even case mix, in the last layer; the share of each class in it.

    Another share of the classes multiplies each one's odds (Saerens et al., Neural Computation 2002).
    """
    own = apply_temperature(logits, temperature).mean(axis=0)
    wanted = own ** (1 - EVENNESS)
    wanted = wanted / wanted.sum()
    head = network.get_layer("logits")
    kernel, bias = head.get_weights()
    head.set_weights([kernel, bias + (temperature * np.log(wanted / own)).astype(np.float32)])
    return {code: round(float(share), 4) for code, share in zip(CODES, wanted, strict=True)}


def _build(size: int, seed: int) -> keras.Model:
    return build(Configuration(network="lite0", size=size, seed=seed), best_precision())


def _kept_split(
    path: Path, whole: Collection, learned: Collection, data: str | Path, seed: int, quiet: bool
) -> Split:
    """The split of an interrupted run, or a new one."""
    if path.is_file():
        split = read_split(path, learned)
    else:
        split = split_dermoscopy(whole, data, seed=seed, quiet=quiet)
        write_split(split, path)
    check_split(split)
    return split


def _part(split: Split, part: str, collection: Collection) -> Collection:
    wanted = set(split.table.loc[split.table["part"] == part, "path"])
    table = collection.table[collection.table["path"].isin(wanted)].reset_index(drop=True)
    return replace(collection, table=table)


def _examples(split: Split, part: str, own: Collection, cache: Path, size: int, quiet: bool) -> Examples:
    """A part's photographs at one size; `own` is that part of the collection."""
    decoded = decode(own, cache, size=size, quiet=quiet)
    return examples_of(split.table[split.table["part"] == part], own, decoded)


def _some_of_training(
    split: Split, collection: Collection, cache: Path, size: int, seed: int
) -> NDArray[np.uint8]:
    """Up to `KNOWN` training files, drawn by `seed` and decoded at the network's size: (N, size, size, 3)."""
    own = _part(split, "train", collection)
    rows = np.random.default_rng(seed).permutation(len(own))[:KNOWN]
    chosen = replace(own, table=own.table.iloc[np.sort(rows)].reset_index(drop=True))
    decoded = decode(chosen, cache, size=size)
    readable = [i for i in range(len(chosen)) if i not in decoded.unreadable]
    return np.asarray(decoded.pixels[readable])


def _validation(split: Split, collection: Collection, cache: Path) -> Validate:
    """Melanoma's AUROC, over all and within a set, and the mean recall, on every validation file."""
    held = _part(split, "validation", collection)

    def validate(network: keras.Model, size: int) -> Mapping[str, float]:
        examples = _examples(split, "validation", held, cache, size, True)
        logits = predict_logits(network, examples)
        probability = apply_temperature(logits, 1.0)
        score = probability[:, CODES.index(MELANOMA)]
        melanoma = np.array([label == MELANOMA for label in examples.labels])
        source = np.array([held.table["path"].iloc[row].split("/")[0] for row in examples.rows])
        figures = {"melanoma_roc_auc": _area(melanoma, score)}
        for name in np.unique(source):
            here = source == name
            figures[f"melanoma_roc_auc_{name}"] = _area(melanoma[here], score[here])
        right = is_right((CODES[i] for i in probability.argmax(axis=1)), examples.labels)
        figures["balanced_accuracy"] = mean_recall(right, examples.labels)
        return figures

    return validate


def _area(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    return float(rank(truth, score).roc_auc()) if truth.any() and not truth.all() else float("nan")


def _joined(first: Examples, second: Examples) -> Examples:
    """Both as one, their pixels in one array."""
    pixels = [part.gather(np.arange(len(part))) for part in (first, second)]
    count = len(first) + len(second)
    return Examples(np.concatenate(pixels), np.arange(count), (*first.labels, *second.labels))


def _record(collection: Collection, split: Split, plan: Plan, mix: Mapping[str, float]) -> dict[str, Any]:
    counts = pd.crosstab(split.table["diagnosis"], split.table["part"])
    configuration = {
        "recipe": "dermoscopy",
        "network": "lite0",
        "stored": STORED,
        **asdict(plan),
        "case_mix": dict(mix),
    }
    return {
        **training_record(collection, split, configuration, "imagenet"),
        "photographs_by_diagnosis": {
            part: {label: int(n) for label, n in counts[part].items() if label and n} for part in counts
        },
        "licences": list(LICENCES),
        "weights_licence": WEIGHTS_LICENCE,
    }
