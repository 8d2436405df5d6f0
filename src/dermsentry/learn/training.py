"""`train`: one network from a collection and an honest split, to a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.collection import Collection
from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError, TrainingError
from dermsentry.files import versions, write_json
from dermsentry.images import Aspect
from dermsentry.judge.evaluation import evaluate_predictions
from dermsentry.learn.balancing import PER_CLASS, balanced_copies
from dermsentry.learn.batches import Examples
from dermsentry.learn.export import export_bundle
from dermsentry.learn.fitting import Configuration, Fitted, best_precision, fit, predict_logits
from dermsentry.learn.linear import embed, fit_head, head_logits
from dermsentry.learn.pixels import DecodedPhotographs, decode
from dermsentry.learn.split import Split, check_split
from dermsentry.model import Bundle
from dermsentry.phantoms import is_synthetic

Recipe = Literal["linear", "cnn", "lite0"]
RECIPES: tuple[Recipe, ...] = get_args(Recipe)
Balance = Literal["none", "augmentor", "class-weights"]
BALANCES: tuple[Balance, ...] = get_args(Balance)


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training: its folder, its bundle's folder, and a row per epoch of its history."""

    folder: Path
    bundle: Path
    history: pd.DataFrame
    best_epoch: int
    seconds: float


def train(
    collection: Collection,
    split: Split,
    out: str | Path,
    *,
    network: Recipe = "linear",
    epochs: int = 20,
    augmented: bool = False,
    balance: Balance = "none",
    size: int = 180,
    aspect: Aspect = "squash",
    learning_rate: float = 1e-3,
    seed: int = 0,
    tensorboard: bool = False,
    quiet: bool = True,
) -> Run:
    """Train a network and write its bundle; run again after an interruption, it goes on where it stopped.

    Parameters
    ----------
    network
        `linear`: a frozen EfficientNet-Lite0 with a linear head, minutes; `cnn`: the assignment's three
        convolutions; `lite0`: EfficientNet-Lite0 from ImageNet weights, all of it trained.
    epochs, augmented, balance, learning_rate
        Of `cnn` and `lite0`; `linear` weighs classes to count the same and has no epochs.
    size, aspect
        The network's side in pixels and how a photograph is brought to it; the bundle keeps both.

    Raises
    ------
    InputError
        The split's parts share a group, or an option is none of the above.
    TrainingError
        A part is empty, one class only, or the loss is not a number.
    OutputError
        `out` cannot be written.
    """
    if network not in RECIPES or balance not in BALANCES:
        raise InputError(
            f"Received network {network!r} and balance {balance!r}; expected one of {', '.join(RECIPES)} and of {', '.join(BALANCES)}."
        )
    if epochs < 1 or size < 32:
        raise InputError(f"Received epochs={epochs}, size={size}; expected at least 1 epoch and 32 pixels.")
    check_split(split)
    folder = Path(out)
    decoded = decode(collection, folder / "cache", size=size, aspect=aspect, quiet=quiet)
    parts = parts_of(split, collection, decoded)
    refuse_unusable(parts["train"], parts["validation"])
    configuration = Configuration(
        network="lite0" if network == "linear" else network, epochs=epochs, learning_rate=learning_rate, size=size, aspect=aspect,
        augmented=augmented, class_weights=balance == "class-weights", precision=best_precision(), seed=seed,
    )  # fmt: skip
    recorded = {**asdict(configuration), "recipe": network, "balance": balance}
    training = training_record(collection, split, recorded)
    write_json(folder / "run.json", training)
    if network == "linear":
        configuration = replace(configuration, precision="float32")
        embeddings = embed(configuration, decoded, folder / "cache", quiet=quiet)
        fitted = fit_head(configuration, embeddings, parts["train"], parts["validation"])
    else:
        examples = with_copies(parts["train"], seed=seed) if balance == "augmentor" else parts["train"]
        fitted = fit(
            configuration,
            examples,
            parts["validation"],
            folder,
            name=network,
            tensorboard=tensorboard,
            quiet=quiet,
        )
        embeddings = None
    bundle = bundle_of(
        fitted, parts, folder / "bundle", f"{network} on {collection.root.name}", aspect, training, embeddings
    )
    fitted.history.to_csv(folder / "history.csv", index=False)
    return Run(folder, bundle.folder, fitted.history, fitted.best_epoch, fitted.seconds)


