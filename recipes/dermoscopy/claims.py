"""What is claimed for the bundled model, measured by one command and written into its card.

    python -m recipes.dermoscopy.claims RUN DATA OUT [--left-out FILE] [--locked] [--observed FILE]

Every image here is held out: no lesion and no duplicate of it was trained on. What no command
measures, `failures` in sentences and `experiments` as rows, comes from the JSON file `--observed`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermsentry.audit.shortcuts import probe
from dermsentry.collection import Collection, read_collection, read_labels
from dermsentry.evaluation import Evaluation, evaluate
from dermsentry.files import plain, read_json, write_text
from dermsentry.model import Bundle, open_bundle, read_network, write_bundle
from dermsentry.model.card import Card
from dermsentry.model.model_card import model_card
from dermsentry.split import make_split, read_split
from dermsentry.training.configuration import Configuration
from dermsentry.training.linear_probe import embed
from dermsentry.training.pixels import decode
from recipes.dermoscopy.data import HOSPITALS, LABELS, LESIONS, non_lesions, read_dermoscopy, without_tests
from recipes.dermoscopy.leave_one_out import summary
from recipes.dermoscopy.targets import HAM10000, ISIC2017, LEFT_OUT, NINE, REFUSAL, TARGETS

NO_LESION = "as no lesion"
PREVALENCE = 0.02
"""Of melanoma where a card says what an alert is worth."""


def measure_claims(
    run: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    left_out: Sequence[Mapping[str, Any]] = (),
    locked: bool = False,
    observed: Mapping[str, Any] | None = None,
    quiet: bool = True,
) -> Bundle:
    """Evaluate a run's bundle on held-out images; its card gets the figures, `out` a page of each.

    Parameters
    ----------
    run, data, out
        The run's folder, the folder of the sets, and where the pages are written.
    left_out
        What `leave_one_out` measured, its rows.
    locked
        Also evaluate it on ISIC 2017's test, which is for a finished model: nothing may be chosen by it.
    observed
        Goes into the card as it is.
    quiet
        Show no progress on stderr.

    Raises
    ------
    InputError
        A set is missing, or the split is of other photographs.
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
    figures = dict(bundle.card.evaluation)

    def measure(name: str, collection: Collection, table: pd.DataFrame | None, **further: Any) -> None:
        page = Path(out) / re.sub(r"[^\w-]+", "-", name)
        found = evaluate(bundle, collection, table, out=page, quiet=quiet, **further)
        figures[name] = _refused(found, bundle.card) if name == REFUSAL else _figures(found)

    masks = root / "ham10000" / "masks"
    measure(HAM10000, learned, frames, robustness=True, masks=masks if masks.is_dir() else None)
    measure(NINE, nine, honest)
    unseen = non_lesions(root)[1]
    if unseen:
        measure(REFUSAL, learned, split, part="validation", not_lesions=unseen)
    if locked:
        isic = read_collection(root / "isic2017", metadata=root / LESIONS)
        here = isic.table["split"] == "test"
        measure(ISIC2017, replace(isic, table=isic.table[here].reset_index(drop=True)), None)
    held_out = split[split["part"].isin(("validation", "calibration", "test"))]
    figures["shortcuts"] = shortcuts_left(bundle, learned, held_out, folder / "cache", quiet=quiet)
    figures["left_out"] = by_way(left_out)
    named = {LEFT_OUT: _recipe_left_out(left_out)}
    figures["targets"] = [target.row({**figures, **named}) for target in TARGETS]
    return record(folder / "bundle", {**figures, **(observed or {})})


