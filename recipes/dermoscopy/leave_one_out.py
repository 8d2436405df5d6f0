"""Which way of training holds on a hospital that it has not seen.

    python -m recipes.dermoscopy.leave_one_out FOLDER RUN [NAME ...]

Each way of `WAYS`, or those that are named, is trained three times, each time without one hospital, and
judged on all of that hospital's photographs. The mean over hospitals of melanoma's AUROC decides, then the
worst.
The schedule is short: 200,000 views of 160 pixels, three quarters of an hour a hospital on two cores. Run it
again to resume; RUN/leave_one_out.json keeps what was measured. Where RUN holds `all-photographs.tar` and
`imagenet.npz`, which the first run writes, FOLDER is not read and no TensorFlow is needed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dermsentry.errors import DermsentryError, InputError
from dermsentry.evaluation.predictions import evaluate_predictions
from dermsentry.evaluation.results import MelanomaFigures
from dermsentry.evaluation.saliency.surround import lesion_painted_out, only_the_lesion
from dermsentry.files import plain, read_json, write_json
from dermsentry.stats.calibration import apply_temperature
from recipes.dermoscopy.data import HOSPITALS
from recipes.dermoscopy.network import Lite
from recipes.dermoscopy.pack import read_pack, write_pack
from recipes.dermoscopy.train import (
    IMAGENET,
    STUDENT,
    Arrays,
    Change,
    Options,
    Photographs,
    load_arrays,
    on_device,
    predict_logits,
    resized,
    save_arrays,
    train_network,
)
from recipes.dermoscopy.views import Augmentation

PACK = "all-photographs.tar"
"""Those of every part, since all of the hospital that is left out are judged."""
COARSE = 84
"""The side of the coarsest set, to which the others are brought down as well."""
RESAMPLES = 200
MASKED = 3000
"""Photographs, drawn at random, that are judged without their lesion and with nothing else."""

SHORT = Options(size=160, images=200_000)
OWN_SURROUND = Augmentation(other_skin_share=0, painted_out_share=0)
WEAK = replace(
    OWN_SURROUND,
    zoom=(0.85, 1.5),
    centred_share=0,
    light=0.17,
    saturation=0.2,
    gamma=0.2,
    gain=0.06,
    colours_share=0,
    coarse_share=0.25,
    jpeg_share=0,
    corners_share=0.1,
    bars_share=0,
)
WAYS = {
    "recipe": SHORT,
    "surroundings as they are": replace(SHORT, augmentation=OWN_SURROUND),
    "weak augmentation": replace(SHORT, augmentation=WEAK),
    "nothing frozen": replace(SHORT, frozen_stages=0),
    "recipe, longer": replace(SHORT, images=600_000),
}
"""Options of the recipe's network."""


def leave_one_out(
    data: str | Path,
    run: str | Path,
    names: Sequence[str] = (),
    *,
    stored: int | None = None,
    steps: int | None = None,
    quiet: bool = True,
) -> list[dict[str, Any]]:
    """Train each way without each hospital, or resume, and measure it there.

    Parameters
    ----------
    data
        The folder of the sets.
    run
        Gets what training reads, a folder per way and hospital, and `leave_one_out.json`.
    names
        Of `WAYS`; all where none is named.
    stored, steps
        See `recipe.read_sets`; by default as there.
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
    kept = folder / "leave_one_out.json"
    rows: list[dict[str, Any]] = read_json(kept) if kept.is_file() else []
    photographs = None
    for name in names or WAYS:
        for hospital in HOSPITALS:
            record = {"way": name, "left_out": hospital, "options": plain(WAYS[name])}
            if any(all(row[key] == record[key] for key in record) for row in rows):
                continue
            if photographs is None:
                photographs = _photographs(data, folder, stored, steps, quiet)
            words = re.findall(r"\w+", f"{name} without {hospital.split()[0]}")
            own = folder / "-".join(words)
            first = load_arrays(folder / IMAGENET)
            rows = [row for row in rows if (row["way"], row["left_out"]) != (name, hospital)]
            rows.append({**record, **_measure(photographs, WAYS[name], hospital, own, first, quiet)})
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


def _photographs(
    data: str | Path, folder: Path, stored: int | None, steps: int | None, quiet: bool
) -> Photographs:
    """All photographs, from the run's pack, which is made first where it is missing."""
    pack, first = folder / PACK, folder / IMAGENET
    if not (pack.is_file() and first.is_file()):
        from recipes.dermoscopy.recipe import imagenet, read_sets  # with TensorFlow

        given = {name: value for name, value in (("size", stored), ("steps", steps)) if value}
        sets = read_sets(data, folder, **given, quiet=quiet)
        write_pack(pack, sets.table, list(sets.collection.paths), sets.masks)
        save_arrays(first, imagenet(STUDENT.network, STUDENT.size))
    return on_device(read_pack(pack, max(way.size for way in WAYS.values()), quiet=quiet))


