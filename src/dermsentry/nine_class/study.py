"""`study`: the assignment end to end, and the truth beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dermsentry.audit import Audit, audit_collection, write_audit
from dermsentry.collection import Collection
from dermsentry.diagnoses import name_of
from dermsentry.errors import InputError
from dermsentry.files import versions, write_json
from dermsentry.images import Aspect
from dermsentry.model import Bundle
from dermsentry.nine_class.experiments import (
    EXPERIMENTS,
    PROTOCOLS,
    Material,
    Protocol,
    Result,
    run_experiment,
)
from dermsentry.nine_class.findings import (
    Finding,
    Fit,
    best_sentence,
    conflict_sentences,
    cure_sentence,
    fit_sentence,
    judge_fit,
    leakage_sentence,
    melanoma_sentence,
)
from dermsentry.nine_class.report import draw_figures, write_study_report
from dermsentry.phantoms import is_synthetic
from dermsentry.split import Split, make_split, random_split, write_split
from dermsentry.training import Precision
from dermsentry.training.balancing import PER_CLASS
from dermsentry.training.fitting import Configuration
from dermsentry.training.linear_probe import embed
from dermsentry.training.pipeline import bundle_of, refuse_unusable, training_record
from dermsentry.training.pixels import decode


@dataclass(frozen=True, eq=False)
class Study:
    """A finished study; `as_dict` is study.json."""

    folder: Path
    collection: Collection
    audit: Audit
    split: Split
    results: tuple[Result, ...]
    findings: tuple[Finding, ...]
    kept: Result
    bundle: Bundle
    configuration: Mapping[str, Any]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The fields of study.json."""
        return {
            "synthetic": is_synthetic(self.collection.root),
            "photographs": len(self.collection),
            "fingerprint": self.collection.fingerprint(),
            "configuration": dict(self.configuration),
            "versions": versions(),
            "audit": self.audit.summary,
            "split": self.split.counts(),
            "experiments": [result.as_dict() for result in self.results],
            "findings": [asdict(finding) for finding in self.findings],
            "kept": {
                "experiment": self.kept.experiment.name,
                "bundle": self.bundle.folder.name,
                "chosen_by": "validation balanced accuracy, honest",
            },
            "seconds": self.seconds,
        }


def study(
    collection: Collection,
    out: str | Path,
    *,
    epochs: Sequence[int] = (20, 20, 30),
    fast: bool = False,
    labels: Mapping[str, str] | None = None,
    per_class: int = PER_CLASS,
    precision: Precision | None = None,
    size: int = 180,
    aspect: Aspect = "squash",
    seed: int = 0,
    quiet: bool = True,
) -> Study:
    """See `dermsentry.study`."""
    if len(epochs) != 3 or min(epochs) < 1:
        raise InputError(
            f"Received epochs {','.join(map(str, epochs))}; expected three numbers of at least 1, such as "
            "20,20,30."
        )
    started = time.perf_counter()
    folder = Path(out)
    decoded = decode(collection, folder / "cache", size=size, aspect=aspect, quiet=quiet)
    audit = audit_collection(collection, labels=labels, seed=seed, quiet=quiet)
    write_audit(audit, collection, folder)
    split = make_split(collection, labels=labels, seed=seed, duplicates=audit.found)
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
    chosen = [e for e in EXPERIMENTS if e.linear or not fast]
    results = tuple(
        run_experiment(
            e,
            protocol,
            material,
            length[e.name],
            folder / "runs" / protocol / e.name,
            per_class=per_class,
            precision=precision,
            seed=seed,
            quiet=quiet,
        )
        for e in chosen
        for protocol in PROTOCOLS
    )
    kept = max((r for r in results if r.protocol == "honest"), key=lambda r: r.val_balanced_accuracy)
    parts = {part: material.examples("honest", [part])[0] for part in ("train", "validation", "calibration")}
    configuration = {
        "epochs": list(epochs),
        "fast": fast,
        "size": size,
        "aspect": aspect,
        "batch_size": 32,
        "per_class": per_class,
        "seed": seed,
    }
    record = training_record(
        collection,
        split,
        {**configuration, "experiment": kept.experiment.name},
        "imagenet" if kept.experiment.linear else None,
    )
    name = f"{kept.experiment.name} on {collection.root.resolve().name}"
    bundle = bundle_of(
        kept.fitted,
        parts,
        folder / "bundle",
        name,
        aspect,
        record,
        embeddings if kept.experiment.linear else None,
        groups=material.examples("honest", ["validation"])[1],
        seed=seed,
    )
    fits = {
        f"{r.experiment.name} {r.protocol}": judge_fit(r.accuracy, _curves(r.history))
        for r in results
        if not r.experiment.linear
    }
    findings = tuple(write_findings(collection, split, results, fits, kept))
    seconds = time.perf_counter() - started
    finished = Study(
        folder, collection, audit, split, results, findings, kept, bundle, configuration, seconds
    )
    write_json(folder / "study.json", finished.as_dict())
    figures = draw_figures(finished, material)
    write_study_report(finished, material, figures)
    return finished


