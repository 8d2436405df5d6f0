"""Evaluate a model bundle, or a table of anyone's predictions, on labelled photographs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from dermsentry.collection import Collection
from dermsentry.collection.lesions import KnownLesions, known_lesions
from dermsentry.collection.table import values_of
from dermsentry.diagnoses import CODES, codes_of
from dermsentry.errors import InputError, require_type
from dermsentry.evaluation.calibration_methods import read_comparison
from dermsentry.evaluation.caveats import caveat
from dermsentry.evaluation.checks import (
    CORRUPTED,
    by_subgroup,
    compare_saliency,
    compare_surroundings,
    sample_masks,
    try_refusal,
    try_robustness,
)
from dermsentry.evaluation.contamination import Learned, find_learned
from dermsentry.evaluation.predict import Predicted, choose_sample, read_and_predict
from dermsentry.evaluation.prediction_table import read_prediction_table
from dermsentry.evaluation.predictions import SENSITIVITY_TARGET, measure_predictions
from dermsentry.evaluation.refusal import refusals
from dermsentry.evaluation.report import write_page
from dermsentry.evaluation.results import Evaluation
from dermsentry.evaluation.saliency.weight_randomisation import control_of
from dermsentry.evaluation.selection import AS_GIVEN, SplitTable, choose
from dermsentry.evaluation.subgroups.comparison import Attribute, find_attribute
from dermsentry.files import csv_line, versions, write_json, write_text
from dermsentry.model import Bundle, open_bundle
from dermsentry.phantoms import is_synthetic
from dermsentry.screening.predictions import Challenge, check_challenge, header, row
from dermsentry.split import Split
from dermsentry.split.folds import LEARNED_FROM
from dermsentry.split.make import relabelled
from dermsentry.stats.numbers import Unit, decimal_interval, percent_as_given, percent_interval
from dermsentry.stats.prevalence import check_prevalence
from dermsentry.stats.resampling import Resampler
from dermsentry.tracking import remembered, require_mlflow, tracked_run


def evaluate(
    bundle: str | Path | Bundle,
    collection: Collection,
    split: SplitTable | pd.DataFrame | None = None,
    *,
    part: str = "test",
    labels: Mapping[str, str] | None = None,
    by: str | None = None,
    out: str | Path | None = None,
    predictions_for: Challenge | None = None,
    prevalence: float | None = None,
    robustness: bool = False,
    masks: str | Path | None = None,
    not_lesions: str | Path | Sequence[str | Path] | None = None,
    keep_learned: bool = False,
    mlflow: bool = False,
    resamples: int = 1000,
    seed: int = 0,
    quiet: bool = True,
) -> Evaluation:
    """Evaluate a model bundle on the photographs of one part of a split.

    Parameters
    ----------
    bundle
        A bundle or its folder. Its alert threshold is the one that is evaluated.
    collection
        The photographs.
    split
        Which photograph belongs to which part and group, as `make_split` or `read_split` gives. Without one,
        `test` is the collection's own Test folder, or the whole collection if it has none, and groups are
        found here.
    part
        A part of the split; `test-as-given` is the Test folder as published, with the photographs that leak
        or carry two labels, under the labels it came with.
    labels
        Reference labels by image id, as `read_labels` gives them: they come before the labels of the split
        and of the collection, and a warning counts what they change.
    by
        Also give melanoma's figures by this column of the collection's table, such as `hospital`. Age, sex,
        site, source and skin type are compared in any case.
    out
        A folder for `evaluation.json`, `evaluation.html`, `predictions.csv` and `truth.csv`.
    predictions_for
        A challenge whose scorer is to take `predictions.csv`, `isic2018` (Task 3), `isic2019` or `isic2020`:
        its columns in place of the nine.
    prevalence
        The share of melanomas where the model is to be used, above 0 and below 1; see
        `evaluate_predictions`.
    robustness
        Also test corruptions and repeat captures of at most 400 photographs; see `measure_robustness`.
    masks
        A folder of lesion masks, `<image id>_segmentation.png`: also measure where saliency falls and whether
        melanomas are told by the lesion, on at most 1,000 photographs; see `check_saliency` and
        `measure_surroundings`.
    not_lesions
        Pictures that show no lesion, a folder or several paths: also measure how many of them screening
        refuses, beside at most 2,000 of the photographs; see `measure_refusal`.
    keep_learned
        Whether photographs that the bundle learned from, by its own hashes, count as well. They do in any
        case in a part that the split says was learned from, and in `test-as-given`.
    mlflow
        Whether to log the figures with their intervals, and what is in `out`, to MLflow as well (extra
        `mlflow`): into the run of the training, where that was logged to the same place, else into a new one.
    resamples
        Bootstrap resamples of groups, at least 2.
    seed
        Random seed of the bootstrap and of the samples.
    quiet
        Show no progress on stderr.

    Returns
    -------
    Evaluation
        Every figure with its interval. `about["unreadable"]` lists the photographs that could not be read,
        with the reason.

    Raises
    ------
    InputError
        The part is empty or unknown, there is no column `by`, the split is of another collection, nothing is
        readable or labelled, the bundle learned from all of it, a mask cannot be read, `not_lesions` holds
        no picture, or MLflow is not installed or cannot be reached.
    BundleError
        The bundle was refused.
    OutputError
        `out` cannot be written.

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> split = dermsentry.make_split(collection)
    >>> evaluation = dermsentry.evaluate("dermoscopy", collection, split, resamples=100)
    >>> evaluation.photographs, len(evaluation.truth)
    (18, 18)
    """
    check_challenge(predictions_for)
    if mlflow:
        require_mlflow()
    require_type("collection", collection, Collection, "read_collection")
    if split is not None and not isinstance(split, pd.DataFrame):
        require_type("split", getattr(split, "table", split), pd.DataFrame, "make_split or read_split")
    if prevalence is not None:
        check_prevalence(prevalence)
    if by is not None:
        values_of(collection, by)
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    chosen = choose(collection, split, part, labels)
    sample = choose_sample(list(chosen.table["diagnosis"]), CORRUPTED, seed) if robustness else set()
    screened = None if not_lesions is None else refusals(not_lesions, opened, quiet=quiet)
    marked = {} if masks is None else sample_masks(Path(masks), opened, collection, chosen.table, seed)
    seen = read_and_predict(
        opened,
        collection,
        chosen.table,
        sample=sample,
        explained=marked,
        control=control_of(opened, seed) if marked else None,
        look=opened.learned_from is not None,
        quiet=quiet,
    )
    keep = keep_learned or part in (AS_GIVEN, *LEARNED_FROM)
    seen, learned = _without_learned(opened, collection, _as_split(split), labels or {}, seen, keep)
    lesions = known_lesions(collection.table)
    alert = opened.card.thresholds["alert"]
    resampler = Resampler(list(seen.table["group"]), resamples, seed)
    evaluation = measure_predictions(
        list(seen.table["diagnosis"]),
        seen.probability,
        resampler,
        threshold=alert.value,
        sensitivity_target=alert.sensitivity_target or SENSITIVITY_TARGET,
        prevalence=prevalence,
        unit=_unit(collection, seen.table),
    )
    about = {
        "model": {
            "name": opened.card.name,
            "digest": opened.card.digest,
            "synthetic": opened.card.synthetic,
            "calibration": read_comparison(opened.card.evaluation.get("calibration")),
            "training": opened.card.training.get("configuration"),
        },
        "data": _data(collection, chosen.part, lesions),
        "threshold": alert,
        "learned_from": learned,
        "unreadable": seen.unreadable,
        "not_read": [vars(one) for one in collection.not_read],
        "versions": versions(),
    }
    evaluation = replace(evaluation, surroundings=compare_surroundings(seen, resampler))
    point = evaluation.operating_point
    if point is not None:  # with what the card says of where its threshold was chosen
        point = replace(point, chosen_on=alert.chosen_on, sensitivity_there=alert.sensitivity)
    compared, hard = by_subgroup(
        seen.table, seen.probability, collection, alert.value, resampler, by, seen.skin_tone
    )
    evaluation = replace(
        evaluation,
        about=about,
        operating_point=point,
        subgroups=compared,
        hard_comparison=hard,
        robustness=try_robustness(opened, seen, alert.value, resampler, quiet) if robustness else None,
        saliency=compare_saliency(seen, marked, resampler),
        refusal=None if screened is None else try_refusal(opened, collection, seen, screened, resampler),
        warnings=(
            *chosen.caveats,
            *([caveat("learned", learned=learned)] if learned and learned.photographs else []),
            *_of_collection(lesions, by, compared),
            *_caveats(opened, collection, evaluation, split is None, len(seen.unreadable)),
            *evaluation.warnings,
        ),
    )
    if out is not None:
        images = image_names(list(seen.table["path"]))
        _write(evaluation, Path(out), collection, seen.table, images, _table(seen, images, predictions_for))
    if mlflow:
        _track(evaluation, opened, chosen.part, out)
    return evaluation


def _track(evaluation: Evaluation, bundle: Bundle, part: str, out: str | Path | None) -> None:
    folder = bundle.folder.parent
    with tracked_run(folder if remembered(folder) else None, f"{bundle.card.name}, {part}") as tracked:
        binary = {"melanoma": evaluation.melanoma, "decision": evaluation.decision}
        tracked.figures({**evaluation.overall, **binary}, f"{part}/")
        for name in ("evaluation.json", "evaluation.html", "predictions.csv", "truth.csv"):
            if out is not None:
                tracked.artifacts([Path(out) / name], f"evaluation/{part}")


def evaluate_table(
    predictions: str | Path,
    collection: Collection,
    split: SplitTable | pd.DataFrame | None = None,
    *,
    part: str = "test",
    labels: Mapping[str, str] | None = None,
    by: str | None = None,
    out: str | Path | None = None,
    threshold: float | None = None,
    prevalence: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Evaluate the predictions of any model on the photographs of one part of a split.

    Parameters
    ----------
    predictions
        A table of probabilities by image: the nine classes, fewer (HAM10000's seven, ISIC 2019's eight), or
        melanoma alone; see `read_prediction_table`. Classes that it does not distinguish count as one.
    collection, split, part, labels, by, prevalence, resamples, seed
        As for `evaluate`.
    out
        A folder for `evaluation.json`, `evaluation.html`, `predictions.csv` and `truth.csv`.
    threshold
        The melanoma probability from which a photograph raises an alert; without it, where melanoma is the
        most probable class.

    Returns
    -------
    Evaluation
        Every figure with its interval, without what needs the photographs or the model: skin tone,
        corruptions, saliency, refusal, and whether the model learned from these photographs.
        `about["without_prediction"]` lists the photographs that the table does not name.

    Raises
    ------
    InputError
        What `evaluate` raises of the collection and its split, and `read_prediction_table` of the table.
    OutputError
        `out` cannot be written.

    Examples
    --------
    >>> import dermsentry, pandas
    >>> collection = dermsentry.read_collection("photographs")
    >>> table = pandas.DataFrame({"image": [path.stem for path in collection.paths]})
    >>> table["melanoma"] = table.index % 10 / 10
    >>> table.to_csv("table.csv", index=False)
    >>> evaluation = dermsentry.evaluate_table("table.csv", collection, threshold=0.5)
    >>> evaluation.photographs, evaluation.decision.alerts
    (23, 10)
    """
    require_type("collection", collection, Collection, "read_collection")
    if by is not None:
        values_of(collection, by)
    given = read_prediction_table(predictions)
    chosen = choose(collection, split, part, labels)
    names = dict(zip(collection.table["path"], collection.table["image_id"], strict=True))
    paths = list(chosen.table["path"])
    rows = given.matched(paths, [names[path] for path in paths])
    strangers = given.strangers(list(collection.table["path"]), list(collection.table["image_id"]))
    here = [place in rows for place in range(len(paths))]
    table = chosen.table[here].reset_index(drop=True)
    table["diagnosis"] = given.coarsened(list(table["diagnosis"]))
    probability = given.probability[[rows[place] for place in sorted(rows)]]
    resampler = Resampler(list(table["group"]), resamples, seed)
    evaluation = measure_predictions(
        list(table["diagnosis"]),
        probability,
        resampler,
        threshold=threshold,
        sensitivity_target=SENSITIVITY_TARGET,
        prevalence=prevalence,
        unit=_unit(collection, table),
    )
    lesions = known_lesions(collection.table)
    missing = [path for path, known in zip(paths, here, strict=True) if not known]
    compared, hard = by_subgroup(table, probability, collection, threshold, resampler, by)
    told = {"without_prediction": len(missing), "strangers": strangers}
    evaluation = replace(
        evaluation,
        about={
            "model": {
                "name": given.name,
                "digest": given.digest,
                "synthetic": False,
                "calibration": (),
                "training": None,
            },
            "data": _data(collection, chosen.part, lesions),
            "threshold": None,
            "without_prediction": missing,
            "left_alone": given.left_alone,
            "unreadable": [],
            "not_read": [vars(one) for one in collection.not_read],
            "versions": versions(),
        },
        subgroups=compared,
        hard_comparison=hard,
        warnings=(
            caveat("foreign"),
            *chosen.caveats,
            *([caveat("left_alone", left_alone=given.left_alone)] if given.left_alone else []),
            *(caveat(topic, count=count) for topic, count in told.items() if count),
            *_of_collection(lesions, by, compared),
            *evaluation.warnings,
        ),
    )
    if out is not None:
        columns = [CODES.index(codes_of(label)[0]) for label in given.classes]
        images = image_names(list(table["path"]))
        lines = ([image, *each] for image, each in zip(images, probability[:, columns].tolist(), strict=True))
        _write(evaluation, Path(out), collection, table, images, _csv(["image", *given.classes], lines))
    return evaluation


