"""Judge a model bundle on labelled photographs."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.collection import Collection
from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError
from dermsentry.files import versions, write_json, write_text
from dermsentry.images import Pixels, Unreadable, read_many
from dermsentry.judge.evaluation import evaluate_predictions
from dermsentry.judge.figures import Evaluation
from dermsentry.judge.report import write_page
from dermsentry.model import Bundle, open_bundle
from dermsentry.phantoms import is_synthetic
from dermsentry.progress import track

Floats = NDArray[np.float64]

BATCH = 64
AS_GIVEN = "test-as-given"
"""The Test folder as its publisher gives it: what is honest, what leaks, and what is in conflict."""

_LEARNED_FROM = ("train", "validation", "calibration")


class Split(Protocol):
    """Anything with the table of `split.csv`: `path, image_id, diagnosis, group, part, reason`."""

    @property
    def table(self) -> pd.DataFrame:
        """One row per photograph."""


@dataclass(frozen=True)
class _Chosen:
    """The photographs to judge: columns `path`, `diagnosis`, `group`; and what must be said of the choice."""

    table: pd.DataFrame
    part: str
    remarks: tuple[str, ...]


def evaluate(
    bundle: str | Path | Bundle,
    collection: Collection,
    split: Split | pd.DataFrame | None = None,
    *,
    part: str = "test",
    out: str | Path | None = None,
    resamples: int = 1000,
    seed: int = 0,
    quiet: bool = True,
) -> Evaluation:
    """Judge a model bundle on the photographs of one part of a split.

    Parameters
    ----------
    bundle
        A bundle or its folder. Its alert threshold is the one that is judged.
    collection
        The photographs.
    split
        Which photograph belongs to which part and group, as `make_split` or `read_split` gives. Without one,
        `test` is the collection's own Test folder, or all of it where it has none, and groups are made here.
    part
        A part of the split; `test-as-given` is the Test folder as published, with its leaks and conflicts
        and under the labels it came with.
    out
        A folder for `evaluation.json`, `evaluation.html`, `predictions.csv` (ISIC challenge) and `truth.csv`.
    resamples, seed
        Of the bootstrap over groups.
    quiet
        Show no progress on stderr.

    Returns
    -------
    Evaluation
        `about["unreadable"]` lists the photographs that could not be read, with the reason.

    Raises
    ------
    InputError
        The part is empty or unknown, the split is of another collection, nothing is readable or labelled.
    BundleError
        The bundle was refused.
    OutputError
        `out` cannot be written.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    chosen = _choose(collection, split, part)
    read, probability, unreadable = _predict(opened, collection, chosen.table, quiet)
    alert = opened.card.thresholds["alert"]
    evaluation = evaluate_predictions(
        list(read["diagnosis"]),
        probability,
        list(read["group"]),
        threshold=alert.value,
        resamples=resamples,
        seed=seed,
    )
    remarks = [
        *chosen.remarks,
        *_remarks_on_training(opened, collection, split is None),
        *_remarks_on_threshold(evaluation, alert.sensitivity_target),
    ]
    if unreadable:
        photographs = "photograph was" if len(unreadable) == 1 else "photographs were"
        remarks.append(f"{len(unreadable)} {photographs} unreadable and count for nothing here.")
    about = {
        "model": {"name": opened.card.name, "digest": opened.card.digest, "synthetic": opened.card.synthetic},
        "data": {
            "fingerprint": collection.fingerprint(),
            "part": chosen.part,
            "synthetic": _drawn(collection),
        },
        "threshold": asdict(alert),
        "unreadable": unreadable,
        "versions": versions(),
    }
    evaluation = replace(evaluation, about=about, warnings=(*remarks, *evaluation.warnings))
    if out is not None:
        _write(evaluation, Path(out), collection, read, probability)
    return evaluation


def _choose(collection: Collection, split: Split | pd.DataFrame | None, part: str) -> _Chosen:
    if split is None:
        return _choose_unsplit(collection, part)
    table = split if isinstance(split, pd.DataFrame) else split.table
    return _choose_part(collection, table, part)


def _choose_part(collection: Collection, split: pd.DataFrame, part: str) -> _Chosen:
    known = collection.table.set_index("path")
    missing = [path for path in split["path"] if path not in known.index]
    if missing:
        others = f"{len(missing)} of the split's {len(split)} photographs are not in the collection"
        raise InputError(f"{others}, such as {missing[0]}; give the collection that the split was made of.")
    split = split.assign(given=split["path"].map(known["split"]))
    if part == AS_GIVEN:
        quarantined = (split["part"] == "quarantined") & (split["given"] == "test")
        table = split[split["part"].isin(["test", "test-leaking"]) | quarantined]
        table = table.assign(diagnosis=table["path"].map(known["diagnosis"]))
    else:
        table = split[split["part"] == part]
    if not len(table):
        parts = ", ".join(f"{name} ({count})" for name, count in split["part"].value_counts().items())
        raise InputError(f"The split has no photograph in the part {part!r}; it has {parts}, and {AS_GIVEN}.")
    learned = set(split.loc[split["part"].isin(_LEARNED_FROM), "group"])
    return _Chosen(table[["path", "diagnosis", "group"]], part, _remarks_on_part(table, part, learned))


