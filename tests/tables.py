"""Collections without files, for what needs only the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dermsentry.collection import COLUMNS, Collection


def table_collection(rows: Sequence[Mapping[str, str]], root: str = "nowhere") -> Collection:
    """A collection of which no file is ever opened; `path` is numbered where it is not given."""
    filled = [{"path": f"{i:04d}.jpg", "image_id": f"lesion{i:04d}x", **row} for i, row in enumerate(rows)]
    table = pd.DataFrame({column: [row.get(column, "") for row in filled] for column in COLUMNS}, dtype=str)
    return Collection(Path(root), table.sort_values("path", kind="stable", ignore_index=True))
