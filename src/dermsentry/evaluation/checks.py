"""Checks of a bundle beyond its predictions: subgroups, corruptions, saliency, pictures without a lesion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.collection import Collection
from dermsentry.errors import InputError
from dermsentry.evaluation.predict import Seen, choose_sample
from dermsentry.evaluation.refusal import Refusal, Refusals, measure_refusal, refusals
from dermsentry.evaluation.robustness.measurement import Robustness, Step, measure_robustness
from dermsentry.evaluation.saliency.localisation import ExplanationCheck, check_explanations
from dermsentry.evaluation.saliency.masks import find_masks, read_mask
from dermsentry.evaluation.subgroups.attributes import Attribute, subgroups
from dermsentry.images import Pixels, Unreadable
from dermsentry.model import Bundle
from dermsentry.progress import track

CORRUPTED = 400
"""Photographs, at most, that robustness is measured on: each is predicted some hundred and fifty times."""

EXPLAINED = 1000
"""Photographs, at most, whose saliency is compared with their masks."""

SCREENED = 2000
"""Photographs, at most, that are screened to see how many real lesions are refused."""


def by_subgroup(
    seen: Seen, collection: Collection, threshold: float, resamples: int, seed: int
) -> tuple[Attribute, ...]:
    """Melanoma's figures by what the collection knows of its patients, and by skin tone."""
    known = collection.table.set_index("path").loc[list(seen.table["path"])]
    return subgroups(
        known,
        list(seen.table["diagnosis"]),
        seen.probability,
        list(seen.table["group"]),
        threshold=threshold,
        skin_tone=seen.skin_tone,
        seed=seed,
        resamples=resamples,
    )


def try_worse(bundle: Bundle, seen: Seen, threshold: float, seed: int, quiet: bool) -> Robustness | None:
    """Corrupt the photographs that were kept and take them again; None where there are none."""
    if not len(seen.sample):
        return None
    rows = seen.table.iloc[seen.sample]

    def predict(pixels: Pixels) -> NDArray[Any]:
        return bundle.predict(pixels).probability

    def progress(steps: Sequence[Step]) -> Iterable[Step]:
        return track(steps, "Corrupting", total=len(steps), quiet=quiet)

    return measure_robustness(
        predict,
        seen.pixels,
        list(rows["diagnosis"]),
        list(rows["group"]),
        threshold=threshold,
        seed=seed,
        progress=progress,
    )


def sample_masks(
    folder: Path, bundle: Bundle, collection: Collection, table: pd.DataFrame, seed: int
) -> dict[int, NDArray[np.bool_]]:
    """The masks of at most `EXPLAINED` photographs that have one, by the photograph's position in `table`.

    Raises InputError if no photograph has one, or one cannot be read.
    """
    ids = list(collection.table.set_index("path")["image_id"].loc[list(table["path"])])
    found = find_masks(folder, ids)
    with_mask = [label if own in found else "" for own, label in zip(ids, table["diagnosis"], strict=True)]
    masks = {}
    for row in sorted(choose_sample(with_mask, EXPLAINED, seed)):
        try:
            masks[row] = read_mask(found[ids[row]], bundle.card.size, bundle.card.aspect)
        except Unreadable as unreadable:
            raise InputError(
                f"The mask {found[ids[row]]} cannot be read: {unreadable.reason}; replace or remove it."
            ) from None
    return masks


def compare_saliency(
    seen: Seen, masks: Mapping[int, NDArray[np.bool_]], resamples: int, seed: int
) -> ExplanationCheck | None:
    """Compare the class activation that was kept with masks, by position; None where there are none."""
    if not len(seen.explained):
        return None
    rows = seen.table.iloc[seen.explained]
    return check_explanations(
        seen.activation,
        np.stack([masks[position] for position in seen.positions[seen.explained].tolist()]),
        list(rows["diagnosis"]),
        list(rows["group"]),
        control=seen.control,
        seed=seed,
        resamples=resamples,
    )


def try_strange(
    bundle: Bundle, collection: Collection, seen: Seen, strange: Refusals, resamples: int, seed: int
) -> Refusal:
    """Compare what screening refuses of at most `SCREENED` photographs with what of strange pictures."""
    drawn = np.random.default_rng(seed).permutation(len(seen.table))[:SCREENED]
    rows = seen.table.iloc[np.sort(drawn)]
    known = refusals([collection.root / path for path in rows["path"]], bundle)
    return measure_refusal(known, strange, list(rows["group"]), seed=seed, resamples=resamples)
