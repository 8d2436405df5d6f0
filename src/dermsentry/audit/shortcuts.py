"""How well the diagnosis can be predicted from what is not the lesion."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.audit.kept import SURROUND
from dermsentry.audit.survey import Survey
from dermsentry.collection.groups import original_id
from dermsentry.diagnoses import MELANOMA, codes_of, label_space
from dermsentry.stats.metrics import roc_auc_score

_Matrix = NDArray[np.float64]

ID_NUMBER = "id number"
_FAMILIES: dict[str, tuple[str, ...]] = {
    "picture size": ("width", "height"),
    "border and vignette": ("corner darkness", "edge darkness", "rim contrast"),
    "colour of the rim": ("rim red", "rim green", "rim blue"),
    "JPEG compression": ("quantisation",),
    "range of image ids": (ID_NUMBER,),
}
VISIBLE = "all that a picture shows"
EVERYTHING = "all of these together"

_FOLDS, _BINS, _ID_BINS = 5, 12, 40
_SHUFFLES = 60
_CLEAR = 3.0  # standard deviations
_MOST = 800  # photographs of a class; all classes count alike, so more of one tells little
_FEWEST = _FOLDS  # photographs that a class needs to be in every fold
_RIDGE = 0.02
_DIRECTIONS = 64  # principal components of features that a probe looks at


@dataclass(frozen=True)
class Shortcut:
    """What a classifier that sees no lesion reaches, by cross-validation.

    Attributes
    ----------
    family, columns
        What it was given, such as `picture size`, and the features in that.
    photographs
        How many it was trained and tested on.
    balanced_accuracy
        Mean recall over the classes; `by_class` has each one's.
    chance, chance_high
        Mean and 95th percentile of the same with shuffled labels, `shuffles` times.
    p_value
        Share of shuffles, and of the measurement itself, that reach `balanced_accuracy`.
    melanoma_auroc
        Melanoma against the rest, None where there is no melanoma.
    tells
        Whether that is above chance: above every shuffle, and three standard deviations above their mean.
    """

    family: str
    columns: tuple[str, ...]
    photographs: int
    balanced_accuracy: float
    chance: float
    chance_high: float
    p_value: float
    melanoma_auroc: float | None
    by_class: dict[str, float]
    tells: bool
    shuffles: int = _SHUFFLES


def find_shortcuts(
    table: pd.DataFrame, survey: Survey, groups: Sequence[str], *, seed: int = 0
) -> tuple[Shortcut, ...]:
    """Predict the diagnosis from each family of features around the lesion, and from several together.

    Features are cut into quantile bins; the classifier is regularised linear discriminant analysis with equal
    priors (Hastie, Tibshirani and Friedman, *The Elements of Statistical Learning*, 4.3), in five stratified
    folds. Chance is what the same gives on labels shuffled within each fold.

    Parameters
    ----------
    table
        The photographs of a collection whose labels are not in conflict.
    survey
        What was measured around their lesions.
    groups
        The group of each row. One photograph represents each, so that no fold is tested on copies.
    seed
        Random seed.

    Returns
    -------
    tuple of Shortcut
        The families in a fixed order, without those of which the collection has only one value,
        then `VISIBLE` and `EVERYTHING` where they are more than one family; nothing where fewer than two
        classes have five photographs.
    """
    chosen = _one_of_each(table, survey, groups, seed)
    space = label_space(table["diagnosis"].iloc[chosen])
    truth = np.array([_class_of(label, space) for label in table["diagnosis"].iloc[chosen]], dtype=np.int64)
    counts = np.bincount(truth, minlength=len(space)) if len(truth) else np.zeros(len(space), np.int64)
    kept = counts[truth] >= _FEWEST if len(truth) else np.zeros(0, bool)
    chosen, truth = chosen[kept], truth[kept]
    classes = [space[k] for k in np.unique(truth)]
    if len(classes) < 2:
        return ()
    truth = np.unique(truth, return_inverse=True)[1]
    columns = _columns(table.iloc[chosen], survey, list(table["path"].iloc[chosen]))
    folds, shuffled = _folds_and_shuffles(truth, seed)
    families = {
        family: used
        for family, names in _FAMILIES.items()
        if (used := tuple(name for name in names if name in columns and np.ptp(columns[name]) > 0))
    }
    seen = tuple(name for names in families.values() for name in names if name != ID_NUMBER)
    if sum(ID_NUMBER not in names for names in families.values()) > 1:
        families[VISIBLE] = seen
    if ID_NUMBER in columns and seen:
        families[EVERYTHING] = (*seen, ID_NUMBER)
    found = []
    for family, names in families.items():
        design = np.hstack(
            [_binned(columns[name], _ID_BINS if name == ID_NUMBER else _BINS) for name in names]
        )
        found.append(_measure(family, names, design, shuffled, folds, classes))
    return tuple(found)


def probe(features: _Matrix, labels: Sequence[str], *, family: str, seed: int = 0) -> Shortcut:
    """How well labels can be predicted from features, such as the archive from a network's embedding.

    The same classifier as in `find_shortcuts`, on the `_DIRECTIONS` leading principal components, each of
    variance one.

    Parameters
    ----------
    features
        (n, p), a row per photograph, one photograph per group.
    labels
        What is to be predicted, n of them; those of fewer than five photographs are left out.
    family
        What the features are, in words.
    seed
        Random seed.

    Raises
    ------
    ValueError
        Fewer than two labels are left.
    """
    names, which, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    kept = counts[which] >= _FEWEST
    classes = [str(name) for name, count in zip(names, counts, strict=True) if count >= _FEWEST]
    if len(classes) < 2:
        raise ValueError(f"Received {len(classes)} labels with {_FEWEST} photographs; expected at least two")
    truth = np.unique(which[kept], return_inverse=True)[1]
    centred = np.asarray(features, dtype=np.float64)[kept]
    centred = centred - centred.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    used = min(_DIRECTIONS, int((size > 1e-9 * size[0]).sum()) if size[0] > 0 else 1)
    design = left[:, :used] * np.sqrt(len(centred))
    folds, shuffled = _folds_and_shuffles(truth, seed)
    return _measure(family, (f"{used} directions",), design, shuffled, folds, classes)


def _one_of_each(table: pd.DataFrame, survey: Survey, groups: Sequence[str], seed: int) -> NDArray[np.int64]:
    """Rows of `table`: a readable, labelled photograph of each group, at most `_MOST` of a label."""
    readable = set(survey.paths)
    first: dict[str, int] = {}
    rows = zip(table["path"], table["diagnosis"], groups, strict=True)
    for row, (path, diagnosis, group) in enumerate(rows):
        if diagnosis and path in readable:
            first.setdefault(group, row)
    chosen = np.array(sorted(first.values()), dtype=np.int64)
    order = np.random.default_rng(seed).permutation(chosen)
    labels = table["diagnosis"].iloc[order]
    return np.sort(order[(labels.groupby(labels.to_numpy()).cumcount() < _MOST).to_numpy()])


def _class_of(label: str, space: Sequence[str]) -> int:
    code = codes_of(label)[0]
    return next(k for k, name in enumerate(space) if code in codes_of(name))


def _columns(table: pd.DataFrame, survey: Survey, paths: list[str]) -> dict[str, _Matrix]:
    """Column name to its values (n,) for `paths`."""
    row = {path: i for i, path in enumerate(survey.paths)}
    surround = survey.surround[[row[path] for path in paths]].astype(np.float64)
    columns = {name: surround[:, k] for k, name in enumerate(SURROUND)}
    numbers = [re.search(r"(\d{4,})\D*$", original_id(image_id)) for image_id in table["image_id"]]
    if all(numbers):
        columns[ID_NUMBER] = np.array([float(found[1][:15]) for found in numbers if found])
    return columns


def _binned(values: _Matrix, bins: int) -> _Matrix:
    """One-hot columns (n, ≤ bins) of the quantile that each value is in; few distinct values get one each."""
    distinct = np.unique(values)
    if len(distinct) <= bins:
        which = np.searchsorted(distinct, values)
    else:
        edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
        which = np.searchsorted(edges, values, side="right")
    return np.eye(int(which.max()) + 1)[which]


def _folds_and_shuffles(truth: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A fold for each row, (n,), and the labels with their shuffles below them, (1 + shuffles, n).

    Labels are shuffled within each fold: over all of them, a class that is common in a fold would be rare in
    what that fold is predicted from, which is less than chance the fewer photographs there are.
    """
    rng = np.random.default_rng(seed)
    folds = _folds(truth, rng)
    shuffled = np.tile(truth, (1 + _SHUFFLES, 1))
    for fold in range(_FOLDS):
        here = folds == fold
        shuffled[1:, here] = rng.permuted(shuffled[1:, here], axis=1)
    return folds, shuffled


