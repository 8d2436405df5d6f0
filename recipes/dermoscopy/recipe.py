"""The bundled model, from the folders of images to its bundle; see the package for how to run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.collection import Collection
from dermsentry.diagnoses import CODES, MELANOMA
from dermsentry.evaluation.contamination import learned_from
from dermsentry.files import read_json
from dermsentry.images import read_photograph
from dermsentry.model import Bundle
from dermsentry.split import Split, check_split, read_split, write_split
from dermsentry.split.folds import LEARNED_FROM
from dermsentry.stats.calibration import apply_temperature
from dermsentry.stats.metrics import candidate_hits, mean_hit_rate, roc_auc_score
from dermsentry.training.augmentation import StrongAugmentation
from dermsentry.training.batches import Examples
from dermsentry.training.configuration import Configuration, FineTuning, Phase, best_precision
from dermsentry.training.export import make_bundle, rounded
from dermsentry.training.fitted import Fitted, predict_logits
from dermsentry.training.loop import Validate, run_loop
from dermsentry.training.options import Run
from dermsentry.training.pipeline import training_record
from dermsentry.training.pixels import decode
from dermsentry.training.refusal import KNOWN, Sample
from recipes.dermoscopy.data import (
    LICENCES,
    WEIGHTS_LICENCE,
    non_lesions,
    photographs,
    published_masks,
    read_dermoscopy,
    split_dermoscopy,
    views,
    without_tests,
)
from recipes.dermoscopy.lesions import Surround
from recipes.dermoscopy.masks import STEPS, lesion_masks

STORED = 192
"""The side in pixels that training images are kept at; they go into the network at a phase's size."""
SCREENED = 224
"""The side in pixels that images are screened at: larger than that of the views learned from, which are cut
from images and so show lesions larger than whole images do (Touvron et al., NeurIPS 2019)."""
EVENNESS = 0.5
"""How far the prior that probabilities are stated for is shifted from the images' own, 0, to equal classes,
1 (docs/why.md)."""
AUGMENTATION = StrongAugmentation(
    zoom=(0.75, 1.6),
    aspect=1.3,
    shift=0.08,
    centred_share=0.5,
    light=0.2,
    saturation=0.25,
    gamma=0.25,
    gain=0.12,
    colours_share=0.5,
    coarse_share=0.5,
    corners_share=0.3,
    bars_share=0.1,
    erased_share=0.15,
)
CONFIGURATION = Configuration(
    network="lite0",
    epochs=17,
    size=192,
    learning_rate=4e-4,
    fine_tuning=FineTuning(
        (Phase(8, 128), Phase(6, 160), Phase(3, 192)), frozen_stages=3, augmentation=AUGMENTATION
    ),
)
"""From ImageNet's weights."""
CONTINUED = replace(
    CONFIGURATION,
    epochs=30,
    fine_tuning=FineTuning((Phase(14, 160), Phase(16, 192)), frozen_stages=3, augmentation=AUGMENTATION),
)
"""From the weights of a finished run: the learning rate rises and falls once more."""


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
        The side of what is decoded, in pixels, a multiple of 32.
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
    configuration: Configuration | None = None,
    surround: Surround | None = None,
    start: str | Path | None = None,
    quantised: bool = True,
    stored: int = STORED,
    screened: int = SCREENED,
    steps: int = STEPS,
    quiet: bool = True,
) -> Run:
    """Make the bundled model. Run it again to resume after the last whole epoch.

    Parameters
    ----------
    data
        The folder with the sets that `data.SETS` names, and `labels/`.
    out
        The run's folder: `split.csv`, `history.csv`, what a resumed run needs, and `bundle/`.
    configuration, surround
        How it is trained, by default `CONFIGURATION`, or `CONTINUED` with a `start`; and what happens to the
        surroundings of lesions.
    start
        The folder of a finished run, whose network it begins with in place of ImageNet's.
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
        A set is missing, or `start` is no finished run of this network.
    TrainingError
        The loss is not a number.
    OutputError
        `out` cannot be written.
    """
    folder, surround = Path(out), surround or Surround()
    chosen = configuration or (CONTINUED if start else CONFIGURATION)
    configuration = replace(chosen, precision=best_precision())
    sets = read_sets(data, folder, size=stored, steps=steps, seed=configuration.seed, quiet=quiet)
    train = views(sets.part("train"), sets.pixels, sets.masks, surround)
    fitted = run_loop(
        configuration,
        train,
        validation(sets, sets.part("validation"), folder / "cache"),
        folder,
        data=train.fingerprint(),
        start=None if start is None else Path(start),
        name="dermoscopy",
        quiet=quiet,
    )
    before = {} if start is None else {"started_from": read_json(Path(start) / "configuration.json")}
    training = {**_record(sets, configuration, surround), **before}
    bundle = _bundle(fitted, sets, data, folder, configuration, training, screened, quantised, quiet)
    return Run(folder, bundle.folder, fitted.history, fitted.best_epoch, fitted.seconds)


def _bundle(
    fitted: Fitted,
    sets: Sets,
    data: str | Path,
    folder: Path,
    configuration: Configuration,
    training: Mapping[str, Any],
    size: int,
    quantised: bool,
    quiet: bool,
) -> Bundle:
    """The bundle of the network, its kernels rounded; the card compares ways of calibrating it."""
    seed = configuration.seed
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
        aspect=configuration.aspect,
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


def validation(sets: Sets, table: pd.DataFrame, cache: Path) -> Validate:
    """Melanoma AUROC within each hospital, and their mean; balanced accuracy over all."""

    def validate(network: keras.Model, size: int) -> Mapping[str, float]:
        examples = frames(sets, table, size, cache)
        probability = apply_temperature(predict_logits(network, examples), 1.0)
        score = probability[:, CODES.index(MELANOMA)]
        melanoma = np.array([label == MELANOMA for label in examples.labels])
        figures = {}
        for name in sorted(table["hospital"].unique()):
            here = (table["hospital"] == name).to_numpy()
            figures[f"melanoma_roc_auc_{name.split()[0]}"] = float(roc_auc_score(melanoma[here], score[here]))
        hits = candidate_hits(examples.labels, [CODES[i] for i in probability.argmax(axis=1)])
        return {
            "melanoma_roc_auc": float(np.mean(list(figures.values()))),
            **figures,
            "balanced_accuracy": mean_hit_rate(examples.labels, hits),
        }

    return validate


def _record(sets: Sets, configuration: Configuration, surround: Surround) -> dict[str, Any]:
    counts = pd.crosstab(sets.split.table["diagnosis"], sets.split.table["part"])
    recorded = {
        "recipe": "dermoscopy",
        "stored": sets.pixels.shape[1],
        **configuration.record(),
        **asdict(surround),
    }
    return {
        **training_record(sets.collection, sets.split, recorded, "imagenet"),
        "photographs_by_diagnosis": {
            part: {label: int(n) for label, n in counts[part].items() if label and n} for part in counts
        },
        "licences": list(LICENCES),
        "weights_licence": WEIGHTS_LICENCE,
    }
