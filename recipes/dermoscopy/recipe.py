"""The bundled model, from the folders of images to its bundle; see the package for how to run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from dermsentry.collection import Collection
from dermsentry.diagnoses import CODES, MELANOMA
from dermsentry.images import read_photograph
from dermsentry.model import Bundle
from dermsentry.split import Split, check_split, read_split, write_split
from dermsentry.stats.calibration import apply_temperature
from dermsentry.stats.metrics import candidate_hits, mean_hit_rate, roc_auc_score
from dermsentry.training.batches import Examples
from dermsentry.training.configuration import Configuration, FineTuning, Phase, best_precision
from dermsentry.training.export import make_bundle, rounded
from dermsentry.training.fitted import Fitted, predict_logits
from dermsentry.training.loop import Validate, run_loop
from dermsentry.training.options import Run
from dermsentry.training.pipeline import examples_of, training_record
from dermsentry.training.pixels import decode
from dermsentry.training.refusal import KNOWN, Sample
from recipes.dermoscopy.data import (
    LICENCES,
    WEIGHTS_LICENCE,
    non_lesions,
    read_dermoscopy,
    split_dermoscopy,
    views,
    without_tests,
)

STORED = 224
"""The side in pixels that training images are kept at; they go into the network at a phase's size."""
EVENNESS = 0.5
"""How far the prior that probabilities are stated for is shifted from the images' own, 0, to equal classes,
1 (docs/why.md)."""
CONFIGURATION = Configuration(
    network="lite0",
    epochs=26,
    size=224,
    learning_rate=4e-4,
    fine_tuning=FineTuning((Phase(2, 128, adapting=True), Phase(10, 128), Phase(10, 192), Phase(4, 224))),
)


def train_dermoscopy(
    data: str | Path, out: str | Path, *, configuration: Configuration = CONFIGURATION, quiet: bool = True
) -> Run:
    """Make the bundled model. Run it again to resume after the last whole epoch.

    Parameters
    ----------
    data
        The folder with the sets that `data.SETS` names, and `labels/`.
    out
        The run's folder: `split.csv`, `history.csv`, what a resumed run needs, and `bundle/`.
    configuration
        How it is trained.
    quiet
        Show no progress on stderr.

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
    configuration = replace(configuration, precision=best_precision())
    whole = read_dermoscopy(data)
    learned = without_tests(whole)
    split = _kept_split(folder / "split.csv", whole, learned, data, configuration.seed, quiet)
    stored = decode(learned, folder / "cache", size=STORED, quiet=quiet)
    train = views(split, "train", learned, stored)
    fitted = run_loop(
        configuration,
        train,
        _validation(split, learned, folder / "cache"),
        folder,
        data=train.fingerprint(),
        name="dermoscopy",
        quiet=quiet,
    )
    bundle = _bundle(fitted, split, learned, data, folder, configuration, quiet)
    return Run(folder, bundle.folder, fitted.history, fitted.best_epoch, fitted.seconds)


def _bundle(
    fitted: Fitted,
    split: Split,
    collection: Collection,
    data: str | Path,
    folder: Path,
    configuration: Configuration,
    quiet: bool,
) -> Bundle:
    """The bundle of the network, its kernels rounded; the card compares ways of calibrating it."""
    size, seed = configuration.size, configuration.seed
    group = dict(zip(split.table["path"], split.table["group"], strict=True))
    examples, groups, sources = {}, {}, []
    for part in ("validation", "calibration"):
        own = _part(split, part, collection)
        examples[part] = _examples(split, part, own, folder / "cache", size, quiet)
        paths = list(own.table["path"].iloc[examples[part].rows])
        groups[part] = [group[path] for path in paths]
        sources += [_source(path) for path in paths]
    pictures = [read_photograph(path).pixels for path in non_lesions(data)[0]]
    return make_bundle(
        replace(fitted, network=rounded(fitted.network)),
        examples["validation"],
        examples["calibration"],
        groups,
        _some_of_training(split, collection, folder / "cache", size, seed),
        folder / "bundle",
        name="dermoscopy",
        aspect=configuration.aspect,
        training={
            **_record(collection, split, configuration),
            "pictures_without_a_lesion": len(pictures),
        },
        compare=True,
        evenness=EVENNESS,
        sources=sources,
        pictures=pictures,
        resamples=1000,
        seed=seed,
    )


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


def _some_of_training(split: Split, collection: Collection, cache: Path, size: int, seed: int) -> Sample:
    """Up to `KNOWN` training files, drawn by `seed` and decoded at the network's size."""
    own = _part(split, "train", collection)
    rows = np.random.default_rng(seed).permutation(len(own))[:KNOWN]
    chosen = replace(own, table=own.table.iloc[np.sort(rows)].reset_index(drop=True))
    decoded = decode(chosen, cache, size=size)
    readable = [i for i in range(len(chosen)) if i not in decoded.unreadable]
    sources = [_source(path) for path in chosen.table["path"].iloc[readable]]
    return Sample(np.asarray(decoded.pixels[readable]), sources)


def _source(path: str) -> str:
    """The set that a file belongs to."""
    return path.split("/")[0]


def _validation(split: Split, collection: Collection, cache: Path) -> Validate:
    """Melanoma AUROC, over all and within each set, and balanced accuracy, on every validation file."""
    held = _part(split, "validation", collection)

    def validate(network: keras.Model, size: int) -> Mapping[str, float]:
        examples = _examples(split, "validation", held, cache, size, True)
        logits = predict_logits(network, examples)
        probability = apply_temperature(logits, 1.0)
        score = probability[:, CODES.index(MELANOMA)]
        melanoma = np.array([label == MELANOMA for label in examples.labels])
        source = np.array([_source(held.table["path"].iloc[row]) for row in examples.rows])
        figures = {"melanoma_roc_auc": float(roc_auc_score(melanoma, score))}
        for name in np.unique(source):
            here = source == name
            figures[f"melanoma_roc_auc_{name}"] = float(roc_auc_score(melanoma[here], score[here]))
        hits = candidate_hits(examples.labels, [CODES[i] for i in probability.argmax(axis=1)])
        figures["balanced_accuracy"] = mean_hit_rate(examples.labels, hits)
        return figures

    return validate


def _record(collection: Collection, split: Split, configuration: Configuration) -> dict[str, Any]:
    counts = pd.crosstab(split.table["diagnosis"], split.table["part"])
    recorded = {"recipe": "dermoscopy", "stored": STORED, **configuration.record()}
    return {
        **training_record(collection, split, recorded, "imagenet"),
        "photographs_by_diagnosis": {
            part: {label: int(n) for label, n in counts[part].items() if label and n} for part in counts
        },
        "licences": list(LICENCES),
        "weights_licence": WEIGHTS_LICENCE,
    }