def _data(collection: Collection, part: str, lesions: KnownLesions) -> dict[str, Any]:
    return {
        "fingerprint": collection.fingerprint(),
        "part": part,
        "lesions": lesions,
        "synthetic": _drawn(collection),
    }


def _unit(collection: Collection, chosen: pd.DataFrame) -> Unit:
    """What the groups of these photographs are, as far as the collection knows."""
    return known_lesions(collection.table[collection.table["path"].isin(chosen["path"])]).unit


def _as_split(split: SplitTable | pd.DataFrame | None) -> Split | None:
    return None if split is None else Split(split if isinstance(split, pd.DataFrame) else split.table)


def _without_learned(
    bundle: Bundle,
    collection: Collection,
    split: Split | None,
    labels: Mapping[str, str],
    seen: Predicted,
    keep: bool,
) -> tuple[Predicted, Learned | None]:
    """What is left without the photographs that the bundle learned from; None where it does not know them.

    A bundle that was trained on this very split, by its labels or the reference's, is taken at its word, but
    where it began with the weights of another bundle, which the split knows nothing of.
    Raises InputError if nothing is left.
    """
    if bundle.learned_from is None:
        return seen, None
    if split is not None and not _started_from(bundle).get("known"):
        made_on = bundle.card.training.get("split_fingerprint")
        if made_on in (split.fingerprint(), relabelled(split, labels).fingerprint()):
            return seen, None
    rows = collection.table.set_index("path").loc[list(seen.table["path"])].reset_index()
    by_id, by_look = find_learned(bundle.learned_from, rows, seen.looks)
    either = by_id | by_look
    learned = Learned(int(either.sum()), len(either), int((by_look & ~by_id).sum()), not keep)
    if keep or not either.any():
        return seen, learned
    if either.all():
        raise InputError(
            f"{bundle.name} learned from all of the {len(either):,} photographs; evaluate it on others. "
            "keep_learned (--keep-learned) evaluates it on these all the same."
        )
    return seen.among(~either), learned


