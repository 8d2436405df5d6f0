"""How a lesion compares with the same patient's others: the "ugly duckling" (Grob and Bonerandi, 1998).

A patient's nevi resemble each other; what does not resemble them deserves a look. Here that is said of what
one model made of the photographs: its probability of melanoma, and how far its embedding of a lesion is from
the mean of the others'. It describes; no tier depends on it, and it was evaluated on no patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
LEAST = 4
"""Lesions from which comparing says anything."""


@dataclass(frozen=True)
class Standing:
    """How a lesion compares: places from 1, the highest probability and the greatest distance first.

    `distance`: cosine distance, 0 to 2, of its embedding from the mean direction of the others', and `ratio`
    that by the median of the patient's lesions; None where some embedding is missing, as of cases of earlier
    versions.
    """

    of: int
    probability_place: int
    distance: float | None
    ratio: float | None
    distance_place: int | None

    @property
    def stands_out(self) -> bool:
        """Whether it is the most probable melanoma of all, and the least like the others too."""
        return self.probability_place == 1 and self.distance_place == 1


def compare_lesions(melanoma: Mapping[str, float], embeddings: Mapping[str, Floats]) -> dict[str, Standing]:
    """How each lesion compares with the others; empty for fewer than four.

    Parameters
    ----------
    melanoma
        The probability of melanoma of each lesion, by its name, of one model.
    embeddings
        That model's embedding (d,) of each; distances are left out unless every lesion has one.
    """
    names = list(melanoma)
    if len(names) < LEAST:
        return {}
    away: dict[str, float] = {}
    if all(name in embeddings for name in names):
        vectors = np.stack([embeddings[name].astype(np.float64) for name in names])
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        others = vectors.sum(axis=0) - vectors
        others /= np.maximum(np.linalg.norm(others, axis=1, keepdims=True), 1e-12)
        away = dict(zip(names, (1 - (vectors * others).sum(axis=1)).clip(0, 2).tolist(), strict=True))
    median = float(np.median(list(away.values()))) if away else 0.0
    return {
        name: Standing(
            len(names),
            1 + sum(other > melanoma[name] for other in melanoma.values()),
            away.get(name),
            away[name] / median if median > 0 else None,
            1 + sum(other > away[name] for other in away.values()) if away else None,
        )
        for name in names
    }