def _measure(
    photographs: Photographs, options: Options, hospital: str, folder: Path, first: Arrays, quiet: bool
) -> dict[str, Any]:
    table = photographs.table
    left_out = table["hospital"] == hospital
    # Neither a photograph of the hospital, nor one of a lesion or copy that is there too.
    others = ~left_out & ~table["group"].isin(set(table.loc[left_out, "group"]))
    learned = photographs.part(others & (table["part"] == "train"))
    network = Lite(options.network)
    network.set_weights(train_network(learned, folder, options, first, quiet=quiet))
    held_out = photographs.part(others & (table["part"] == "validation"))
    in_domain = {
        name: _melanoma(network, held_out.part(held_out.table["hospital"] == name), options.size)
        for name in sorted(held_out.table["hospital"].unique())
    }
    return {
        **_figures(network, photographs.part(left_out), options.size),
        "photographs_learned_from": len(learned.table),
        "seconds": float(pd.read_csv(folder / "history.csv")["seconds"].iloc[-1]),
        "in_domain": {name: plain(figures.roc_auc) for name, figures in in_domain.items()},
    }


def _figures(network: Lite, photographs: Photographs, size: int) -> dict[str, Any]:
    """Figures of a network on the whole frames of these photographs."""
    count = len(photographs.table)
    some = photographs.part(np.sort(np.random.default_rng(0).permutation(count)[:MASKED]))
    whole = _melanoma(network, photographs, size)
    changed = {
        "coarse": (photographs, coarse),
        "lesion_painted_out": (some, _each(lesion_painted_out)),
        "only_the_lesion": (some, _each(only_the_lesion)),
    }
    return {
        "photographs": count,
        "melanomas": whole.photographs,
        "melanoma_roc_auc": plain(whole.roc_auc),
        "specificity_at_95_sensitivity": next(
            (plain(point.specificity) for point in whole.at_sensitivity if point.sensitivity == 0.95), None
        ),
        **{
            f"melanoma_roc_auc_{name}": plain(_melanoma(network, own, size, change).roc_auc)
            for name, (own, change) in changed.items()
        },
    }


def _melanoma(
    network: Lite, photographs: Photographs, size: int, change: Change | None = None
) -> MelanomaFigures:
    table = photographs.table
    probability = apply_temperature(predict_logits(network, photographs, size, change), 1.0)
    return evaluate_predictions(
        list(table["diagnosis"]), probability, list(table["group"]), resamples=RESAMPLES
    ).melanoma


def coarse(pixels: Tensor, masks: Tensor) -> Tensor:
    """As the coarsest set has them: brought down to `COARSE` pixels and back."""
    return resized(resized(pixels, COARSE), pixels.shape[-1])


def _each(change: Callable[[NDArray[np.uint8], NDArray[np.bool_]], NDArray[np.uint8]]) -> Change:
    """A change of one image (S, S, 3) and its mask (S, S), of a batch."""

    def changed(pixels: Tensor, masks: Tensor) -> Tensor:
        inside = F.interpolate(masks[:, None].float(), size=pixels.shape[-1], mode="bilinear")[:, 0] > 0.5
        images = pixels.permute(0, 2, 3, 1).byte().cpu().numpy()
        made = [change(image, mask) for image, mask in zip(images, inside.cpu().numpy(), strict=True)]
        return torch.as_tensor(np.stack(made)).to(pixels.device).permute(0, 3, 1, 2).float()

    return changed


def main() -> None:
    """Measure the ways that are named, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m recipes.dermoscopy.leave_one_out",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, help="folder of the sets; not read once RUN holds their pack")
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