def shortcuts_left(
    bundle: Bundle, collection: Collection, table: pd.DataFrame, cache: Path, *, quiet: bool = True
) -> list[dict[str, Any]]:
    """How well a probe predicts from an embedding which set an image is from, within one diagnosis.

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
    """Write a bundle again with what was measured in its card."""
    card, onnx = read_network(folder)
    known = open_bundle(folder).learned_from
    return write_bundle(folder, onnx, replace(card, evaluation=evaluation), known)


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    """The figures of an evaluation that a card holds."""
    melanoma = evaluation.melanoma
    found: dict[str, Any] = {
        "melanoma_roc_auc": melanoma.roc_auc,
        "sensitivity": evaluation.sensitivity,
        "specificity": evaluation.specificity,
        "balanced_accuracy": evaluation.balanced_accuracy,
        "accuracy": evaluation.accuracy,
        "melanoma_calibration_error": melanoma.calibration_error,
        "calibration_error": evaluation.calibration_error,
    }
    for point in melanoma.at_sensitivity:
        found[f"specificity_at_{100 * point.sensitivity:.0f}_sensitivity"] = point.specificity
    for own in evaluation.classes:
        found[f"roc_auc_{own.label}"] = own.roc_auc
    worth = next((one for one in evaluation.clinical_value or () if one.prevalence == PREVALENCE), None)
    if worth is not None:
        found["alerts_per_melanoma_found_at_2_percent_prevalence"] = worth.number_needed_to_biopsy
    if evaluation.surroundings:
        found["melanoma_roc_auc_lesion_painted_out"] = evaluation.surroundings.lesion_painted_out
        found["melanoma_roc_auc_only_the_lesion"] = evaluation.surroundings.only_the_lesion
    if evaluation.robustness:
        robust = evaluation.robustness
        turns = [flips for name, flips in robust.repeat.by_capture.items() if name.startswith("turned")]
        found["decisions_flipped_by_a_turn"] = max(turns, key=lambda flips: flips.value)
        found["decisions_flipped_by_a_repeat"] = robust.repeat.flip_rate
        worst = robust.worst
        found[f"decisions_flipped_by_{worst.corruption}_at_severity_{worst.severity}"] = worst.flips
    if evaluation.saliency:
        saliency = evaluation.saliency.all
        found["heat_inside_the_lesion"] = saliency.model.inside
        found["area_of_the_lesion"] = saliency.area
        found["hottest_place_on_the_lesion"] = saliency.model.pointing
    return {
        "photographs": evaluation.photographs,
        "melanomas": melanoma.photographs,
        **{name: plain(figure) for name, figure in found.items() if figure is not None},
    }


def by_way(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row per way of training: melanoma's AUROC on each hospital left out, their mean and the worst."""
    if not rows:
        return []
    return [
        {"way": way, **{f"melanoma_roc_auc, {name}": value for name, value in own.items() if value == value}}
        for way, own in summary(rows).to_dict("index").items()
    ]


def _recipe_left_out(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and worst over the hospitals that the recipe was trained without; empty where one is missing.

    Without the worst where lesions are painted out, if that was not measured of each.
    """
    own = [row for row in rows if row["way"] == "recipe"]
    if {row["left_out"] for row in own} != set(HOSPITALS):
        return {}
    found = [row["melanoma_roc_auc"]["value"] for row in own]
    figures = {
        "mean_melanoma_roc_auc": {"value": sum(found) / len(found)},
        "worst_melanoma_roc_auc": {"value": min(found)},
    }
    painted_out = [row.get("melanoma_roc_auc_lesion_painted_out") for row in own]
    if all(painted_out):
        worst = max(figure["value"] for figure in painted_out if figure)
        figures["worst_melanoma_roc_auc_lesion_painted_out"] = {"value": worst}
    return figures


def _refused(evaluation: Evaluation, card: Card) -> dict[str, Any]:
    """What screening refuses of pictures without a lesion, and of images of one."""
    refusal = evaluation.refusal
    if refusal is None:
        return {}
    sources = card.no_lesion.sources if card.no_lesion else {}
    left_out = (
        {"worst_source_left_out_refused_as_no_lesion": {"value": max(sources.values())}} if sources else {}
    )
    gate, no_lesion = refusal.gates[0], next(own for own in refusal.gates if own.name == NO_LESION)
    return {
        "photographs": refusal.lesions,
        "pictures_without_a_lesion": refusal.non_lesions,
        "without_a_lesion_refused": plain(gate.non_lesions),
        "photographs_refused": plain(gate.lesions),
        "photographs_refused_as_no_lesion": plain(no_lesion.lesions),
        **({"no_lesion_roc_auc": plain(refusal.roc_auc)} if refusal.roc_auc else {}),
        **left_out,
        "sources": {own.source: plain(own.refused) for own in refusal.sources},
    }


def main() -> None:
    """Measure, and write the model card beside the figures."""
    parser = argparse.ArgumentParser(prog="python -m recipes.dermoscopy.claims", description=__doc__)
    for name in ("run", "data", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--left-out", type=Path, metavar="FILE", help="leave_one_out.json")
    parser.add_argument("--locked", action="store_true")
    parser.add_argument("--observed", type=Path)
    given = parser.parse_args()
    observed = read_json(given.observed) if given.observed else None
    left_out = read_json(given.left_out) if given.left_out else []
    bundle = measure_claims(
        given.run,
        given.data,
        given.out,
        left_out=left_out,
        locked=given.locked,
        observed=observed,
        quiet=False,
    )
    write_text(given.out / "MODEL_CARD.md", model_card(bundle))


if __name__ == "__main__":
    main()