def _folds(truth: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A fold (n,) for each row, every class dealt out evenly."""
    folds = np.empty(len(truth), np.int64)
    for label in np.unique(truth):
        rows = np.flatnonzero(truth == label)
        folds[rng.permutation(rows)] = np.arange(len(rows)) % _FOLDS
    return folds


def _measure(
    family: str,
    names: tuple[str, ...],
    design: _Matrix,
    labels: NDArray[np.int64],
    folds: NDArray[np.int64],
    classes: Sequence[str],
) -> Shortcut:
    """Cross-validate on `labels` (1 + shuffles, n), the true ones first."""
    count = len(classes)
    scores = np.empty((len(labels), labels.shape[1], count))
    for fold in range(_FOLDS):
        train, held = folds != fold, folds == fold
        x = design[train] - design[train].mean(axis=0)
        seen = design[held] - design[train].mean(axis=0)
        scores[:, held] = _discriminate(x, labels[:, train], seen, count)
    guesses = scores.argmax(axis=2)
    recalls = np.stack(
        [((guesses == k) & (labels == k)).sum(axis=1) / (labels == k).sum(axis=1) for k in range(count)]
    )
    melanoma = None
    if MELANOMA in classes:
        place = classes.index(MELANOMA)
        likely = np.exp(scores[0] - scores[0].max(axis=1, keepdims=True))
        melanoma = float(roc_auc_score(labels[0] == place, likely[:, place] / likely.sum(axis=1)))
    reached = recalls.mean(axis=0)
    measured, chance = float(reached[0]), reached[1:]
    return Shortcut(
        family=family,
        columns=names,
        photographs=labels.shape[1],
        balanced_accuracy=measured,
        chance=float(chance.mean()),
        chance_high=float(np.quantile(chance, 0.95)),
        p_value=float((1 + (chance >= measured).sum()) / (1 + len(chance))),
        melanoma_auroc=melanoma,
        by_class=dict(zip(classes, recalls[:, 0].tolist(), strict=True)),
        tells=bool(measured > chance.max() and measured > chance.mean() + _CLEAR * chance.std()),
    )


def _discriminate(x: _Matrix, truths: NDArray[np.int64], seen: _Matrix, count: int) -> _Matrix:
    """Log-likelihoods (r, m, count), up to a constant, of `seen` (m, p), learnt from `x` (n, p) r times.

    `truths` (r, n) are the classes each time. Every class counts alike, however rare.
    """
    members = np.eye(count)[truths].transpose(0, 2, 1)
    sizes = np.maximum(members.sum(axis=2), 1)
    means = (members.reshape(-1, len(x)) @ x).reshape(len(truths), count, -1) / sizes[:, :, None]
    # The scatter within the classes is the total less that between them, which has rank `count`: one large
    # inverse serves every shuffle (Woodbury's identity).
    inverse = np.linalg.inv(x.T @ x / len(x) + _RIDGE * np.eye(x.shape[1]))
    lifted = (means.reshape(-1, x.shape[1]) @ inverse).reshape(means.shape).transpose(0, 2, 1)
    between = (sizes / len(x))[:, :, None] * (means @ lifted)
    directions = lifted @ np.linalg.inv(np.eye(count) - between)
    halves = 0.5 * np.einsum("rcp,rpc->rc", means, directions)
    return np.asarray(seen @ directions - halves[:, None, :])
