"""The bundled model, from the folders of images to its bundle; see the package for how to run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.collection import Collection
from dermsentry.evaluation.contamination import learned_from
from dermsentry.files import plain
from dermsentry.images import read_photograph
from dermsentry.model import Bundle
from dermsentry.split import Split, check_split, read_split, write_split
from dermsentry.split.folds import LEARNED_FROM
from dermsentry.training.batches import Examples
from dermsentry.training.export import make_bundle, rounded
from dermsentry.training.fitted import Fitted
from dermsentry.training.networks import NETWORKS
from dermsentry.training.options import Run
from dermsentry.training.pipeline import training_record
from dermsentry.training.pixels import decode
from dermsentry.training.pretrained import load_imagenet
from dermsentry.training.refusal import KNOWN, Sample
from recipes.dermoscopy.data import (
    LICENCES,
    WEIGHTS_LICENCE,
    non_lesions,
    photographs,
    published_masks,
    read_dermoscopy,
    split_dermoscopy,
    without_tests,
)
from recipes.dermoscopy.masks import STEPS, lesion_masks
from recipes.dermoscopy.pack import write_pack
from recipes.dermoscopy.train import (
    IMAGENET,
    PACK,
    STUDENT,
    TEACHERS,
    Options,
    load_arrays,
    save_arrays,
    train_student,
)

STORED = 192
"""The side in pixels that lesions are found at; a multiple of 64."""
SCREENED = 224
"""The side in pixels that images are screened at."""
EVENNESS = 0.5
"""How far the prior that probabilities are stated for is shifted from the images' own, 0, to equal classes,
1 (docs/why.md)."""
PACKED = ("train", "validation")


@dataclass(frozen=True, eq=False)
class Sets:
    """Everything that is learned from, decoded once.

    `table` has a row per photograph, see `data.photographs`; their files are rows of `pixels`
    (M, S, S, 3) uint8 and `masks` (M, S, S) uint8.
    """

    collection: Collection
    split: Split
    table: pd.DataFrame
    pixels: NDArray[np.uint8]
    masks: NDArray[np.uint8]

    def part(self, name: str) -> pd.DataFrame:
        """The photographs of a part of the split."""
        return self.table[self.table["part"] == name].reset_index(drop=True)


def read_sets(
    data: str | Path,
    folder: Path,
    *,
    size: int = STORED,
    steps: int = STEPS,
    seed: int = 0,
    quiet: bool = True,
) -> Sets:
    """Read, split and decode the sets, and find their lesions.

    Parameters
    ----------
    data
        The folder with the sets that `data.SETS` names, and `labels/`.
    folder
        Gets `split.csv` and `cache/`.
    size
        The side of what is decoded, in pixels, a multiple of 64.
    steps
        Of the network that finds lesions; see `masks.lesion_masks`.
    seed, quiet
        Random seed of the split; show no progress on stderr.

    Raises
    ------
    InputError
        A set is missing.
    OutputError
        `folder` cannot be written.
    """
    whole = read_dermoscopy(data)
    learned = without_tests(whole)
    split = _kept_split(folder / "split.csv", whole, learned, data, seed, quiet)
    decoded = decode(learned, folder / "cache", size=size, quiet=quiet)
    table = photographs(split, learned)
    table["rows"] = [tuple(row for row in own if row not in decoded.unreadable) for own in table["rows"]]
    table = table[table["rows"].map(len) > 0].reset_index(drop=True)
    published = published_masks(learned)
    known = [row for own in table.loc[table["part"] == "train", "rows"] for row in own if row in published]
    masks = lesion_masks(
        decoded.pixels, published, np.array(known), folder / "cache", steps=steps, quiet=quiet
    )
    return Sets(learned, split, table, decoded.pixels, masks)


def train_dermoscopy(
    data: str | Path,
    out: str | Path,
    *,
    student: Options = STUDENT,
    teachers: Mapping[str, Options] = TEACHERS,
    quantised: bool = True,
    stored: int = STORED,
    screened: int = SCREENED,
    steps: int = STEPS,
    quiet: bool = True,
) -> Run:
    """Make the bundled model. Run it again to resume.

    A `student/` that was trained elsewhere, from `out`'s pack and ImageNet's weights, is taken as it is.

    Parameters
    ----------
    data
        The folder with the sets that `data.SETS` names, and `labels/`.
    out
        The run's folder: `split.csv`, `photographs.tar` and `imagenet.npz`, which training reads, a folder
        per network, and `bundle/`.
    student, teachers
        How the networks are trained.
    quantised
        See `make_bundle`.
    stored, steps
        See `read_sets`.
    screened
        The side of the bundle's images, in pixels.
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
    sets = read_sets(data, folder, size=stored, steps=steps, quiet=quiet)
    pack, first = folder / PACK, folder / IMAGENET
    if not pack.is_file():
        learned = sets.table[sets.table["part"].isin(PACKED)]
        write_pack(pack, learned, list(sets.collection.paths), sets.masks)
    if not first.is_file():
        save_arrays(first, imagenet(student.network, screened))
    weights = train_student(pack, folder, load_arrays(first), student=student, teachers=teachers, quiet=quiet)
    network = NETWORKS[student.network](screened)
    network.set_weights(weights)
    history = pd.read_csv(folder / "student" / "history.csv")
    seconds = float(history["seconds"].iloc[-1])
    fitted = Fitted(network, history, len(history), seconds, student.images / seconds)
    training = _record(sets, student, teachers)
    bundle = _bundle(fitted, sets, data, folder, training, screened, quantised, student.seed, quiet)
    return Run(folder, bundle.folder, fitted.history, fitted.best_epoch, fitted.seconds)


