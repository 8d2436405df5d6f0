"""`train`: one network, from a collection and an honest split to a bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.collection import Collection
from dermsentry.errors import InputError, TrainingError, require_type
from dermsentry.evaluation.contamination import learned_from
from dermsentry.files import versions, write_json, write_text
from dermsentry.images import ASPECTS, Aspect
from dermsentry.model import read_network
from dermsentry.phantoms import is_synthetic
from dermsentry.split import APART, Split, check_split
from dermsentry.split.folds import LEARNED_FROM
from dermsentry.stats.numbers import counted
from dermsentry.training.balancing import PER_CLASS, balanced_copies
from dermsentry.training.batches import Examples
from dermsentry.training.configuration import Configuration, best_precision
from dermsentry.training.export import make_bundle
from dermsentry.training.fitted import Fitted
from dermsentry.training.linear_probe import embed, fit_head
from dermsentry.training.loop import fit, prepare
from dermsentry.training.options import BALANCES, RECIPES, WEIGHTS, Balance, Precision, Recipe, Run, Weights
from dermsentry.training.pixels import DecodedPhotographs, decode
from dermsentry.training.pretrained import backbone
from dermsentry.training.refusal import drawn


def train(
    collection: Collection,
    split: Split,
    out: str | Path,
    *,
    network: Recipe,
    epochs: int,
    augmented: bool,
    balance: Balance,
    size: int,
    aspect: Aspect,
    learning_rate: float,
    weights: Weights,
    precision: Precision | None,
    quantised: bool,
    seed: int,
    tensorboard: bool,
    cache: str | Path | None,
    quiet: bool,
) -> Run:
    """See `dermsentry.train`."""
    require_type("collection", collection, Collection, "read_collection")
    given = (
        ("network", network, RECIPES),
        ("balance", balance, BALANCES),
        ("aspect", aspect, ASPECTS),
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
    first = backbone(weights)
    if weights == "dermoscopy" and network not in ("linear", "cnn", first):
        raise InputError(f"The bundled model's weights are of {first}; received network {network!r}.")
    check_split(split)
    folder = Path(out)
    kept = folder / "cache" if cache is None else Path(cache)
    decoded = decode(collection, kept, size=size, aspect=aspect, quiet=quiet)
    parts = parts_of(split, collection, decoded)
    refuse_unusable(parts["train"], parts["validation"])
    configuration = Configuration(
        network=first if network == "linear" else network,
        epochs=epochs,
        learning_rate=learning_rate,
        size=size,
        aspect=aspect,
        augmented=augmented,
        class_weights=balance == "class-weights",
        weights=weights,
        precision="float32" if network == "linear" else precision or best_precision(),
        seed=seed,
    )
    recorded = {**configuration.record(), "recipe": network, "balance": balance}
    training = training_record(collection, split, recorded, None if network == "cnn" else weights)
    write_json(folder / "run.json", training)
    embeddings = None
    if network == "linear":
        prepare(folder, {"configuration": recorded})
        embeddings = embed(configuration, decoded, kept, quiet=quiet)
    learned = parts["train"]
    if balance == "augmentor" and network != "linear":
        learned = with_copies(learned, seed=seed)[0]
    fitted = fit_network(
        configuration,
        learned,
        parts["validation"],
        folder,
        embeddings=embeddings,
        name=network,
        tensorboard=tensorboard,
        quiet=quiet,
    )
    groups = dict(zip(split.table["path"], split.table["group"], strict=True))
    paths, sources = list(collection.table["path"]), list(collection.table["source"])
    rows = np.concatenate([parts[part].rows for part in LEARNED_FROM])
    bundle = make_bundle(
        fitted,
        parts["validation"],
        parts["calibration"],
        {"validation": [groups[paths[row]] for row in parts["validation"].rows]},
        drawn(parts["train"], seed, sources),
        folder / "bundle",
        name=f"{network} on {collection.root.resolve().name}",
        aspect=aspect,
        training=training,
        sources=[sources[row] for part in ("validation", "calibration") for row in parts[part].rows],
        learned_from=learned_from(collection.table.iloc[rows], (decoded.pixels[row] for row in rows)),
        quantised=quantised,
        seed=seed,
    )
    return Run(folder, bundle.folder, fitted.history, fitted.best_epoch, fitted.seconds)


def fit_network(
    configuration: Configuration,
    train: Examples,
    validation: Examples,
    folder: Path,
    *,
    embeddings: NDArray[np.float32] | None = None,
    name: str = "training",
    tensorboard: bool = False,
    quiet: bool = True,
) -> Fitted:
    """Fit a linear head where there are `embeddings` of all photographs, else the whole network; see `fit`.

    `folder` gets `history.csv` and, of the whole network, what a resumed training needs.
    """
    if embeddings is None:
        return fit(configuration, train, validation, folder, name=name, tensorboard=tensorboard, quiet=quiet)
    fitted = fit_head(configuration, embeddings, train, validation)
    write_text(folder / "history.csv", fitted.history.to_csv(index=False, lineterminator="\n"))
    return fitted


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
        "licences": licences,
        "synthetic": is_synthetic(collection.root),
        "configuration": dict(configuration),
        "versions": versions(),
    }