def _started_from(bundle: Bundle) -> Mapping[str, Any]:
    """Whose weights a bundle's training began with; empty where they were ImageNet's or none."""
    found = bundle.card.training.get("started_from")
    return found if isinstance(found, Mapping) else {}


def _of_collection(lesions: KnownLesions, by: str | None, compared: tuple[Attribute, ...]) -> Iterator[str]:
    """Caveats of what the collection's table does not say."""
    if not lesions.lesion == lesions.patient == lesions.photographs:
        yield lesions.sentence
    if by is not None and find_attribute(compared, by) is None:
        yield caveat("one_value", column=by)


def _caveats(
    bundle: Bundle, collection: Collection, evaluation: Evaluation, unsplit: bool, unreadable: int
) -> Iterator[str]:
    if unsplit and bundle.learned_from is None:
        same = bundle.card.training.get("fingerprint") == collection.fingerprint()
        yield caveat("same_collection" if same else "no_split")
    if _started_from(bundle).get("known") is False:
        yield caveat("unknown_start")
    target, found = bundle.card.thresholds["alert"].sensitivity_target, evaluation.sensitivity
    if found is not None and found.high < target:
        yield caveat(
            "threshold", target=percent_as_given(target), found=percent_interval(found, 0, against=target)
        )
    told = evaluation.surroundings
    if told is not None and told.used:
        yield caveat("surroundings", found=decimal_interval(told.lesion_painted_out))
    if unreadable:
        yield caveat("unreadable", count=unreadable)


