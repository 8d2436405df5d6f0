"""What photographs show, and whether their labels fit it, as far as a model can tell.

`evaluation/content.py` has the model look; here is what follows from what it saw.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dermsentry.stats.logistic import Rows

Floats = NDArray[np.float64]

Kind = Literal["no lesion", "out of focus", "light", "false colours", "too small", "label", "outlier"]
KINDS: dict[Kind, str] = {
    "no lesion": "No lesion",
    "out of focus": "Out of focus",
    "light": "Too dark, too bright or washed out",
    "false colours": "False colours",
    "too small": "Too small",
    "label": "Probably a wrong label",
    "outlier": "Unlike the others",
}
"""What is found, in the order of the gallery."""

FEWEST = 5
"""Photographs of a class from which a threshold of confidence is worth anything."""
NEIGHBOURS = 5
FEWEST_COMPARED = 4 * NEIGHBOURS
"""Photographs from which it is told which of them are far from others."""
COMPARED = 20_000
"""Photographs at most, drawn at random, that each is compared with to see how far it is from others."""
_AT_ONCE = 512  # that are compared with these at once
FAR_OUT = 3.0
"""Interquartile ranges above the third quartile: Tukey's far out (Exploratory Data Analysis, 1977)."""


@dataclass(frozen=True)
class ContentFinding:
    """Something that a model, or a measurement, found on one photograph.

    Attributes
    ----------
    path, diagnosis
        The photograph and its label.
    kind
        One of `KINDS`.
    told
        What was found, in words.
    suggested
        Of a probably wrong label: the label that is more probable.
    own, other
        The probabilities of its label and of the suggested one.
    learned
        Whether the model's network learned from this photograph, with a label of it.
    """

    path: str
    diagnosis: str
    kind: Kind
    told: str
    suggested: str = ""
    own: float | None = None
    other: float | None = None
    learned: bool = False


@dataclass(frozen=True)
class Content:
    """What a model found on the photographs of a collection.

    Attributes
    ----------
    model
        Its name and digest.
    photographs
        How many could be read.
    learned
        How many of them the model learned from, by id, lesion, patient or look; None where it does not say.
    by_model
        Labels that were compared with the model's own probabilities: it did not learn from these
        photographs, and they are like those that it learned from.
    by_probe
        Labels that were compared with those of a linear probe on the model's embeddings, cross-validated over
        groups: of the others.
    agreeing
        Of all that were compared, how many have the most probable class as their label.
    unlike
        Photographs of a lesion unlike those that the model learned from.
    findings
        By kind, the most striking first.
    """

    derived: ClassVar[tuple[str, ...]] = ("counts",)

    model: str
    photographs: int
    learned: int | None
    by_model: int
    by_probe: int
    agreeing: int
    unlike: int
    findings: tuple[ContentFinding, ...]

    @property
    def counts(self) -> dict[Kind, int]:
        """How many photographs there are of each kind of finding."""
        found = Counter(finding.kind for finding in self.findings)
        return {kind: found[kind] for kind in KINDS if found[kind]}


def label_issues(probability: Floats, allowed: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Rows whose label is probably wrong, with the more probable class, the surest first.

    Confident learning (Northcutt, Jiang and Chuang, JAIR 70, 2021): a photograph counts as of a class if that
    has at least the mean probability that it has among those labelled so, and is the most probable of such
    classes. Off the diagonal of labels against these counts are the probably wrong ones. Here it must be
    more probable than the label, too.

    Parameters
    ----------
    probability
        (n, classes), of photographs whose label these were not learned from.
    allowed
        (n, classes), the classes that each label may stand for; none where it is not known.
    """
    single = allowed.sum(axis=1) == 1
    given = np.where(single, allowed.argmax(axis=1), -1)
    threshold = np.full(probability.shape[1], np.inf)
    for k in range(probability.shape[1]):
        if (given == k).sum() >= FEWEST:
            threshold[k] = probability[given == k, k].mean()
    confident = np.where(probability >= threshold, probability, -1.0)
    counted, every = confident.argmax(axis=1), np.arange(len(probability))
    own, other = (probability * allowed).sum(axis=1), probability[every, counted]
    wrong = allowed.any(axis=1) & (confident.max(axis=1) >= 0) & ~allowed[every, counted] & (other > own)
    rows = np.flatnonzero(wrong)
    return [(int(i), int(counted[i])) for i in rows[np.argsort(own[rows] - other[rows], kind="stable")]]


class Neighbours:
    """How far photographs are from their nearest others of other groups.

    Of more than `COMPARED` photographs, the nearest are among so many, drawn at random from `seed`.

    Parameters
    ----------
    embeddings
        Of n photographs.
    groups
        A number for each photograph, (n,).
    """

    def __init__(self, embeddings: Rows, groups: NDArray[np.int64], seed: int = 0) -> None:
        self._embeddings, self._groups = embeddings, groups
        others = np.sort(np.random.default_rng(seed).permutation(len(groups))[:COMPARED])
        self._compared, self._theirs = _directions(embeddings[others]), groups[others]

    def distances(self, start: int, stop: int) -> Floats:
        """The mean distance of each one's direction to those of its nearest five, from `start` to `stop`."""
        found = np.empty(stop - start)
        for first in range(start, stop, _AT_ONCE):
            rows = slice(first, min(first + _AT_ONCE, stop))
            near = _directions(self._embeddings[rows]) @ self._compared.T
            near[self._groups[rows, None] == self._theirs[None, :]] = -1.0
            nearest = np.partition(near, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:]
            away = np.sqrt(np.maximum(2 - 2 * nearest, 0)).mean(axis=1)
            found[first - start : rows.stop - start] = away
        return found


def far_out(distances: Floats) -> list[int]:
    """Rows whose nearest others are beyond Tukey's outer fence, the furthest first."""
    if len(distances) < FEWEST_COMPARED:
        return []
    low, high = np.quantile(distances, (0.25, 0.75))
    far = np.flatnonzero(distances > high + FAR_OUT * (high - low))
    return [int(i) for i in far[np.argsort(-distances[far], kind="stable")]]


def _directions(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Unit vectors."""
    unit = np.asarray(vectors, np.float32)
    return np.asarray(unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12), np.float32)
