"""Checks of a bundle beyond its predictions: subgroups, corruptions, saliency, pictures without a lesion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.collection import Collection
from dermsentry.diagnoses import CODES, MELANOMA
from dermsentry.errors import InputError
from dermsentry.evaluation.predict import Predicted, choose_sample
from dermsentry.evaluation.refusal import Refusal, Refusals, measure_refusal, refusals
from dermsentry.evaluation.robustness.stability import Robustness, Step, measure_robustness
from dermsentry.evaluation.saliency.localisation import SaliencyCheck, check_saliency
from dermsentry.evaluation.saliency.masks import find_masks, read_mask
from dermsentry.evaluation.saliency.surround import Surroundings, measure_surroundings
from dermsentry.evaluation.subgroups.comparison import (
    Attribute,
    HardComparison,
    hard_comparison,
    subgroups,
)
from dermsentry.images import Pixels, Unreadable
from dermsentry.model import Bundle
from dermsentry.progress import track
from dermsentry.stats.resampling import Resampler

CORRUPTED = 400
"""Photographs, at most, that robustness is measured on: each is predicted about 150 times."""

CORRUPTED_RESAMPLES = 200
"""Bootstrap resamples of each of the many figures of robustness."""

EXPLAINED = 1000
"""Photographs, at most, whose saliency is compared with their masks."""

SCREENED = 2000
"""Photographs, at most, that are screened to see how many real lesions are refused."""


def by_subgroup(
    table: pd.DataFrame,
    probability: NDArray[np.float64],
    collection: Collection,
    threshold: float | None,
    resampler: Resampler,
    by: str | None,
    skin_tone: Sequence[float | None] | None = None,
) -> tuple[tuple[Attribute, ...], HardComparison | None]:
    """Melanoma's figures by what is known of its patients, by skin tone, and by the column `by`.

    And against the nevi that histology proved, where that is known.
    """
    known = collection.table.set_index("path").loc[list(table["path"])]
    labels = list(table["diagnosis"])
    hard = hard_comparison(known, labels, probability, resampler, threshold=threshold)
    compared = subgroups(
        known,
        labels,
        probability,
        resampler,
        threshold=threshold,
        skin_tone=skin_tone,
        by=by,
    )
    return compared, hard


def try_robustness(
    bundle: Bundle, seen: Predicted, threshold: float, resampler: Resampler, quiet: bool
) -> Robustness | None:
    """Test corruptions and repeat captures of the photographs that were kept; None where there are none."""
    if not len(seen.sample):
        return None

    def predict(pixels: Pixels) -> NDArray[Any]:
        return bundle.predict(pixels).probability

    def progress(steps: Sequence[Step]) -> Iterable[Step]:
        return track(steps, "Corrupting", total=len(steps), quiet=quiet)

    return measure_robustness(
        predict,
        seen.pixels,
        list(seen.table["diagnosis"].iloc[seen.sample]),
        replace(resampler.among(seen.sample), resamples=CORRUPTED_RESAMPLES),
        threshold=threshold,
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
    seen: Predicted, masks: Mapping[int, NDArray[np.bool_]], resampler: Resampler
) -> SaliencyCheck | None:
    """Compare the class activation that was kept with masks, by position; None where there are none."""
    if not len(seen.explained):
        return None
    return check_saliency(
        seen.activation,
        np.stack([masks[position] for position in seen.positions[seen.explained].tolist()]),
        list(seen.table["diagnosis"].iloc[seen.explained]),
        resampler.among(seen.explained),
        control=seen.control,
    )


def compare_surroundings(seen: Predicted, resampler: Resampler) -> Surroundings | None:
    """Compare images as they are, without their lesion and with nothing else; None without a mask."""
    if not len(seen.explained):
        return None
    return measure_surroundings(
        seen.probability[seen.explained, CODES.index(MELANOMA)],
        seen.painted_out,
        seen.alone,
        list(seen.table["diagnosis"].iloc[seen.explained]),
        resampler.among(seen.explained),
    )


def try_refusal(
    bundle: Bundle, collection: Collection, seen: Predicted, non_lesions: Refusals, resampler: Resampler
) -> Refusal:
    """What screening refuses of at most `SCREENED` photographs, and of pictures that show no lesion."""
    drawn = np.random.default_rng(resampler.seed).permutation(len(seen.table))[:SCREENED]
    rows = np.sort(drawn)
    lesions = refusals([collection.root / path for path in seen.table["path"].iloc[rows]], bundle)
    source = collection.table.set_index("path")["source"]
    sources = list(source.loc[list(seen.table["path"].iloc[rows])])
    return measure_refusal(lesions, non_lesions, resampler.among(rows), sources)
