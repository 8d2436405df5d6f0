"""Small folders of photographs, and what a collection says of them."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from dermsentry.collection import Collection


def photograph() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (200, 150, 130)).save(buffer, "PNG")
    return buffer.getvalue()


def put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(photograph())


def rows(collection: Collection, *columns: str) -> list[tuple[str, ...]]:
    return [tuple(row) for row in collection.table[list(columns)].to_numpy()]
