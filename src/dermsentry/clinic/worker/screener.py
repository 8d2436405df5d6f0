"""Where photographs are decoded, screened and compared for the clinic: in a guarded process of its own."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dermsentry.clinic.worker.fingerprint import kept, take_fingerprint
from dermsentry.diagnoses import CODES
from dermsentry.files import plain
from dermsentry.guarded import MEMORY, TIME_S, Stopped
from dermsentry.image_formats import DICOM
from dermsentry.images import Photograph, Unreadable, read_photograph
from dermsentry.screening.guarded import PNG, Guarded, serve
from dermsentry.screening.triage import TIERS

if TYPE_CHECKING:
    from dermsentry.model import Bundle

MOST_EMBEDDED = 16 * 1024
"""Bytes of an embedding: more than any network here has."""
NOT_DERMOSCOPIC = "not a dermoscopic photograph, so not assessed by the model"
SIGNATURES = {"view": b"\xff\xd8\xff", "thumbnail": b"\xff\xd8\xff", "saliency": PNG}
VIEW, THUMBNAIL = 2048, 320
"""The longer side, in pixels, of what a browser is sent."""


@dataclass(frozen=True)
class Screening:
    """A finding as plain values, the size of the photograph, and the pictures drawn from it.

    `pictures` is empty and `width`, `height` are None where the photograph could not be read. `taken`: when,
    as its file says, ISO 8601. `embedding`: float16 values. `fingerprint`: as `worker.fingerprint` keeps it;
    empty where there is none.
    """

    finding: dict[str, Any]
    width: int | None
    height: int | None
    pictures: dict[str, bytes]
    taken: str = ""
    embedding: bytes = b""
    fingerprint: bytes = b""


class Screener(Guarded):
    """A process that holds a model; it is begun when first needed, and again after it had to be ended."""

    def __init__(self, bundle: Path, *, time_s: float = TIME_S, memory: int = MEMORY) -> None:
        super().__init__(bundle, time_s=time_s, memory=memory, module=__name__)
        self.base: Path | None = None

    def use(self, bundle: Path, base: Path) -> None:
        """Screen with another model from now on, which was made from the one at `base`."""
        self.close()
        self.bundle, self.base = bundle, base

    def screen(self, path: Path, kind: str, *, dermoscopic: bool = True) -> Screening:
        """Decode and screen one file, and draw what people see of it.

        A file that takes too long, or too much memory, has its finding too: unreadable, and why. One that is
        not `dermoscopic` is decoded and drawn, and not assessed.

        Raises
        ------
        BundleError
            The model was refused, or the network failed.
        """
        try:
            asked = {"path": str(path.absolute()), "kind": kind, "dermoscopic": dermoscopic}
            return self.ask({"do": "screen", **asked}, _checked)
        except Stopped as error:
            return Screening(unread(error.reason), None, None, {})

    def fingerprint(self, path: Path, kind: str) -> bytes:
        """The fingerprint of a file that was screened before; empty where it has none.

        Raises
        ------
        BundleError
            The model was refused.
        """
        try:
            return self.ask({"do": "fingerprint", "path": str(path.absolute()), "kind": kind}, _recognised)
        except Stopped:
            return b""


def unread(reason: str) -> dict[str, Any]:
    """The finding of a file that cannot be read, and why."""
    return {
        "tier": "unreadable",
        "melanoma": None,
        "probabilities": None,
        "no_lesion": None,
        "out_of_distribution": None,
        "quality": None,
        "reasons": [reason],
    }


def unassessed() -> dict[str, Any]:
    """The finding of a photograph that is not what the model learned from."""
    return {**unread(NOT_DERMOSCOPIC), "tier": "cannot-say"}


def _checked(answer: dict[str, Any], drawn: dict[str, bytes]) -> Screening:
    """What a process answered, if it is what one that no file took over would answer. Raises ValueError."""
    finding = answer["finding"]
    shares = finding["probabilities"]
    scores = [finding[name] for name in ("melanoma", "no_lesion", "out_of_distribution")]
    numbers = [*scores, *(shares or {}).values()]
    sizes = (answer["width"], answer["height"])
    taken, embedding = answer["taken"], drawn.pop("embedding", b"")
    fingerprint = drawn.pop("fingerprint", b"")
    right = (
        set(finding) == set(unread(""))
        and finding["tier"] in TIERS
        and (shares is None or set(shares) == set(CODES))
        and all(number is None or (type(number) is float and 0 <= number <= 1) for number in numbers)
        and (finding["melanoma"] is None) == (shares is None)
        and (shares is None) == (finding["tier"] == "unreadable" or finding == unassessed())
        and isinstance(finding["quality"], dict | None)
        and all(isinstance(reason, str) for reason in finding["reasons"])
        and all(size is None or (type(size) is int and 0 < size < 10**6) for size in sizes)
        and all(data.startswith(SIGNATURES[kind]) for kind, data in drawn.items())
        and (taken == "" or datetime.fromisoformat(taken).isoformat() == taken)
        and len(embedding) <= MOST_EMBEDDED
    )
    if not right:
        raise ValueError("no finding")
    return Screening(finding, *sizes, drawn, taken, embedding, fingerprint and kept(fingerprint))


def _recognised(_: dict[str, Any], parts: dict[str, bytes]) -> bytes:
    found = parts.get("fingerprint", b"")
    return found and kept(found)


def _screen(asked: Mapping[str, Any], bundle: Bundle) -> tuple[dict[str, Any], dict[str, bytes]]:
    import cv2

    from dermsentry.screening.inference import screen_photograph

    try:
        photograph = _decode(Path(asked["path"]), asked["kind"])
        screened = screen_photograph(photograph, bundle, saliency=True) if asked["dermoscopic"] else None
        drawn = {"view": _jpeg(photograph, VIEW), "thumbnail": _jpeg(photograph, THUMBNAIL)}
    except (Unreadable, MemoryError) as error:
        reason = error.reason if isinstance(error, Unreadable) else "too large to decode"
        return {"finding": unread(reason), "width": None, "height": None, "taken": ""}, {}
    with contextlib.suppress(cv2.error, MemoryError):  # there is a finding all the same
        drawn["fingerprint"] = take_fingerprint(photograph.pixels)
    finding = unassessed()
    if screened is not None:
        if screened.saliency is not None:
            drawn["saliency"] = screened.saliency
        if screened.embedding is not None:
            drawn["embedding"] = screened.embedding.astype(np.float16).tobytes()[:MOST_EMBEDDED]
        finding = {name: value for name, value in plain(screened.finding).items() if name in unread("")}
    size = {"width": photograph.width, "height": photograph.height}
    return {"finding": finding, **size, "taken": photograph.taken}, drawn


def _compare(asked: Mapping[str, Any], bundle: Bundle) -> tuple[dict[str, Any], dict[str, bytes]]:
    from dermsentry.clinic.worker.comparing import compare_photographs

    try:
        first, second = (_decode(Path(path), kind) for path, kind in asked["files"])
        found, seen = compare_photographs(first, second, bundle)
    except (Unreadable, MemoryError) as error:
        return {"reason": error.reason if isinstance(error, Unreadable) else "too large to decode"}, {}
    drawn = {} if seen is None else {"registered": _encoded(Image.fromarray(seen))}
    return {"comparison": plain(found)}, drawn


def _tile(asked: Mapping[str, Any], bundle: Bundle) -> tuple[dict[str, Any], dict[str, bytes]]:
    from dermsentry.clinic.worker.tiles import draw_tiles

    try:
        photograph = _decode(Path(asked["path"]), asked["kind"])
        return {"width": photograph.width, "height": photograph.height}, {
            "tiles": draw_tiles(photograph.pixels)
        }
    except (Unreadable, MemoryError) as error:
        return {"reason": error.reason if isinstance(error, Unreadable) else "too large to decode"}, {}


def _take_fingerprint(asked: Mapping[str, Any], bundle: Bundle) -> tuple[dict[str, Any], dict[str, bytes]]:
    import cv2

    with contextlib.suppress(Unreadable, MemoryError, cv2.error):
        return {}, {"fingerprint": take_fingerprint(_decode(Path(asked["path"]), asked["kind"]).pixels)}
    return {}, {}


_DO = {"screen": _screen, "compare": _compare, "tiles": _tile, "fingerprint": _take_fingerprint}
"""What the process can be asked to do."""


def _decode(path: Path, kind: str) -> Photograph:
    if kind == DICOM:
        from dermsentry.dicom.files import read_dicom

        return read_dicom(path)
    return read_photograph(path)


def _jpeg(photograph: Photograph, side: int) -> bytes:
    """The photograph re-encoded, without anything else that its file held; its longer side at most `side`."""
    image = Image.fromarray(photograph.pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return _encoded(image)


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


if __name__ == "__main__":
    importlib.import_module("dermsentry.audit.likeness.keypoints")  # OpenCV, before memory is limited
    serve(_DO, int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
