"""How often the class that was called is one that the label allows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dermsentry.diagnoses import codes_of


def is_right(called: Iterable[str], labels: Sequence[str]) -> NDArray[np.bool_]:
    """Where the code that was called is a candidate of the label, (N,)."""
    return np.array([code in codes_of(label) for code, label in zip(called, labels, strict=True)], dtype=bool)


def mean_recall(right: NDArray[np.bool_], labels: Sequence[str]) -> float:
    """The mean over labels of the share that is right, from (N,)."""
    names = np.asarray(labels)
    return float(np.mean([right[names == name].mean() for name in np.unique(names)]))
