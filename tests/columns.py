"""A collection's table from columns."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from tables import table_collection


def table(**columns: Sequence[str]) -> pd.DataFrame:
    """A table with these columns, the others empty; ordered by path."""
    names = list(columns)
    rows = [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return table_collection(rows).table
