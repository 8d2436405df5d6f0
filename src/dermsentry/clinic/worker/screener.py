"""Where photographs are decoded, screened and compared: a process of its own, with limits on memory and time.

A file is hostile. Whatever its decoder does ends with this process, never with the worker or the server.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from dermsentry.diagnoses import CODES
from dermsentry.errors import BundleError
from dermsentry.files import plain
from dermsentry.image_formats import DICOM
from dermsentry.images import Photograph, Unreadable, read_photograph
from dermsentry.screening.triage import TIERS

if TYPE_CHECKING:
    from dermsentry.model import Bundle

T = TypeVar("T")

MEMORY = 3 * 1024**3
"""Bytes of address space beyond what the process has once its model is open."""
TIME_S = 30.0
START_S = 60.0
TRIES = 2
"""A process that ended may have been ended by someone; a second one was ended by the photograph."""
MOST_ANSWERED = 64 * 1024**2
MOST_EMBEDDED = 16 * 1024
"""Bytes of an embedding: more than any network here has."""
SIGNATURES = {"view": b"\xff\xd8\xff", "thumbnail": b"\xff\xd8\xff", "saliency": b"\x89PNG\r\n\x1a\n"}
VIEW, THUMBNAIL = 2048, 320
"""The longer side, in pixels, of what a browser is sent."""


@dataclass(frozen=True)
class Screening:
    """A finding as plain values, the size of the photograph, and the pictures drawn from it.

    `pictures` is empty and `width`, `height` are None where the photograph could not be read. `taken`: when,
    as its file says, ISO 8601. `embedding`: float16 values.
    """

    finding: dict[str, Any]
    width: int | None
    height: int | None
    pictures: dict[str, bytes]
    taken: str = ""
    embedding: bytes = b""


class Stopped(Exception):
    """What was asked of the process could not be done; `reason` says why, in words for a person."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Screener:
    """A process that holds a model; it is begun when first needed, and again after it had to be ended.

    It answers in JSON and plain bytes, so that a file which took it over could not take over this process.
    """

    def __init__(self, bundle: Path, *, time_s: float = TIME_S, memory: int = MEMORY) -> None:
        self.bundle, self.time_s, self.memory = bundle, time_s, memory
        self.base: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def use(self, bundle: Path, base: Path) -> None:
        """Screen with another model from now on, which was made from the one at `base`."""
        self.close()
        self.bundle, self.base = bundle, base

    def screen(self, path: Path, kind: str) -> Screening:
        """Decode and screen one file, and draw what people see of it.

        A file that takes too long, or too much memory, has its finding too: unreadable, and why.

        Raises
        ------
        BundleError
            The model was refused, or the network failed.
        """
        try:
            return self.ask({"do": "screen", "path": str(path.absolute()), "kind": kind}, _checked)
        except Stopped as error:
            return Screening(unread(error.reason), None, None, {})

    def ask(self, asked: Mapping[str, Any], checked: Callable[[dict[str, Any], dict[str, bytes]], T]) -> T:
        """Have the process do something with files; what `checked` makes of its answer.

        `checked` raises ValueError, TypeError or KeyError for what no process would answer that is itself.

        Raises
        ------
        Stopped
            A file took too long, too much memory, or the process over.
        BundleError
            The model was refused, or the network failed.
        """
        for _ in range(TRIES):
            process = self._started()
            try:
                _send(process.stdin, asked)
                answer, parts = _receive(process.stdout, self.time_s)
                if "problem" not in answer:
                    return checked(answer, parts)
            except TimeoutError:
                self.close()
                raise Stopped(f"the file took longer than {self.time_s:g} s to read") from None
            except (EOFError, BrokenPipeError):
                self.close()
            except (ValueError, TypeError, KeyError, RecursionError):
                self.close()
                break
            else:
                self.close()
                raise BundleError(str(answer["problem"]))
        raise Stopped("the file stopped its decoder")

    def start(self) -> None:
        """Open the model, unless it is open. Raises BundleError where it was refused."""
        self._started()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            process, self._process = self._process, None
            # With whatever a file may have made it begin; nothing more is read from it.
            if process.returncode is None:  # else its number may be another's by now
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    assert pipe is not None
                    pipe.close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        limits = [str(self.memory), str(math.ceil(self.time_s) + 1)]
        command = [sys.executable, "-m", "dermsentry.clinic.worker.screener", str(self.bundle), *limits]
        # A session of its own: Ctrl-C at the terminal ends the server first, which then ends this.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        try:
            answer, _ = _receive(self._process.stdout, START_S)
        except (TimeoutError, EOFError, ValueError, TypeError, KeyError, RecursionError) as error:
            self.close()
            raise BundleError(f"{self.bundle}: the process that opens the model ended.") from error
        if "problem" in answer:
            self.close()
            raise BundleError(str(answer["problem"]))
        return self._process

    def __enter__(self) -> Screener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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


