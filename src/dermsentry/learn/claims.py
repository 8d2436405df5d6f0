"""What is claimed for the bundled model, measured again by one command and written into its card.

    python -m dermsentry.learn.claims RUN DATA OUT [--locked]

Every photograph here, every lesion and every copy of it, was kept out of the training.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermsentry.audit.shortcuts import probe
from dermsentry.collection import Collection, read_collection, read_labels
from dermsentry.files import write_text
from dermsentry.judge import Evaluation, Interval, evaluate
from dermsentry.learn.dermoscopy import LABELS, LESIONS, read_dermoscopy, without_tests
from dermsentry.learn.fitting import Configuration
from dermsentry.learn.linear import embed
from dermsentry.learn.pixels import decode
from dermsentry.learn.split import make_split, read_split
from dermsentry.model import Bundle, open_bundle, read_network, write_bundle
from dermsentry.model_card import model_card

HAM10000 = "HAM10000, held-out lesions"
NINE = "the nine-class set's Test, without leaks"
ISIC2017 = "ISIC 2017 test"


def measure_claims(
    run: str | Path, data: str | Path, out: str | Path, *, locked: bool = False, quiet: bool = True
) -> Bundle:
    """Judge a run's bundle on what it never saw; its card gets the figures, `out` a page of each.

    `locked` also judges it on ISIC 2017's test, which is for a finished model: nothing may be chosen by it.
    """
    folder, root = Path(run), Path(data)
    bundle = open_bundle(folder / "bundle")
    learned = without_tests(read_dermoscopy(root))
    split = read_split(folder / "split.csv", learned).table
    test = split[split["part"] == "test"]
    own = dict(zip(learned.table["path"], learned.table["diagnosis"], strict=True))
    frames = test[test["path"].str.startswith("ham10000/images/")]
    frames = frames.assign(diagnosis=frames["path"].map(own))  # its seven classes, as published
    nine = read_collection(root / "isic9")
    honest = make_split(nine, labels=read_labels(root / LABELS), quiet=quiet).table
    judged: dict[str, tuple[Collection, pd.DataFrame | None]] = {
        HAM10000: (learned, frames),
        NINE: (nine, honest),
    }
    if locked:
        isic = read_collection(root / "isic2017", metadata=root / LESIONS)
        here = isic.table["split"] == "test"
        judged[ISIC2017] = (replace(isic, table=isic.table[here].reset_index(drop=True)), None)
    figures = dict(bundle.card.evaluation)
    for name, (collection, table) in judged.items():
        page = Path(out) / name.replace(",", "").replace("'", "").replace(" ", "-")
        evaluation = evaluate(bundle, collection, table, out=page, quiet=quiet)
        figures[name] = _figures(evaluation)
    figures["shortcuts"] = shortcuts_left(bundle, learned, test, folder / "cache", quiet=quiet)
    return record(folder / "bundle", figures)


def shortcuts_left(
    bundle: Bundle, collection: Collection, table: pd.DataFrame, cache: Path, *, quiet: bool = True
) -> list[dict[str, Any]]:
    """How well the set a photograph comes from can be told from an embedding, within one diagnosis.

    From the bundle's, and from ImageNet's before any training, of one photograph of each group of `table`.
    """
    one = table.drop_duplicates("group")
    kept = collection.table["path"].isin(set(one["path"]))
    own = replace(collection, table=collection.table[kept].reset_index(drop=True))
    decoded = decode(own, cache, size=bundle.card.size, aspect=bundle.card.aspect, quiet=quiet)
    start = Configuration(network="lite0", size=bundle.card.size)
    embeddings = {
        "this model": bundle.predict(np.asarray(decoded.pixels)).embedding,
        "ImageNet": embed(start, decoded, cache, quiet=quiet),
    }
    diagnosis = own.table["path"].map(dict(zip(one["path"], one["diagnosis"], strict=True)))
    sets = own.table["path"].str.split("/").str[0]
    found = []
    for label in ("NV", "MEL"):
        here = (diagnosis == label).to_numpy()
        if (sets[here].value_counts() >= 5).sum() < 2:
            continue
        for name, embedding in embeddings.items():
            told = probe(embedding[here].astype(np.float64), list(sets[here]), family=name)
            found.append(
                {
                    "embedding": name,
                    "diagnosis": label,
                    "told": "the set it comes from",
                    "photographs": told.photographs,
                    "balanced_accuracy": told.balanced_accuracy,
                    "chance": told.chance,
                    "by_class": told.by_class,
                }
            )
    return found


def record(folder: Path, evaluation: Mapping[str, Any]) -> Bundle:
    """Write a bundle anew with what was measured in its card."""
    card, onnx = read_network(folder)
    return write_bundle(folder, onnx, replace(card, evaluation=evaluation))


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    """The figures of an evaluation that a card holds."""
    melanoma = evaluation.melanoma
    found: dict[str, Interval | None] = {
        "melanoma_roc_auc": melanoma.roc_auc,
        "sensitivity": evaluation.sensitivity,
        "specificity": evaluation.specificity,
        "balanced_accuracy": evaluation.balanced_accuracy,
        "accuracy": evaluation.accuracy,
        "melanoma_calibration_error": melanoma.calibration_error,
        "calibration_error": evaluation.overall["calibration_error"],
    }
    for point in melanoma.at_sensitivity:
        found[f"specificity_at_{100 * point.sensitivity:.0f}_sensitivity"] = point.specificity
    for own in evaluation.classes:
        found[f"roc_auc_{own.label}"] = own.roc_auc
    return {
        "photographs": evaluation.photographs,
        "melanomas": melanoma.photographs,
        **{name: interval.as_dict() for name, interval in found.items() if interval is not None},
    }


def main() -> None:
    """Measure, and write the model card beside the figures."""
    run, data, out = (Path(argument) for argument in sys.argv[1:4])
    bundle = measure_claims(run, data, out, locked="--locked" in sys.argv[4:], quiet=False)
    write_text(out / "MODEL_CARD.md", model_card(bundle))


if __name__ == "__main__":
    main()
