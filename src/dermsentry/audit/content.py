"""What photographs show, and whether their labels fit it, as far as a model can tell.

`evaluation/content.py` has the model look; here is what follows from what it saw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

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
COMPARED = 20_000
"""Photographs at most, drawn at random, that each is compared with to see how far it is from others."""
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


def far_out(embeddings: NDArray[Any], groups: Sequence[str], seed: int = 0) -> list[int]:
    """Rows whose nearest others are far further than usual, the furthest first.

    The mean distance of directions to the nearest photographs of other groups, beyond Tukey's outer fence. Of
    more than `COMPARED` photographs, the nearest are among so many, drawn at random from `seed`.
    """
    n = len(embeddings)
    if n < 4 * NEIGHBOURS:
        return []
    unit = np.asarray(embeddings, np.float32)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    distance = np.empty(n)
    others = np.sort(np.random.default_rng(seed).permutation(n)[:COMPARED])
    compared, theirs = unit[others], group[others]
    for start in range(0, n, 512):
        rows = slice(start, min(start + 512, n))
        near = unit[rows] @ compared.T
        near[group[rows, None] == theirs[None, :]] = -1.0
        nearest = np.partition(near, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:]
        distance[rows] = np.sqrt(np.maximum(2 - 2 * nearest, 0)).mean(axis=1)
    low, high = np.quantile(distance, (0.25, 0.75))
    far = np.flatnonzero(distance > high + FAR_OUT * (high - low))
    return [int(i) for i in far[np.argsort(-distance[far], kind="stable")]]
