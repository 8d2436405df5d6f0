"""`train`: one network, from a collection and an honest split to a bundle."""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.collection import Collection
from dermsentry.collection.lesions import known_lesions
from dermsentry.errors import DataWarning, InputError, TrainingError, require_type
from dermsentry.evaluation.contamination import find_learned, learned_from, perceptual_hashes
from dermsentry.files import plain, versions, write_json, write_text
from dermsentry.images import ASPECTS, Aspect
from dermsentry.model import CARD_FILE, read_network
from dermsentry.model.bundle import bundled, read_hashes
from dermsentry.model.learned_from import LearnedFrom
from dermsentry.outputs import RUNS, Output, numbered
from dermsentry.phantoms import is_synthetic
from dermsentry.reporting.prose import render_block
from dermsentry.split import APART, Split, check_split
from dermsentry.split.folds import LEARNED_FROM
from dermsentry.split.make import relabelled
from dermsentry.split.table import count_related
from dermsentry.stats.numbers import counted
from dermsentry.tracking import require_mlflow, tracked_run
from dermsentry.training.balancing import PER_CLASS, balanced_copies
from dermsentry.training.batches import Examples
from dermsentry.training.configuration import Configuration, best_precision
from dermsentry.training.export import make_bundle
from dermsentry.training.fitted import Fitted
from dermsentry.training.linear_probe import embed, fit_head
from dermsentry.training.loop import AfterEpoch, fit, prepare
from dermsentry.training.options import (
    BALANCES,
    RECIPES,
    SCHEDULES,
    WEIGHTS,
    Balance,
    Precision,
    Recipe,
    Run,
    Schedule,
    Weights,
)
from dermsentry.training.pixels import DecodedPhotographs, decode
from dermsentry.training.pretrained import backbone
from dermsentry.training.refusal import drawn
from dermsentry.training.tensorboard import log_epoch, require_tensorboard


