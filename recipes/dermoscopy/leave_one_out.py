"""Which way of training holds on a hospital that it has not seen.

    python -m recipes.dermoscopy.leave_one_out FOLDER RUN [NAME ...]

Each way of `WAYS`, or those that are named, is trained three times, each time without one hospital, and
judged on all of that hospital's photographs. The mean over hospitals of melanoma's AUROC decides, then the
worst.
The schedule is short (40,000 images of 96 pixels; about six minutes a hospital on two idle cores). Run it
again to resume; RUN/leave_one_out.json keeps what was measured.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from dermsentry.errors import DermsentryError, InputError
from dermsentry.evaluation.predictions import evaluate_predictions
from dermsentry.evaluation.results import MelanomaFigures
from dermsentry.evaluation.saliency.surround import lesion_painted_out, only_the_lesion
from dermsentry.files import plain, read_json, write_json
from dermsentry.stats.calibration import apply_temperature
from dermsentry.training.augmentation import StrongAugmentation
from dermsentry.training.configuration import Configuration, FineTuning, NetworkName, Phase
from dermsentry.training.loop import run_loop
from recipes.dermoscopy.data import HOSPITALS, views
from recipes.dermoscopy.lesions import Surround
from recipes.dermoscopy.masks import STEPS
from recipes.dermoscopy.recipe import AUGMENTATION, Sets, read_sets

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels, NDArray[Any]], Pixels]
"""What is done to images (B, S, S, 3), given their masks (B, S, S)."""

STORED = 128
COARSE = 84
"""The side of the coarsest set, to which the others are brought down as well."""
WARM_UP = 200
BATCH = 64
RESAMPLES = 200
MASKED = 3000
"""Photographs, drawn at random, that are judged without their lesion and with nothing else."""


@dataclass(frozen=True)
class Way:
    """A way of training, on a short schedule of about `images` images."""

    network: NetworkName = "lite0"
    learning_rate: float = 4e-4
    augmentation: StrongAugmentation = AUGMENTATION
    surround: Surround = field(default_factory=Surround)
    frozen_stages: int = 3
    size: int = 96
    images: int = 40_000

    def configuration(self, photographs: int) -> Configuration:
        """In whole epochs of this many photographs."""
        epochs = max(1, round(self.images / photographs))
        tuning = FineTuning(
            (Phase(epochs, self.size),),
            warm_up=WARM_UP,
            frozen_stages=self.frozen_stages,
            augmentation=self.augmentation,
        )
        return Configuration(
            self.network, epochs, size=self.size, learning_rate=self.learning_rate, fine_tuning=tuning
        )


NO_SURROUND = Surround(other_skin_share=0, painted_out_share=0)
WAYS = {
    "recipe": Way(),
    "surroundings as they are": Way(surround=NO_SURROUND),
    "weak augmentation": Way(augmentation=StrongAugmentation(), surround=NO_SURROUND),
    "nothing frozen": Way(frozen_stages=0),
    "recipe, longer": Way(images=120_000),
}


def leave_one_out(
    data: str | Path, run: str | Path, names: Sequence[str] = (), *, steps: int = STEPS, quiet: bool = True
) -> list[dict[str, Any]]:
    """Train each way without each hospital, or resume, and measure it there.

    Parameters
    ----------
    data
        The folder of the sets.
    run
        Gets a folder per way and hospital, and `leave_one_out.json`.
    names
        Of `WAYS`; all where none is named.
    steps
        See `masks.lesion_masks`.
    quiet
        Show no progress on stderr.

    Returns
    -------
    list
        A row per way and hospital left out, with its figures on that hospital, and on held-out photographs
        of the others.

    Raises
    ------
    InputError
        A set is missing, or a way has another name.
    """
    unknown = [name for name in names if name not in WAYS]
    if unknown:
        raise InputError(f"Received {', '.join(unknown)}; expected names among {', '.join(WAYS)}.")
    folder = Path(run)
    sets = read_sets(data, folder, size=STORED, steps=steps, quiet=quiet)
    kept = folder / "leave_one_out.json"
    rows: list[dict[str, Any]] = read_json(kept) if kept.is_file() else []
    for name in names or WAYS:
        for hospital in HOSPITALS:
            record = {"way": name, "left_out": hospital, "options": plain(asdict(WAYS[name]))}
            if any(all(row[key] == record[key] for key in record) for row in rows):
                continue
            words = re.findall(r"\w+", f"{name} without {hospital.split()[0]}")
            own = folder / "-".join(words)
            rows = [row for row in rows if (row["way"], row["left_out"]) != (name, hospital)]
            rows.append({**record, **_measure(sets, WAYS[name], hospital, own, quiet)})
            write_json(kept, rows)
    return rows


def summary(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Melanoma's AUROC on each hospital by way, their mean and the worst; the best mean first."""
    table = pd.DataFrame(
        {"way": row["way"], "left_out": row["left_out"].split()[0], "auroc": row["melanoma_roc_auc"]["value"]}
        for row in rows
    ).pivot(index="way", columns="left_out", values="auroc")
    table["mean"], table["worst"] = table.mean(axis=1), table.min(axis=1)
    return table.sort_values("mean", ascending=False).round(3)


