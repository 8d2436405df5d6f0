"""`cross_validate`: train each fold in a folder of its own, evaluate it on what it left out, and sum up.

This module needs no training framework, so that `dermsentry.cross_validate` can be looked at without one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from dermsentry.collection import Collection
from dermsentry.collection.lesions import known_lesions
from dermsentry.errors import DermsentryError, InputError
from dermsentry.evaluation.cross_validation.figures import (
    FoldPredictions,
    LeftOut,
    left_out_of,
    read_left_out,
    summarise,
)
from dermsentry.evaluation.cross_validation.report import write_cross_validation
from dermsentry.evaluation.cross_validation.results import CrossValidation
from dermsentry.evaluation.pipeline import evaluate
from dermsentry.files import fingerprint, to_json, versions
from dermsentry.outputs import RUNS, Output, numbered
from dermsentry.phantoms import is_synthetic
from dermsentry.progress import say
from dermsentry.split import Fold, Split, check_split, make_folds, write_split
from dermsentry.split.make import relabelled
from dermsentry.tracking import tracked_run
from dermsentry.training import require_framework, train
from dermsentry.training.options import LOGS, TrainingOptions


def cross_validate(
    collection: Collection,
    split: Split,
    out: str | Path | None = None,
    *,
    leave_out: str | None = None,
    folds: int | None = None,
    seeds: int = 1,
    labels: Mapping[str, str] | None = None,
    seed: int = 0,
    resamples: int = 1000,
    force: bool = False,
    quiet: bool = True,
    **options: Unpack[TrainingOptions],
) -> CrossValidation:
    """Train and evaluate a network for each fold and seed: how it does on what it has not learned from.

    After an interruption, run it again to resume: finished folds are neither trained nor predicted again.

    Parameters
    ----------
    collection
        The images.
    split
        From `make_split` or `read_split`; its groups, diagnoses and quarantine hold in every fold.
    out
        A folder for `cross_validation.json`, `.csv` and `.html`; each training is in `fold-01/seed-0/` and so
        on, with its `split.csv`, its bundle and its evaluation. Without one, the next of
        `runs/cross-validation-1` and so on, or the one of this very cross-validation.
    leave_out
        `COLUMN=VALUE` leaves out one value of a column of the collection's table, such as `source=BCN`;
        `COLUMN` each value in turn. See `make_folds`.
    folds
        Instead: so many folds of whole groups. With neither, the split's own test is evaluated, which makes
        sense with several seeds.
    seeds
        How many random seeds each fold is trained with.
    labels
        Reference labels by image id; see `train`.
    seed
        The first of them; also that of the folds and of the bootstrap.
    resamples
        Bootstrap resamples for the intervals, at least 2.
    force
        Whether to replace another cross-validation in `out`, which is refused otherwise; more or fewer
        `seeds` make no other one.
    quiet
        Whether to show no progress on stderr.
    options
        Options of `train`, by name: `network`, `epochs`, `size` and so on.

    Returns
    -------
    CrossValidation
        Each fold's figures with intervals, their mean, the worst and the spread over seeds.

    Raises
    ------
    InputError
        As `make_folds` and `train`; or no fold leaves anything to train and to evaluate on.
    TrainingError
        A fold's part is empty or has one class only, or a loss is not a number; the fold is named.
    OutputError
        `out` cannot be written, or holds another cross-validation.

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> split = dermsentry.make_split(collection)
    >>> dermsentry.cross_validate(collection, split, folds=5, seeds=3).to_frame()  # doctest: +SKIP
    """
    require_framework()
    if seeds < 1 or seed < 0 or resamples < 2:
        raise InputError(
            f"Received seeds={seeds}, seed={seed}, resamples={resamples}; expected at least 1 seed, a random "
            "seed of at least 0 and 2 resamples."
        )
    check_split(split)
    split = relabelled(split, labels or {})
    divided = leave_out is not None or folds is not None
    made: tuple[Fold, ...] = (Fold("the split's test", split),)
    if divided:
        made = make_folds(split, collection, leave_out=leave_out, folds=folds, seed=seed)
    usable = [fold for fold in made if not fold.problem]
    skipped = [f"{fold.name} is in no row: {fold.problem}." for fold in made if fold.problem]
    if not usable:
        raise InputError(f"No fold can be trained and evaluated. {skipped[0]}")
    inputs = {"collection": collection.fingerprint(), "split": split.fingerprint()}
    trained = {name: value for name, value in options.items() if name not in LOGS}
    how = {"leave_out": leave_out, "folds": folds, "seed": seed, "resamples": resamples, **trained}
    output = Output(Path(out or RUNS), "cross-validation", ("cross_validation.json",), inputs | how)
    if out is None:
        output = replace(output, folder=numbered(RUNS, output))
    output.check(force=force)
    there = output.is_there()
    output.begin()
    work = _Work(collection, output.folder, seed, resamples, force, quiet, options)
    name = f"cross-validation on {collection.root.resolve().name}"
    tracking = tracked_run(output.folder, name, resume=there) if options.get("mlflow") else nullcontext()
    with tracking as tracked:
        if tracked is not None:
            tracked.parameters(inputs | how)
        finished = []
        for i, fold in enumerate(usable, 1):
            say(f"Fold {i} of {len(usable)}, left out: {fold.name}; {fold.told}", quiet=quiet)
            try:
                finished.append(work.finish(fold, range(seed, seed + seeds)))
            except DermsentryError as error:
                raise type(error)(f"Fold {i} of {len(usable)}, left out: {fold.name}: {error}") from error
        result = summarise(
            (leave_out or "folds").partition("=")[0] if divided else "test",
            finished,
            resamples=resamples,
            seed=seed,
            warnings=[*skipped, *work.warnings(finished)],
            about={
                "fingerprint": collection.fingerprint(),
                "split_fingerprint": split.fingerprint(),
                "synthetic": is_synthetic(collection.root),
                "configuration": {
                    "leave_out": leave_out,
                    "folds": folds,
                    "seed": seed,
                    "resamples": resamples,
                }
                | {"training": trained},
                "versions": versions(),
            },
        )
        write_cross_validation(result, work.out)
        if tracked is not None:
            tracked.figures({"mean": result.mean, "together": result.together, "spread": result.spread})
            tracked.artifacts(sorted(output.folder.glob("cross_validation.*")), "")
    output.finish()
    say(f"Written: {output.folder / 'cross_validation.html'}", quiet=quiet)
    return result


@dataclass(frozen=True)
class _Work:
    """What all trainings of a cross-validation share."""

    collection: Collection
    out: Path
    seed: int
    resamples: int
    force: bool
    quiet: bool
    options: TrainingOptions

    def finish(self, fold: Fold, seeds: range) -> FoldPredictions:
        """Train and evaluate a fold with each seed."""
        below = tuple(Path(f"fold-{fold.number:02}") / f"seed-{seed}" for seed in seeds)
        pairs = zip(seeds, below, strict=True)
        left_out = tuple(self._train(fold.split, self.out / inner, seed) for seed, inner in pairs)
        return FoldPredictions(fold, tuple(seeds), below, left_out)

    def _train(self, split: Split, folder: Path, seed: int) -> LeftOut:
        """What a network of this seed predicts for the test, or what an earlier call kept of it."""
        options = {name: value for name, value in self.options.items() if name not in LOGS}
        made_of = {"options": options, "seeds": [seed, self.seed], "resamples": self.resamples}
        rows = split.table.to_csv(index=False)
        key = fingerprint([self.collection.fingerprint(), rows, to_json(made_of)])
        kept = read_left_out(folder / "left_out.npz", key)
        if kept is not None:
            say(f"{folder}: finished earlier", quiet=self.quiet)
            return kept
        write_split(split, folder / "split.csv")
        run = train(
            self.collection, split, folder, seed=seed, cache=self.out / "cache", force=self.force,
            quiet=self.quiet,
            **self.options,
        )  # fmt: skip
        evaluation = evaluate(
            run.bundle, self.collection, split,
            out=folder / "evaluation", resamples=self.resamples, seed=self.seed,
            keep_learned=self.options.get("keep_learned", False), mlflow=self.options.get("mlflow", False),
            quiet=self.quiet,
        )  # fmt: skip
        left_out = left_out_of(evaluation)
        left_out.save(folder / "left_out.npz", key)
        return left_out

    def warnings(self, finished: list[FoldPredictions]) -> Iterator[str]:
        """What to know of these trainings before quoting a figure."""
        kept = self.options.get("keep_learned", False)
        if self.options.get("weights") == "dermoscopy" and self.options.get("network") != "cnn":
            yield (
                "Every training began with the weights of the bundled model: photographs that it learned "
                f"from, by its hashes, are in {'these figures: they flatter' if kept else 'no figure'}."
            )
        if self.options.get("network", "linear") == "linear" and len(finished[0].seeds) > 1:
            yield "A linear head on a frozen network has nothing random: every seed gives the same figures."
        yield known_lesions(self.collection.table).sentence
        unreadable = sum(fold.left_out[0].unreadable for fold in finished)
        if unreadable:
            yield f"{unreadable:,} left-out photographs were unreadable and are in no figure."