def train(
    collection: Collection,
    split: Split,
    out: str | Path | None,
    *,
    network: Recipe,
    epochs: int,
    augmented: bool,
    balance: Balance,
    size: int,
    aspect: Aspect,
    batch_size: int,
    learning_rate: float,
    schedule: Schedule,
    patience: int | None,
    weights: Weights,
    keep_learned: bool,
    precision: Precision | None,
    quantised: bool,
    labels: Mapping[str, str] | None,
    seed: int,
    tensorboard: bool,
    mlflow: bool,
    cache: str | Path | None,
    force: bool,
    quiet: bool,
) -> Run:
    """See `dermsentry.train`."""
    require_type("collection", collection, Collection, "read_collection")
    given = (
        ("network", network, RECIPES),
        ("balance", balance, BALANCES),
        ("aspect", aspect, ASPECTS),
        ("schedule", schedule, SCHEDULES),
        ("weights", weights, WEIGHTS),
    )
    for option, value, allowed in given:
        if value not in allowed:
            raise InputError(f"Received {option} {value!r}; expected one of {', '.join(allowed)}.")
    if epochs < 1 or size < 32 or seed < 0 or not 0 < learning_rate < math.inf:
        raise InputError(
            f"Received epochs={epochs}, size={size}, seed={seed}, learning_rate={learning_rate:g}; expected "
            "at least 1 epoch, 32 pixels, a random seed of at least 0 and a learning rate above 0."
        )
    if batch_size < 1 or (patience is not None and patience < 1):
        raise InputError(
            f"Received batch_size={batch_size}, patience={patience}; expected at least 1 image in a batch "
            "and a patience of at least 1 epoch, or none."
        )
    first = backbone(weights)
    if weights == "dermoscopy" and network not in ("linear", "cnn", first):
        raise InputError(f"The bundled model's weights are of {first}; received network {network!r}.")
    if tensorboard:
        require_tensorboard()
    if mlflow:
        require_mlflow()
    check_split(split)
    given_split, split = split, relabelled(split, labels or {})
    if related := count_related(split, collection):
        warnings.warn(render_block("known_lesions.txt", "related", count=related), DataWarning, stacklevel=3)
    configuration = Configuration(
        network=first if network == "linear" else network,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule=schedule,
        patience=patience,
        size=size,
        aspect=aspect,
        augmented=augmented,
        class_weights=balance == "class-weights",
        weights=weights,
        precision="float32" if network == "linear" else precision or best_precision(),
        seed=seed,
    )
    if network == "linear" and (unused := _of_epochs(configuration)):
        warnings.warn(
            f"A linear head is fitted without epochs: it takes no notice of {', '.join(unused)}.",
            DataWarning,
            stacklevel=3,
        )
    recorded = {**asdict(configuration), "recipe": network, "balance": balance, "quantised": quantised}
    if weights == "dermoscopy":
        recorded["keep_learned"] = keep_learned
    inputs = {"collection": collection.fingerprint(), "split": split.fingerprint()}
    output = Output(Path(out or RUNS), "train", ("run.json",), inputs | recorded)
    if out is None:
        output = replace(output, folder=numbered(RUNS, output))
    output.check(force=force)
    folder = output.folder
    kept = (folder if out is not None else RUNS) / "cache" if cache is None else Path(cache)
    decoded = decode(collection, kept, size=size, aspect=aspect, quiet=quiet)
    parts = parts_of(split, collection, decoded)
    start = bundled_model() if weights == "dermoscopy" and network != "cnn" else None
    if start is not None and not keep_learned:
        parts = without_learned(start, parts, collection, decoded)
    refuse_unusable(parts["train"], parts["validation"])
    there = output.is_there()
    if not there and (folder / "bundle" / CARD_FILE).is_file():
        shutil.rmtree(folder / "bundle")  # of the run that is replaced, beside whose records it would stay
    output.begin()
    name = f"{network} on {collection.root.resolve().name}"
    training = training_record(collection, split, recorded, None if network == "cnn" else weights)
    training["relabelled"] = int((split.table["diagnosis"] != given_split.table["diagnosis"]).sum())
    training["related"] = related
    if start is not None:
        training["started_from"] = {"digest": start.digest, "known": start.learned_from is not None}
    write_json(folder / "run.json", training)
    tracking = tracked_run(folder, name, resume=there) if mlflow else nullcontext()
    with tracking as tracked:
        if tracked is not None:
            tracked.parameters(inputs | recorded)
        embeddings = None
        if network == "linear":
            prepare(folder, {"configuration": recorded})
            embeddings = embed(configuration, decoded, kept, quiet=quiet)
        own = parts["train"]
        if balance == "augmentor" and network != "linear":
            own = with_copies(own, seed=seed)[0]

        def after_epoch(row: Mapping[str, Any]) -> None:
            if tensorboard:
                log_epoch(folder / "tensorboard", row)
            if tracked is not None:
                tracked.epoch(row)

        fitted = fit_network(
            configuration,
            own,
            parts["validation"],
            folder,
            embeddings=embeddings,
            name=network,
            after_epoch=after_epoch,
            quiet=quiet,
        )
        training["devices"] = fitted.devices
        write_json(folder / "run.json", training)
        groups = dict(zip(split.table["path"], split.table["group"], strict=True))
        paths, sources = list(collection.table["path"]), list(collection.table["source"])
        rows = np.concatenate([parts[part].rows for part in LEARNED_FROM])
        learned = learned_from(collection.table.iloc[rows], (decoded.pixels[row] for row in rows))
        bundle = make_bundle(
            fitted,
            parts["validation"],
            parts["calibration"],
            {"validation": [groups[paths[row]] for row in parts["validation"].rows]},
            drawn(parts["train"], seed, sources),
            folder / "bundle",
            name=name,
            aspect=aspect,
            training=training,
            sources=[sources[row] for part in ("validation", "calibration") for row in parts[part].rows],
            learned_from=learned.joined(start.learned_from) if start and start.learned_from else learned,
            quantised=quantised,
            seed=seed,
        )
        if tracked is not None:
            for row in rows_of(fitted.history):  # those of before the run was resumed too
                tracked.epoch(row)
            tracked.figures({**bundle.card.evaluation, "thresholds": bundle.card.thresholds})
            tracked.figures({"kept_epoch": fitted.best_epoch, "training_seconds": fitted.seconds})
            tracked.artifacts(bundle.folder, "bundle")
    output.finish()
    return Run(folder, bundle.folder, fitted.history, fitted.best_epoch, fitted.seconds, fitted.devices)


def _of_epochs(configuration: Configuration) -> list[str]:
    """The options that differ from their defaults and mean nothing without epochs."""
    default = Configuration()
    names = ("epochs", "batch_size", "learning_rate", "schedule", "patience", "augmented")
    return [name for name in names if getattr(configuration, name) != getattr(default, name)]


def fit_network(
    configuration: Configuration,
    train: Examples,
    validation: Examples,
    folder: Path,
    *,
    embeddings: NDArray[np.float32] | None = None,
    name: str = "training",
    after_epoch: AfterEpoch | None = None,
    quiet: bool = True,
) -> Fitted:
    """Fit a linear head where there are `embeddings` of all photographs, else the whole network; see `fit`.

    `folder` gets `history.csv` and, of the whole network, what a resumed training needs.
    """
    if embeddings is None:
        return fit(configuration, train, validation, folder, name=name, after_epoch=after_epoch, quiet=quiet)
    fitted = fit_head(configuration, embeddings, train, validation)
    write_text(folder / "history.csv", fitted.history.to_csv(index=False, lineterminator="\n"))
    if after_epoch is not None:
        for row in rows_of(fitted.history):
            after_epoch(row)
    return fitted


