"""`study`: the assignment end to end, as assigned and honestly."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dermsentry.audit import audit_collection, write_audit
from dermsentry.collection import Collection
from dermsentry.errors import BundleError, InputError
from dermsentry.evaluation.contamination import learned_from
from dermsentry.files import fingerprint, write_json
from dermsentry.images import Aspect
from dermsentry.model import CARD_FILE, Bundle, open_bundle
from dermsentry.nine_class.conclusions import draw_conclusions
from dermsentry.nine_class.experiments import (
    EXPERIMENTS,
    PROTOCOLS,
    Material,
    Protocol,
    Result,
    Training,
    run_experiment,
)
from dermsentry.nine_class.notebook import require_notebook, write_notebook
from dermsentry.nine_class.report import write_study_report
from dermsentry.nine_class.results import Study, study_json
from dermsentry.outputs import RUNS, Output, numbered
from dermsentry.split import Split, make_split, random_split, refuse_other_split, write_split
from dermsentry.split.folds import LEARNED_FROM
from dermsentry.training.configuration import Configuration
from dermsentry.training.export import make_bundle
from dermsentry.training.linear_probe import embed
from dermsentry.training.options import Precision, Weights
from dermsentry.training.pipeline import refuse_unusable, training_record
from dermsentry.training.pixels import decode
from dermsentry.training.refusal import drawn

_FILES = ("study.json", "study.html", "audit.json", "audit.html", "split.csv")


def study(
    collection: Collection,
    out: str | Path | None,
    *,
    epochs: Sequence[int],
    fast: bool,
    labels: Mapping[str, str] | None,
    per_class: int,
    precision: Precision | None,
    size: int,
    aspect: Aspect,
    notebook: str | Path | None,
    seed: int,
    force: bool,
    quiet: bool,
) -> Study:
    """See `dermsentry.study`."""
    if len(epochs) != 3 or min(epochs) < 1:
        raise InputError(
            f"Received epochs {','.join(map(str, epochs))}; expected three numbers of at least 1, such as "
            "20,20,30."
        )
    if notebook is not None:
        require_notebook(collection, Path(notebook), fast=fast, aspect=aspect, force=force)
    started = time.perf_counter()
    configuration = {
        "epochs": list(epochs),
        "fast": fast,
        "size": size,
        "aspect": aspect,
        "batch_size": 32,
        "per_class": per_class,
        "seed": seed,
    }
    reference = fingerprint(f"{name}\t{label}" for name, label in sorted((labels or {}).items()))
    inputs = {"collection": collection.fingerprint(), "labels": reference, "precision": precision}
    output = Output(Path(out or RUNS), "study", _FILES, inputs | configuration)
    if out is None:
        output = replace(output, folder=numbered(RUNS, output))
    output.check(force=force)
    output.begin()
    folder = output.folder
    decoded = decode(collection, folder / "cache", size=size, aspect=aspect, quiet=quiet)
    audit = audit_collection(collection, labels=labels, seed=seed, quiet=quiet)
    split = make_split(collection, labels=labels, seed=seed, duplicates=audit.found)
    if not force:
        refuse_other_split(split, folder / "split.csv")
    write_audit(audit, collection, folder)
    write_split(split, folder / "split.csv")
    splits: dict[Protocol, Split] = {
        "honest": split,
        "as-assigned": random_split(collection, split, seed=seed),
    }
    embeddings = embed(
        Configuration(network="lite0", size=size, aspect=aspect, seed=seed),
        decoded,
        folder / "cache",
        quiet=quiet,
    )
    material = Material(collection, decoded, splits, embeddings)
    refuse_unusable(material.examples("honest", ["train"])[0], material.examples("honest", ["validation"])[0])

    length = {
        "baseline": epochs[0],
        "augmented": epochs[1],
        "balanced": epochs[2],
        "weighted": epochs[2],
        "linear": 1,
    }
    results = tuple(
        run_experiment(
            Training(
                experiment,
                protocol,
                material,
                length[experiment.name],
                folder / "runs" / protocol / experiment.name,
                per_class,
                precision,
                seed,
                quiet,
            )
        )
        for experiment in EXPERIMENTS
        if experiment.linear or not fast
        for protocol in PROTOCOLS
    )
    kept = max((r for r in results if r.protocol == "honest"), key=lambda r: r.val_balanced_accuracy)
    finished = Study(
        folder=folder,
        collection=collection,
        audit=audit,
        split=split,
        results=results,
        conclusions=tuple(draw_conclusions(collection, split, results, kept)),
        kept=kept,
        bundle=_bundle(kept, folder / "bundle", configuration),
        configuration=configuration,
        seconds=time.perf_counter() - started,
    )
    write_json(folder / "study.json", study_json(finished))
    write_study_report(finished, material)
    output.finish()
    if notebook is not None:
        write_notebook(finished, Path(notebook))
    return finished


def _bundle(kept: Result, folder: Path, configuration: Mapping[str, Any]) -> Bundle:
    """The bundle of the network that was kept, or the one that an earlier call made of it."""
    training, material = kept.training, kept.training.material
    options = {
        **configuration,
        "experiment": kept.experiment.name,
        "precision": training.configuration.precision,
    }
    weights: Weights | None = "imagenet" if kept.experiment.linear else None
    record = training_record(material.collection, material.splits["honest"], options, weights)
    # The record does not see pixels: a network that was fitted in this call gets a bundle of its own.
    if kept.fitted is None and (folder / CARD_FILE).is_file():
        try:
            made = open_bundle(folder)
        except BundleError:
            pass  # of another version, or changed: it is made again
        else:
            if {**made.card.training, "learned_from": None} == {**record, "learned_from": None}:
                return made
    validation, groups = material.examples("honest", ["validation"])
    rows = material.examples("honest", LEARNED_FROM)[0].rows
    return make_bundle(
        kept.fitted or training.run()[0],
        validation,
        material.examples("honest", ["calibration"])[0],
        {"validation": groups},
        drawn(material.examples("honest", ["train"])[0], training.seed),
        folder,
        name=f"{kept.experiment.name} on {material.collection.root.resolve().name}",
        aspect=training.configuration.aspect,
        training=record,
        learned_from=learned_from(
            material.collection.table.iloc[rows], (material.decoded.pixels[row] for row in rows)
        ),
        seed=training.seed,
    )