def _measure(sets: Sets, way: Way, hospital: str, folder: Path, quiet: bool) -> dict[str, Any]:
    table = sets.table
    left_out = table[table["hospital"] == hospital].reset_index(drop=True)
    # Neither a photograph of the hospital, nor one of a lesion or copy that is there too.
    others = table[(table["hospital"] != hospital) & ~table["group"].isin(set(left_out["group"]))]
    learned = others[others["part"] == "train"].reset_index(drop=True)
    train = views(learned, sets.pixels, sets.masks, way.surround)
    fitted = run_loop(
        way.configuration(len(learned)),
        train,
        lambda network, size: {},
        folder,
        data=train.fingerprint(),
        name=folder.name,
        quiet=quiet,
    )
    held_out = others[others["part"] == "validation"].reset_index(drop=True)
    found = _figures(fitted.network, sets, left_out)
    found["photographs_learned_from"] = len(learned)
    found["seconds"] = fitted.seconds
    found["in_domain"] = {
        name: _figures(fitted.network, sets, own)["melanoma_roc_auc"]
        for name, own in held_out.groupby("hospital")
    }
    return found


def _figures(network: keras.Model, sets: Sets, table: pd.DataFrame) -> dict[str, Any]:
    """Figures of a network on the whole frames of these photographs."""
    labels, groups = np.array(table["diagnosis"]), np.array(table["group"])
    rows = np.array([own[0] for own in table["rows"]])

    def measure(chosen: NDArray[np.int64], change: Change) -> MelanomaFigures:
        logits = _logits(network, sets, rows[chosen], change)
        probability = apply_temperature(logits, 1.0)
        return evaluate_predictions(
            list(labels[chosen]), probability, list(groups[chosen]), resamples=RESAMPLES
        ).melanoma

    def each(change: Change) -> Change:
        return lambda pixels, masks: np.stack(
            [change(image, mask > 127) for image, mask in zip(pixels, masks, strict=True)]
        )

    every = np.arange(len(table))
    whole = measure(every, lambda pixels, _: pixels)
    some = np.sort(np.random.default_rng(0).permutation(len(table))[:MASKED])
    return {
        "photographs": len(table),
        "melanomas": whole.photographs,
        "melanoma_roc_auc": plain(whole.roc_auc),
        "specificity_at_95_sensitivity": next(
            (plain(point.specificity) for point in whole.at_sensitivity if point.sensitivity == 0.95), None
        ),
        "melanoma_roc_auc_coarse": plain(measure(every, coarse).roc_auc),
        "melanoma_roc_auc_lesion_painted_out": plain(measure(some, each(lesion_painted_out)).roc_auc),
        "melanoma_roc_auc_only_the_lesion": plain(measure(some, each(only_the_lesion)).roc_auc),
    }


def coarse(pixels: Pixels, masks: Pixels) -> Pixels:
    """As the coarsest set has them: brought down to `COARSE` pixels and back."""
    small = tf.image.resize(tf.cast(pixels, tf.float32), (COARSE, COARSE), antialias=True)
    return np.asarray(_rounded(tf.image.resize(small, pixels.shape[1:3])))


def _logits(network: keras.Model, sets: Sets, rows: NDArray[np.int64], change: Change) -> NDArray[np.float32]:
    size = int(network.input.shape[1])
    found = []
    for start in range(0, len(rows), BATCH):
        chosen = rows[start : start + BATCH]
        pixels = change(sets.pixels[chosen], sets.masks[chosen])
        small = tf.image.resize(tf.cast(pixels, tf.float32), (size, size), antialias=True)
        found.append(network.predict_on_batch(_rounded(small)))
    return np.concatenate(found)


def _rounded(pixels: Any) -> Any:
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)


def main() -> None:
    """Measure the ways that are named, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m recipes.dermoscopy.leave_one_out",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, help="folder of the sets")
    parser.add_argument("run", type=Path, help="folder of the runs")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(WAYS)}")
    given = parser.parse_args()
    try:
        rows = leave_one_out(given.data, given.run, given.names, quiet=False)
    except DermsentryError as error:
        print(f"recipes.dermoscopy.leave_one_out: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(summary(rows).to_string())


if __name__ == "__main__":
    main()