def rows_of(history: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Each row of a history by its columns' names."""
    columns = [str(name) for name in history.columns]
    return (dict(zip(columns, row, strict=True)) for row in history.itertuples(index=False))


def parts_of(split: Split, collection: Collection, decoded: DecodedPhotographs) -> dict[str, Examples]:
    """Each part's readable images of a known diagnosis, by the split's own labels.

    Raises InputError if the split has photographs that the collection has not.
    """
    known = set(collection.table["path"])
    outside = [path for path in split.table["path"] if path not in known]
    if outside:
        raise InputError(
            f"The split has {counted(len(outside), 'photograph')} not in {collection.root}, "
            f"such as {outside[0]}; split the collection again."
        )
    table = split.table
    return {part: examples_of(table[table["part"] == part], collection, decoded) for part in APART}


@dataclass(frozen=True, eq=False)
class Start:
    """The bundle that a training begins with, and what it learned from; None where it has no hashes."""

    digest: str
    learned_from: LearnedFrom | None


def bundled_model() -> Start:
    """The bundled model as a start."""
    card = read_network()[0]
    return Start(card.digest, read_hashes(bundled(), card))


def without_learned(
    start: Start, parts: dict[str, Examples], collection: Collection, decoded: DecodedPhotographs
) -> dict[str, Examples]:
    """The parts, without what the initial weights learned from where it would choose or calibrate; told."""
    if start.learned_from is None:
        warnings.warn(
            "The initial weights do not say which images they learned from: those of validation, calibration "
            "and test may be among them, and figures of this run optimistic.",
            DataWarning,
            stacklevel=4,
        )
        return parts
    kept, told = dict(parts), []
    for name in ("validation", "calibration"):
        rows = parts[name].rows
        looks = perceptual_hashes(decoded.pixels[row] for row in rows)
        by_id, by_look = find_learned(start.learned_from, collection.table.iloc[rows], looks)
        fresh = ~(by_id | by_look)
        if fresh.all():
            continue
        told.append(f"{int((~fresh).sum()):,} of {len(rows):,} of {name}")
        labels = tuple(label for label, own in zip(parts[name].labels, fresh, strict=True) if own)
        kept[name] = Examples(parts[name].pixels, rows[fresh], labels)
    if told:
        left_out = f"Left out, as the initial weights learned from them: {' and '.join(told)}."
        if not len(kept["validation"]):
            raise TrainingError(
                f"{left_out} No validation image is left; add images, train from imagenet, or keep them "
                "by keep_learned (--keep-learned), for figures that are optimistic."
            )
        warnings.warn(left_out, DataWarning, stacklevel=4)
    return kept


def examples_of(table: pd.DataFrame, collection: Collection, decoded: DecodedPhotographs) -> Examples:
    """The readable photographs of a known diagnosis in these rows of a split."""
    row_of = {path: row for row, path in enumerate(collection.table["path"])}
    kept = [
        (row_of[path], label)
        for path, label in zip(table["path"], table["diagnosis"], strict=True)
        if label and row_of[path] not in decoded.unreadable
    ]
    rows = np.array([row for row, _ in kept], dtype=np.int64)
    return Examples(decoded.pixels, rows, tuple(label for _, label in kept))


def refuse_unusable(train: Examples, validation: Examples) -> None:
    """Raise TrainingError, saying what is missing, where there is nothing to learn or to choose by."""
    if len(set(train.labels)) < 2:
        raise TrainingError(
            f"The training part holds {len(train)} photographs of {len(set(train.labels))} class; "
            "expected at least two classes."
        )
    if not len(validation):
        raise TrainingError(
            f"The validation part is empty beside {len(train)} training photographs; expected some groups to "
            "choose by. Add photographs, or edit the split."
        )


def with_copies(
    train: Examples, *, per_class: int = PER_CLASS, seed: int = 0
) -> tuple[Examples, NDArray[np.int64]]:
    """The images and, after them, Augmentor's copies up to `per_class` of each label.

    The second value (M,) says which of the N images each copy was drawn from.
    """
    own = train.gather(slice(None))
    copies, origins = balanced_copies(own, train.labels, per_class=per_class, seed=seed)
    rows = np.concatenate([train.rows, len(train.pixels) + np.arange(len(copies))])
    labels = (*train.labels, *(train.labels[i] for i in origins))
    return Examples(train.pixels, rows, labels, copies), origins


def training_record(
    collection: Collection, split: Split, configuration: Mapping[str, Any], weights: Weights | None
) -> dict[str, Any]:
    """What made a result: fingerprints, counts, configuration, versions, licences as far as they are known.

    `weights` is what the network began with, None for random numbers.
    """
    known = set(collection.table["copyright_license"])
    unsaid = ["the licences of the photographs in the collection"] if "" in known else []
    licences = [*unsaid, *(f"photographs: {licence}" for licence in sorted(known - {""}))]
    if weights == "imagenet":
        licences.append("ImageNet weights: Apache-2.0")
    elif weights == "dermoscopy":
        licences += read_network()[0].training["licences"]
    return {
        "fingerprint": collection.fingerprint(),
        "split_fingerprint": split.fingerprint(),
        "photographs": split.counts(),
        "lesions": plain(known_lesions(collection.table)),
        "licences": licences,
        "synthetic": is_synthetic(collection.root),
        "configuration": dict(configuration),
        "versions": versions(),
    }