def parts_of(split: Split, collection: Collection, decoded: DecodedPhotographs) -> dict[str, Examples]:
    """Each part's readable photographs of a known diagnosis, by the split's own labels."""
    row_of = {path: row for row, path in enumerate(collection.table["path"])}
    parts = {}
    for part in ("train", "validation", "calibration", "test"):
        table = split.table[split.table["part"] == part]
        kept = [
            (row_of[p], label)
            for p, label in zip(table["path"], table["diagnosis"], strict=True)
            if label and row_of[p] not in decoded.unreadable
        ]
        parts[part] = Examples(
            decoded.pixels,
            np.array([row for row, _ in kept], dtype=np.int64),
            tuple(label for _, label in kept),
        )
    return parts


def refuse_unusable(train: Examples, validation: Examples) -> None:
    """Raise TrainingError, saying what is missing, where there is nothing to learn or to choose by."""
    if len(set(train.labels)) < 2:
        raise TrainingError(
            f"The training part holds {len(train)} photographs of {len(set(train.labels))} class; expected at least two classes."
        )
    if not len(validation):
        raise TrainingError(
            f"The validation part is empty beside {len(train)} training photographs; expected some groups to choose by. Add photographs, or edit the split."
        )


def with_copies(train: Examples, *, per_class: int = PER_CLASS, seed: int = 0) -> Examples:
    """The training photographs and, after them, Augmentor's copies up to `per_class` of each label."""
    own = train.gather(np.arange(len(train)))
    copies, origins = balanced_copies(own, train.labels, per_class=per_class, seed=seed)
    rows = np.concatenate([train.rows, len(train.pixels) + np.arange(len(copies))])
    return Examples(train.pixels, rows, (*train.labels, *(train.labels[i] for i in origins)), copies)


def training_record(collection: Collection, split: Split, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """What made a result: data fingerprint, counts, configuration, versions, licences as far as they are known."""
    return {
        "fingerprint": collection.fingerprint(),
        "split_fingerprint": split.fingerprint(),
        "photographs": split.counts(),
        "licences": ["the licences of the photographs in the collection", "ImageNet weights: Apache-2.0"],
        "synthetic": is_synthetic(collection.root),
        "configuration": dict(configuration),
        "versions": versions(),
    }


def bundle_of(
    fitted: Fitted,
    parts: Mapping[str, Examples],
    folder: Path,
    name: str,
    aspect: Aspect,
    training: Mapping[str, Any],
    embeddings: NDArray[np.float32] | None,
) -> Bundle:
    """Export a fitted network; its card holds the figures on the validation and calibration photographs."""
    validation, calibration = parts["validation"], parts["calibration"]
    held_out = Examples(
        validation.pixels,
        np.concatenate([validation.rows, calibration.rows]),
        (*validation.labels, *calibration.labels),
    )
    if embeddings is None:
        logits = predict_logits(fitted.network, held_out)
    else:
        logits = head_logits(fitted.network, embeddings[held_out.rows])
    own = logits[: len(validation)].astype(np.float64)
    shares = np.exp(own - own.max(axis=1, keepdims=True))
    judged = evaluate_predictions(
        validation.labels,
        shares / shares.sum(axis=1, keepdims=True),
        [str(row) for row in validation.rows],
        resamples=200,
    )
    return export_bundle(
        fitted.network, folder, name=name, pixels=held_out.gather(np.arange(len(held_out))), labels=held_out.labels, logits=logits,
        calibration=np.arange(len(held_out)) >= len(validation), aspect=aspect, training=training,
        evaluation={"validation": {name: None if figure is None else asdict(figure) for name, figure in judged.overall.items()}, "classes": list(CODES)},
    )  # fmt: skip