def _checked(answer: dict[str, Any], drawn: dict[str, bytes]) -> Screening:
    """What a process answered, if it is what one that no file took over would answer. Raises ValueError."""
    finding = answer["finding"]
    shares = finding["probabilities"]
    scores = [finding[name] for name in ("melanoma", "no_lesion", "out_of_distribution")]
    numbers = [*scores, *(shares or {}).values()]
    sizes = (answer["width"], answer["height"])
    taken, embedding = answer["taken"], drawn.pop("embedding", b"")
    right = (
        set(finding) == set(unread(""))
        and finding["tier"] in TIERS
        and (shares is None or set(shares) == set(CODES))
        and all(number is None or (type(number) is float and 0 <= number <= 1) for number in numbers)
        and (finding["melanoma"] is None) == (shares is None) == (finding["tier"] == "unreadable")
        and isinstance(finding["quality"], dict | None)
        and all(isinstance(reason, str) for reason in finding["reasons"])
        and all(size is None or (type(size) is int and 0 < size < 10**6) for size in sizes)
        and all(data.startswith(SIGNATURES[kind]) for kind, data in drawn.items())
        and (taken == "" or datetime.fromisoformat(taken).isoformat() == taken)
        and len(embedding) <= MOST_EMBEDDED
    )
    if not right:
        raise ValueError("no finding")
    return Screening(finding, *sizes, drawn, taken, embedding)


def _send(pipe: IO[bytes] | None, head: Mapping[str, Any], parts: Mapping[str, bytes] | None = None) -> None:
    """A line of JSON, with the lengths of the bytes that follow it."""
    assert pipe is not None
    parts = parts or {}
    lengths = {name: len(data) for name, data in parts.items()}
    pipe.write(json.dumps({**head, "parts": lengths}).encode() + b"\n")
    for data in parts.values():
        pipe.write(data)
    pipe.flush()


def _receive(pipe: IO[bytes] | None, time_s: float) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What `_send` sent. Raises TimeoutError, EOFError, or ValueError where it makes no sense."""
    assert pipe is not None
    end = time.monotonic() + time_s
    data = bytearray()

    def more() -> None:
        if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
            raise TimeoutError
        read = os.read(pipe.fileno(), 1 << 20)
        if not read:
            raise EOFError
        data.extend(read)
        if len(data) > MOST_ANSWERED:
            raise ValueError(f"more than {MOST_ANSWERED} bytes")

    while b"\n" not in data:
        more()
    line, _, rest = bytes(data).partition(b"\n")
    head = json.loads(line, parse_constant=_no_number)
    lengths = head.pop("parts")
    if not all(type(length) is int and 0 <= length <= MOST_ANSWERED for length in lengths.values()):
        raise ValueError("no lengths")
    data = bytearray(rest)
    while len(data) < sum(lengths.values()):
        more()
    parts, start = {}, 0
    for name, length in lengths.items():
        parts[name] = bytes(data[start : start + length])
        start += length
    return head, parts


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _serve(folder: str, memory: int, time_s: int) -> None:
    """The process: open the model, then answer until nobody asks."""
    from dermsentry.model import open_bundle

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who asked may be gone; then this ends without a word
    try:
        bundle = open_bundle(folder, threads=1)
    except BundleError as error:
        _send(answers, {"problem": str(error)})
        return
    _limit_memory(memory)
    _send(answers, {})
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        signal.alarm(time_s)  # ends this process if whoever asked is gone and the file holds it
        try:
            head, parts = _DO[asked["do"]](asked, bundle)
        except BundleError as error:
            head, parts = {"problem": str(error)}, {}
        signal.alarm(0)
        _send(answers, head, parts)


def _screen(asked: Mapping[str, Any], bundle: Bundle) -> tuple[dict[str, Any], dict[str, bytes]]:
    from dermsentry.screening.inference import screen_photograph

    try:
        photograph = _decode(Path(asked["path"]), asked["kind"])
        screened = screen_photograph(photograph, bundle, saliency=True)
        drawn = {"view": _jpeg(photograph, VIEW), "thumbnail": _jpeg(photograph, THUMBNAIL)}
    except (Unreadable, MemoryError) as error:
        reason = error.reason if isinstance(error, Unreadable) else "too large to decode"
        return {"finding": unread(reason), "width": None, "height": None, "taken": ""}, {}
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


_DO = {"screen": _screen, "compare": _compare, "tiles": _tile}
"""What the process can be asked to do."""


def _decode(path: Path, kind: str) -> Photograph:
    if kind == DICOM:
        from dermsentry.dicom.files import read_dicom

        return read_dicom(path)
    return read_photograph(path)


def _jpeg(photograph: Photograph, side: int) -> bytes:
    """The photograph anew, without anything else that its file held; its longer side at most `side`."""
    image = Image.fromarray(photograph.pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return _encoded(image)


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _limit_memory(more: int) -> None:
    with Path("/proc/self/statm").open() as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = now + more if hard == resource.RLIM_INFINITY else min(now + more, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