def _drawn(collection: Collection) -> bool:
    """Whether any photograph is below a folder that is marked as drawn by a program."""
    below = {PurePosixPath(path).parent for path in collection.table["path"]}
    folders = {folder for inner in below for folder in (inner, *inner.parents)}
    return any(is_synthetic(collection.root / folder) for folder in folders)


def _table(seen: Predicted, images: Sequence[str], challenge: Challenge | None) -> str:
    """`predictions.csv`, with the columns of a challenge if one is given."""
    shares = (dict(zip(CODES, each, strict=True)) for each in seen.probability.clip(0, 1).tolist())
    rows = zip(images, shares, seen.unlike, strict=True)
    return header(challenge) + "".join(row(*each, challenge) for each in rows)


def image_names(paths: Sequence[str]) -> list[str]:
    """The `image` of each photograph in a challenge's table: its stem, or its path where stems collide."""
    stems = [PurePosixPath(path).stem for path in paths]
    counts = Counter(stems)
    pairs = zip(paths, stems, strict=True)
    return [stem if counts[stem] == 1 else str(PurePosixPath(path).with_suffix("")) for path, stem in pairs]


def _write(
    evaluation: Evaluation,
    out: Path,
    collection: Collection,
    seen: pd.DataFrame,
    images: Sequence[str],
    predictions: str,
) -> None:
    write_text(out / "predictions.csv", predictions)
    columns = (seen[name] for name in ("path", "diagnosis", "group"))
    truth = zip(images, *columns, strict=True)
    write_text(out / "truth.csv", _csv(["image", "path", "diagnosis", "group"], truth))
    known = seen.loc[seen["diagnosis"] != "", "path"]  # as `Evaluation.truth` has them
    write_page(out / "evaluation.html", evaluation, [collection.root / path for path in known])
    write_json(out / "evaluation.json", evaluation.as_dict())


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    return "".join(map(csv_line, [header, *rows]))
