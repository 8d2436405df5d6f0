"""The same photograph with two labels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pandas as pd

from dermsentry.collection.groups import DuplicateGroup, same_photographs
from dermsentry.diagnoses import agree


def find_conflicts(table: pd.DataFrame, duplicates: Sequence[DuplicateGroup]) -> list[tuple[str, ...]]:
    """The paths of each photograph whose copies carry labels that cannot all be true.

    Copies are identical, near-identical, or under one image id; `PBK|SK` and `SK` are no conflict.
    """
    label = dict(zip(table["path"], table["diagnosis"], strict=True))
    found = []
    for paths in same_photographs(table, duplicates):
        labels = sorted({label[path] for path in paths})
        if not all(agree(first, second) for first, second in combinations(labels, 2)):
            found.append(tuple(sorted(paths)))
    return sorted(found)
