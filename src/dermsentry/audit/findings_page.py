"""`findings.html`: everything found, to be filtered and paged through, with its pictures in files beside it.

The list is in the page and a picture is read when its finding is shown, so that ten thousand findings open
as fast as ten. It needs no server.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from PIL import Image

from dermsentry.audit.findings import KINDS, Found
from dermsentry.audit.pictures import SIDE, Draw
from dermsentry.diagnoses import name_of
from dermsentry.files import write_bytes
from dermsentry.parallel import cores, map_ordered
from dermsentry.reporting.html import write_report

FOLDER = "findings"
MOST_PICTURES = 25_000
PER_FINDING = 6
"""Photographs of a finding that are drawn; all are named."""
_QUALITY = 82


def write_findings_page(found: Sequence[Found], draw: Draw, out: Path, *, name: str, synthetic: bool) -> None:
    """Write `findings.html`, and its pictures into `findings/`. Raises OutputError."""
    numbers: dict[str, int] = {}
    photographs: list[tuple[str, str, str]] = []
    for own in found:
        for one in own.photographs:
            if one.path not in numbers:
                numbers[one.path] = len(photographs)
                photographs.append((one.path, one.diagnosis, one.split))
    wanted = list(dict.fromkeys(_to_draw(found)))
    drawn = _draw(wanted[:MOST_PICTURES], numbers, draw, out / FOLDER)
    data = {
        "kinds": KINDS,
        "names": {label: name_of(label) for _, label, _ in photographs if label},
        "photographs": [(*one, number in drawn) for number, one in enumerate(photographs)],
        "findings": [(own.kind, own.told, [numbers[one.path] for one in own.photographs]) for own in found],
    }
    script = (files("dermsentry.reporting") / "templates" / "findings.js").read_text("utf-8")
    write_report(
        out / "findings.html",
        "findings.html",
        synthetic=synthetic,
        name=name,
        counts={kind: count for kind, count in _counts(found).items() if count},
        kinds=KINDS,
        # Within an element of a page: no tag can end in it.
        data=json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c"),
        not_drawn=max(0, len(wanted) - MOST_PICTURES),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _counts(found: Sequence[Found]) -> dict[str, int]:
    counted = Counter(own.kind for own in found)
    return {kind: counted[kind] for kind in KINDS}


def _to_draw(found: Sequence[Found]) -> Iterator[str]:
    """The photographs that are shown: of files with the same pixels, one."""
    for own in found:
        if own.kind != "unreadable":
            shown = 1 if own.kind == "identical" else PER_FINDING
            yield from (one.path for one in own.photographs[:shown])


def _draw(paths: Sequence[str], numbers: dict[str, int], draw: Draw, folder: Path) -> set[int]:
    """Write the pictures, those of an earlier audit removed; the numbers of those that could be read."""
    for old in folder.glob("*.jpg") if folder.is_dir() else ():
        if old.stem.isdecimal():
            old.unlink()

    def picture(path: str) -> bytes | None:
        pixels = draw(path, SIDE)
        if pixels is None:
            return None
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=_QUALITY)
        return buffer.getvalue()

    threads = cores()
    read = map_ordered(picture, paths, threads=threads, ahead=16 * threads)
    drawn = set()
    for path, data in zip(paths, read, strict=True):
        if data is not None:
            write_bytes(folder / f"{numbers[path]}.jpg", data)
            drawn.add(numbers[path])
    return drawn