def _remarks_on_part(table: pd.DataFrame, part: str, learned: set[str]) -> tuple[str, ...]:
    if part in _LEARNED_FROM:
        return (f"The model was made with the part {part}: these figures say nothing about new photographs.",)
    remarks = []
    leaking = int(table["group"].isin(learned).sum())
    if leaking:
        remarks.append(
            f"{leaking} of the {len(table)} photographs, or others of the same lesion, are among those the "
            "model was made with: these figures flatter it."
        )
    quarantined = int((table["part"] == "quarantined").sum())
    if quarantined:
        remarks.append(
            f"{quarantined} of the {len(table)} photographs are in the collection under two diagnoses: the "
            "one counted as true here may be wrong."
        )
    return tuple(remarks)


def _choose_unsplit(collection: Collection, part: str) -> _Chosen:
    from dermsentry.audit.duplicates import find_duplicates
    from dermsentry.audit.groups import connected_groups

    if part != "test":
        raise InputError(f"Received the part {part!r} without a split; give the split.csv that names it.")
    table = collection.table
    given = bool((table["split"] == "test").any())
    groups = connected_groups(table, find_duplicates(collection).groups)
    table = table.assign(group=groups)
    if given:
        table = table[table["split"] == "test"]
    return _Chosen(table[["path", "diagnosis", "group"]], AS_GIVEN if given else "all", ())


def _remarks_on_training(bundle: Bundle, collection: Collection, unsplit: bool) -> Iterator[str]:
    if not unsplit:
        return
    if bundle.card.training.get("fingerprint") == collection.fingerprint():
        yield (
            "The model was made with this very collection, and no split tells which of these photographs it "
            "has seen: the figures may flatter it."
        )
    else:
        yield "No split was given: it is not known whether the model has seen these photographs or lesions."


def _remarks_on_threshold(evaluation: Evaluation, target: float) -> Iterator[str]:
    found = evaluation.sensitivity
    if found is not None and found.high < target:
        yield (
            f"The alert threshold was chosen to find {100 * target:.0f} % of the melanomas. Here it found "
            f"{100 * found.value:.0f} %, and not even the upper end of the interval reaches that."
        )


def _predict(
    bundle: Bundle, collection: Collection, table: pd.DataFrame, quiet: bool
) -> tuple[pd.DataFrame, Floats, list[dict[str, str]]]:
    """The rows that were readable, their probabilities (n, 9) by `CODES`, and the others with a reason."""
    card = bundle.card
    files = [collection.root / path for path in table["path"]]
    pictures = read_many(files, card.size, card.aspect, root=collection.root)
    unreadable: list[dict[str, str]] = []
    kept: list[int] = []
    waiting: list[Pixels] = []
    found: list[Floats] = []

    def run() -> None:
        if waiting:
            found.append(bundle.predict(np.stack(waiting)).probability.astype(np.float64))
            waiting.clear()

    for position, picture in enumerate(track(pictures, "Judging", total=len(files), quiet=quiet)):
        if isinstance(picture, Unreadable):
            unreadable.append({"path": str(table["path"].iloc[position]), "reason": picture.reason})
            continue
        kept.append(position)
        waiting.append(picture)
        if len(waiting) == BATCH:
            run()
    run()
    if not kept:
        raise InputError(f"None of the {len(files)} photographs could be read: {unreadable[0]['reason']}.")
    order = [card.classes.index(code) for code in CODES]
    return table.iloc[kept].reset_index(drop=True), np.concatenate(found)[:, order], unreadable


def _drawn(collection: Collection) -> bool:
    """Whether any photograph lies below a folder that is marked as drawn by a program."""
    below = {PurePosixPath(path).parent for path in collection.table["path"]}
    folders = {folder for inner in below for folder in (inner, *inner.parents)}
    return any(is_synthetic(collection.root / folder) for folder in folders)


def image_names(paths: Sequence[str]) -> list[str]:
    """The `image` of each photograph in a challenge's table: its stem, or its path where stems collide."""
    stems = [PurePosixPath(path).stem for path in paths]
    counts = Counter(stems)
    pairs = zip(paths, stems, strict=True)
    return [stem if counts[stem] == 1 else str(PurePosixPath(path).with_suffix("")) for path, stem in pairs]


def _write(
    evaluation: Evaluation, out: Path, collection: Collection, read: pd.DataFrame, probability: Floats
) -> None:
    images = image_names(list(read["path"]))
    shares = probability.clip(0, 1)
    rows = [[image, *(f"{p:.9g}" for p in row)] for image, row in zip(images, shares, strict=True)]
    write_text(out / "predictions.csv", _csv(["image", *CODES], rows))
    truth = zip(images, read["path"], read["diagnosis"], read["group"], strict=True)
    write_text(out / "truth.csv", _csv(["image", "path", "diagnosis", "group"], truth))
    write_page(out / "evaluation.html", evaluation, _files_judged(collection, read))
    write_json(out / "evaluation.json", evaluation.as_dict())


def _files_judged(collection: Collection, read: pd.DataFrame) -> list[Path]:
    """The file of each photograph of known diagnosis, as `Evaluation.truth` has them."""
    return [collection.root / path for path in read.loc[read["diagnosis"] != "", "path"]]


def _csv(header: Sequence[str], rows: Any) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
