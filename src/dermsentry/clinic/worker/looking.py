"""What a page shows beyond what the worker drew: comparisons and tiles, made when first asked for and kept.

They are made in the process that files are screened in, one at a time, since a file is hostile here too.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from dermsentry.clinic.store.pictures import Pictures
from dermsentry.clinic.store.tables import Case
from dermsentry.clinic.worker.comparison import SIDE, Comparison, plain_change
from dermsentry.clinic.worker.screener import SIGNATURES, Screener
from dermsentry.files import to_json, write_bytes
from dermsentry.images import Unreadable

KEPT_S = 30 * 24 * 3600
"""Seconds after which what was made and not looked at since is removed."""
_MOST_CORNERS = 10_000
_MOST_TILE = 4 * 1024**2
_LOCK = Lock()


@dataclass(frozen=True)
class Looked:
    """A comparison, and where the second photograph is as seen where the first was taken."""

    comparison: Comparison
    registered: Path | None


def compare_cases(pictures: Pictures, bundle: Path, digest: str, first: Case, second: Case) -> Looked:
    """The comparison of two cases' photographs by a model (its folder and its card's digest).

    Raises
    ------
    Unreadable
        One of them cannot be read.
    BundleError
        The model was refused, or the network failed.
    """
    name = f"{second.sha256[:32]}.{digest[:32]}"
    told, picture = pictures.look(first.sha256, f"{name}.json"), pictures.look(first.sha256, f"{name}.jpg")
    with _LOCK:
        if not _used(told):
            files = [(str(pictures.original(own.sha256).absolute()), own.format) for own in (first, second)]
            with Screener(bundle) as screener:
                found, parts = screener.ask({"do": "compare", "files": files}, _compared)
            if parts:
                write_bytes(picture, parts["registered"])
            write_bytes(told, to_json(found).encode())
    found = json.loads(told.read_text(encoding="utf-8"))
    return Looked(_comparison(found), picture if _used(picture) else None)


def tiles_of(pictures: Pictures, bundle: Path, case: Case) -> Path:
    """The tiles of a case's photograph, as `tiles.draw_tiles` has them.

    Raises
    ------
    Unreadable
        It cannot be read.
    BundleError
        The model was refused.
    """
    path = pictures.look(case.sha256, "tiles.zip")
    with _LOCK:
        if not _used(path):
            asked = {
                "do": "tiles",
                "path": str(pictures.original(case.sha256).absolute()),
                "kind": case.format,
            }
            with Screener(bundle) as screener:
                write_bytes(path, screener.ask(asked, _tiled))
    return path


def read_tile(path: Path, name: str) -> bytes | None:
    """A tile of those that `tiles_of` gave; None where there is none of that name."""
    with zipfile.ZipFile(path) as file, contextlib.suppress(KeyError):
        kept = file.getinfo(name)
        if kept.compress_type == zipfile.ZIP_STORED and kept.file_size <= _MOST_TILE:
            data = file.read(kept)
            return data if data.startswith(SIGNATURES["view"]) else None
    return None


def forget_old_looks(pictures: Pictures) -> int:
    """Remove what nobody has looked at for 30 days; it is made again when asked for. How many files."""
    removed = 0
    for path in _files(pictures.folder / "looks"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > KEPT_S:
                path.unlink()
                removed += 1
    return removed


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.rglob("*") if path.is_file())


def _used(path: Path) -> bool:
    """Whether a file is there; it is kept for a while longer."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _compared(answer: dict[str, Any], parts: dict[str, bytes]) -> tuple[dict[str, Any], dict[str, bytes]]:
    if "reason" in answer:
        raise Unreadable(str(answer["reason"]))
    _comparison(answer["comparison"])
    registered = answer["comparison"]["matrix"] is not None
    if set(parts) != ({"registered"} if registered else set()):
        raise ValueError("a picture too many, or too few")
    if not all(data.startswith(SIGNATURES["view"]) for data in parts.values()):
        raise ValueError("no picture")
    return answer["comparison"], parts


def _tiled(answer: dict[str, Any], parts: dict[str, bytes]) -> bytes:
    if "reason" in answer:
        raise Unreadable(str(answer["reason"]))
    if not parts["tiles"].startswith(b"PK"):
        raise ValueError("no tiles")
    return parts["tiles"]


def _comparison(told: dict[str, Any]) -> Comparison:
    """A comparison as JSON has it. Raises ValueError, KeyError or TypeError where it is none."""
    matrix = told["matrix"] and [[_finite(value) for value in row] for row in told["matrix"]]
    outlines = [[[_finite(x), _finite(y)] for x, y in line] for line in told["outlines"]]
    if sum(len(line) for line in outlines) > _MOST_CORNERS:
        raise ValueError("no outlines")
    area, colour, lightness, melanoma = (
        plain_change(told[name]) for name in ("area", "colour", "lightness", "melanoma")
    )
    if melanoma is None:
        raise ValueError("no probability")
    return Comparison(matrix, _finite(told["agreement"]), area, colour, lightness, melanoma, outlines)


def _finite(value: Any) -> float:
    if not math.isfinite(value) or abs(value) > 100 * SIDE:
        raise ValueError("no number")
    return float(value)