def write_findings(
    collection: Collection, split: Split, results: Sequence[Result], fits: Mapping[str, Fit], kept: Result
) -> list[Finding]:
    """The study's findings in reading order, each from these results' numbers."""
    by = {(r.experiment.name, r.protocol): r for r in results}
    findings = [Finding("collection", sentence) for sentence in _about_conflicts(collection, split)]
    for experiment in EXPERIMENTS:
        honest, assigned = by.get((experiment.name, "honest")), by.get((experiment.name, "as-assigned"))
        if honest is None or assigned is None:
            continue
        before = by.get((experiment.follows, "honest"))
        sentences = _about_experiment(honest, assigned, before, fits)
        findings += [Finding(experiment.name, sentence) for sentence in sentences]
    judged = [r for r in results if r.protocol == "honest" and "test" in r.evaluations]
    ranked = sorted(judged, key=lambda r: -(figure(r, "test", "balanced_accuracy") or 0.0))
    if len(ranked) > 1:
        best, other = ranked[:2]
        sentence = best_sentence(
            best.experiment.title, figure(best, "test", "balanced_accuracy") or 0.0,
            other.experiment.title, figure(other, "test", "balanced_accuracy") or 0.0, kept.experiment.title,
        )  # fmt: skip
        findings.append(Finding("best", sentence))
    return findings


def _about_experiment(
    honest: Result, assigned: Result, before: Result | None, fits: Mapping[str, Fit]
) -> Iterator[str]:
    title = honest.experiment.title
    if not honest.experiment.linear:
        fit = fits[f"{honest.experiment.name} honest"]
        yield fit_sentence(title, fit)
        if before is not None:
            yield cure_sentence(
                before.experiment.title, title, fits[f"{before.experiment.name} honest"], fit,
                figure(before, "test", "balanced_accuracy"), figure(honest, "test", "balanced_accuracy"),
            )  # fmt: skip
    test = figure(assigned, "test", "accuracy")
    yield leakage_sentence(title, assigned.val_accuracy, honest.val_accuracy, test, assigned.relatives)
    if "test" in honest.evaluations:
        melanoma = honest.evaluations["test"].melanoma
        decision = melanoma.decisions[0]
        low = decision.sensitivity.low if decision.sensitivity else None
        yield melanoma_sentence(title, decision.detected, melanoma.photographs, low)


def _about_conflicts(collection: Collection, split: Split) -> list[str]:
    own = dict(zip(collection.table["path"], collection.table["diagnosis"], strict=True))
    quarantined = split.table[split.table["reason"].str.startswith("conflict")]
    groups: dict[str, set[str]] = {}
    for path, group in zip(quarantined["path"], quarantined["group"], strict=True):
        groups.setdefault(group, set()).add(own[path])
    conflicting: dict[str, int] = {}
    others: dict[str, set[str]] = {}
    for path, group in zip(quarantined["path"], quarantined["group"], strict=True):
        name = name_of(own[path])
        conflicting[name] = conflicting.get(name, 0) + 1
        others.setdefault(name, set()).update(groups[group] - {own[path]})
    totals = collection.table["diagnosis"].value_counts()
    counts = {name_of(str(label)): int(count) for label, count in totals.items()}
    words = {name: " and ".join(sorted(name_of(label) for label in found)) for name, found in others.items()}
    return conflict_sentences(conflicting, counts, words)


def figure(result: Result, test: str, name: str) -> float | None:
    """One overall figure of a result on `test` or `test-as-given`; None where there is nothing to measure."""
    evaluation = result.evaluations.get(test)
    found = evaluation.overall[name] if evaluation else None
    return None if found is None else found.value


def _curves(history: pd.DataFrame) -> dict[str, list[float]]:
    return {
        column: [float(v) for v in history[column]] for column in ("accuracy", "val_accuracy", "val_loss")
    }