def imagenet(name: str, size: int) -> list[NDArray[Any]]:
    """The weights of an EfficientNet-Lite with ImageNet's, its head untrained."""
    network = NETWORKS[name](size)
    load_imagenet(network)
    weights: list[NDArray[Any]] = network.get_weights()
    return [*weights[:-2], np.zeros_like(weights[-2]), weights[-1]]


def _bundle(
    fitted: Fitted,
    sets: Sets,
    data: str | Path,
    folder: Path,
    training: Mapping[str, Any],
    size: int,
    quantised: bool,
    seed: int,
    quiet: bool,
) -> Bundle:
    """The bundle of the network, its kernels rounded; the card compares ways of calibrating it."""
    examples, groups, sources = {}, {}, []
    for part in ("validation", "calibration"):
        own = sets.part(part)
        examples[part] = frames(sets, own, size, folder / "cache", quiet=quiet)
        groups[part] = list(own["group"])
        sources += list(own["hospital"])
    train = sets.part("train")
    some = train.iloc[np.sort(np.random.default_rng(seed).permutation(len(train))[:KNOWN])]
    known = frames(sets, some, size, folder / "cache", quiet=quiet)
    rows = [row for part in LEARNED_FROM for own in sets.part(part)["rows"] for row in own]
    pictures = [read_photograph(path).pixels for path in non_lesions(data)[0]]
    return make_bundle(
        replace(fitted, network=rounded(fitted.network, size)),
        examples["validation"],
        examples["calibration"],
        groups,
        Sample(known.gather(slice(None)), list(some["hospital"])),
        folder / "bundle",
        name="dermoscopy",
        aspect="squash",
        training={**training, "pictures_without_a_lesion": len(pictures)},
        learned_from=learned_from(
            sets.collection.table.iloc[rows], (np.asarray(sets.pixels[row]) for row in rows)
        ),
        compare=True,
        evenness=EVENNESS,
        sources=sources,
        pictures=pictures,
        quantised=quantised,
        resamples=1000,
        seed=seed,
    )


def frames(sets: Sets, table: pd.DataFrame, size: int, cache: Path, *, quiet: bool = True) -> Examples:
    """The whole frames of these photographs at a network's size, decoded from their files."""
    rows = [own[0] for own in table["rows"]]
    own = replace(sets.collection, table=sets.collection.table.iloc[rows].reset_index(drop=True))
    decoded = decode(own, cache, size=size, quiet=quiet)
    return Examples(decoded.pixels, np.arange(len(rows)), tuple(table["diagnosis"]))


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


def _record(sets: Sets, student: Options, teachers: Mapping[str, Options]) -> dict[str, Any]:
    counts = pd.crosstab(sets.split.table["diagnosis"], sets.split.table["part"])
    recorded = {"recipe": "dermoscopy", **plain(student), "teachers": plain(dict(teachers))}
    record = training_record(sets.collection, sets.split, recorded, "imagenet")
    return {
        **record,
        "versions": {**record["versions"], "torch": metadata.version("torch")},
        "photographs_by_diagnosis": {
            part: {label: int(n) for label, n in counts[part].items() if label and n} for part in counts
        },
        "licences": list(LICENCES),
        "weights_licence": WEIGHTS_LICENCE,
    }
