"""A process of its own for what a photograph may do to its decoder, with limits on memory and time.

A file is hostile. Whatever its decoder does (a crash, an endless loop, all of the memory) ends with this
process, and costs that photograph alone. It answers in JSON and plain bytes, so that a file which took it
over could not take over who asked.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import LifoQueue
from threading import Lock
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, TypeVar

from dermsentry.errors import BundleError, DermsentryError

# What takes its time to load is imported where it is used: a command begins its processes before that.
if TYPE_CHECKING:
    from dermsentry.model import Bundle, Device
    from dermsentry.screening.finding import Finding
    from dermsentry.screening.inference import Screened
    from dermsentry.screening.inputs import Loaded, Source

T = TypeVar("T")
Answer = tuple[dict[str, Any], dict[str, bytes]]
"""A mapping, and bytes by name."""

MEMORY = 3 * 1024**3
"""Bytes of address space beyond what the process has once its model is open."""
TIME_S = 30.0
START_S = 60.0
TRIES = 2
"""A process that ended may have been ended by someone; a second one was ended by the photograph."""
MOST_ANSWERED = 64 * 1024**2
ALONE = 16
"""Photographs that the first of several processes screens before the others begin, which takes as long."""
PNG = b"\x89PNG\r\n\x1a\n"
_PIPE = 1 << 20  # bytes, so that a photograph goes through at once


class Stopped(Exception):
    """What was asked of the process could not be done; `reason` says why, in words for a person."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Guarded:
    """A process that holds a model; it is begun when first needed, and again after it had to be ended.

    `module`: what the process runs, which calls `serve`.
    """

    def __init__(
        self,
        bundle: Path,
        *,
        device: Device = "cpu",
        time_s: float = TIME_S,
        memory: int = MEMORY,
        module: str = __name__,
    ) -> None:
        self.bundle, self.device, self.time_s, self.memory = bundle, device, time_s, memory
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._open = False

    def ask(
        self,
        asked: Mapping[str, Any],
        checked: Callable[[dict[str, Any], dict[str, bytes]], T],
        parts: Mapping[str, bytes] | None = None,
    ) -> T:
        """Have the process do something with files; what `checked` makes of its answer.

        `checked` raises ValueError, TypeError or KeyError for what no process would answer that is itself.
        The process finds `parts` beside what is asked.

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
                send(process.stdin, asked, parts)
                answer, received = receive(process.stdout, self.time_s)
                if "problem" not in answer:
                    return checked(answer, received)
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

    def begin(self) -> subprocess.Popen[bytes]:
        """Begin the process, without waiting until its model is open."""
        limits = [str(self.memory), str(math.ceil(self.time_s) + 1)]
        command = [sys.executable, "-m", self._module, str(self.bundle), *limits, self.device]
        # A session of its own: Ctrl-C at the terminal ends the server first, which then ends this.
        process = self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, pipesize=_PIPE
        )
        self._open = False
        return process

    def _started(self) -> subprocess.Popen[bytes]:
        for tries in range(1, TRIES + 1):
            process = self._process
            if process is None or process.poll() is not None:
                self.close()
                process = self.begin()
            elif self._open:
                return process
            try:
                answer, _ = receive(process.stdout, START_S)
            except (TimeoutError, EOFError, ValueError, TypeError, KeyError, RecursionError) as error:
                self.close()
                if tries == TRIES:
                    raise BundleError(f"{self.bundle}: the process that opens the model ended.") from error
                continue
            if "problem" in answer:
                self.close()
                raise BundleError(str(answer["problem"]))
            self._open = True
            return process
        raise AssertionError("the last try returns or raises")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def send(pipe: IO[bytes] | None, head: Mapping[str, Any], parts: Mapping[str, bytes] | None = None) -> None:
    """Write a line of JSON, with the lengths of the bytes that follow it."""
    assert pipe is not None
    parts = parts or {}
    lengths = {name: len(data) for name, data in parts.items()}
    pipe.write(json.dumps({**head, "parts": lengths}).encode() + b"\n")
    for data in parts.values():
        pipe.write(data)
    pipe.flush()


def receive(pipe: IO[bytes] | None, time_s: float) -> Answer:
    """Read what `send` sent. Raises TimeoutError, EOFError, or ValueError where it makes no sense."""
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


def serve(
    do: Mapping[str, Callable[[Mapping[str, Any], Bundle], Answer]],
    folder: str,
    memory: int,
    time_s: int,
    device: Device = "cpu",
) -> None:
    """Be the process: open the model, then answer until nobody asks.

    `do`: what can be asked, each called with what was asked, the bytes that came with it among it.
    """
    from dermsentry.model import open_bundle

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who asked may be gone; then this ends without a word
    try:
        bundle = open_bundle(folder, threads=1, device=device)
    except DermsentryError as error:
        send(answers, {"problem": str(error)})
        return
    _limit_memory(memory)
    send(answers, {})
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        asked |= {name: sys.stdin.buffer.read(length) for name, length in asked.pop("parts").items()}
        signal.alarm(time_s)  # ends this process if whoever asked is gone and the file holds it
        try:
            head, parts = do[asked["do"]](asked, bundle)
        except BundleError as error:
            head, parts = {"problem": str(error)}, {}
        signal.alarm(0)
        send(answers, head, parts)


def _limit_memory(more: int) -> None:
    import resource  # which Windows has not

    with Path("/proc/self/statm").open() as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = now + more if hard == resource.RLIM_INFINITY else min(now + more, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


class GuardedScreener(Guarded):
    """Screens one photograph after another in such a process; safe to call from several threads.

    `model`: what its findings are to call the model.
    """

    def __init__(
        self,
        bundle: Path,
        model: str,
        *,
        device: Device = "cpu",
        time_s: float = TIME_S,
        memory: int = MEMORY,
    ) -> None:
        super().__init__(bundle, device=device, time_s=time_s, memory=memory)
        self.model = model
        self._one_at_a_time = Lock()

    def screen(self, source: Source, content: Loaded, *, saliency: bool = False) -> Screened:
        """Screen a photograph, its bytes or an array.

        Raises
        ------
        Unreadable
            It cannot be decoded, or stopped the process, or took too much time or memory.
        BundleError
            The model was refused, or the network failed.
        """
        import numpy as np

        from dermsentry.images import Unopened, Unreadable
        from dermsentry.screening.finding import finding_of
        from dermsentry.screening.inference import Screened
        from dermsentry.screening.triage import TIERS

        shape = list(content.shape) if isinstance(content, np.ndarray) else None
        data = content if isinstance(content, bytes) else np.asarray(content, np.uint8).tobytes()
        asked = {
            "do": "screen",
            "name": source.name,
            "path": source.path,
            "shape": shape,
            "saliency": saliency,
        }

        def checked(answer: dict[str, Any], drawn: dict[str, bytes]) -> Screened | Unreadable:
            if "reason" in answer:
                return (Unopened if answer["unopened"] else Unreadable)(str(answer["reason"]))
            finding: Finding = finding_of(answer["finding"])
            if (finding.image, finding.path, finding.model) != (source.name, source.path, self.model):
                raise ValueError("the finding of something else")
            if finding.tier not in TIERS:
                raise ValueError("no tier")
            picture = drawn.get("saliency")
            if (picture is not None) != saliency or not (picture or PNG).startswith(PNG):
                raise ValueError("no picture")
            return Screened(finding, picture)

        try:
            with self._one_at_a_time:
                found = self.ask(asked, checked, {"content": data})
        except Stopped as error:
            raise Unreadable(error.reason) from None
        if isinstance(found, Unreadable):
            raise found
        return found


class GuardedScreeners:
    """Several such processes, which screen side by side.

    The first begins at once, the others once there are photographs enough to make up for it.

    Parameters
    ----------
    bundle
        The bundle's folder; `dermoscopy`, where no folder is called so, is the bundled model.
    processes
        How many there are at most.
    device
        Where the network computes, `cpu` or `cuda`.
    """

    def __init__(self, bundle: str | Path, *, processes: int, device: Device = "cpu") -> None:
        self.processes = processes
        self._each = [GuardedScreener(Path(bundle), "", device=device) for _ in range(processes)]
        self._waiting, self._screened = self._each[1:], 0
        self._idle: LifoQueue[GuardedScreener] = LifoQueue()
        self._idle.put(self._each[0])
        self._each[0].begin()

    def screen(self, source: Source, content: Loaded, model: str, *, saliency: bool = False) -> Screened:
        """As `GuardedScreener.screen`, in the process that is free; `model`: what findings call the model."""
        one = self._idle.get()
        one.model = model
        try:
            return one.screen(source, content, saliency=saliency)
        finally:
            self._screened += 1
            while self._waiting and self._screened >= ALONE:
                self._idle.put(self._waiting.pop())
            self._idle.put(one)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._each:
            one.close()


def _screen(asked: Mapping[str, Any], bundle: Bundle) -> Answer:
    import numpy as np

    from dermsentry.files import plain
    from dermsentry.images import Unopened, Unreadable
    from dermsentry.screening.inference import decode, screen_photograph

    content: Loaded = asked["content"]
    if asked["shape"] is not None:
        content = np.frombuffer(asked["content"], np.uint8).reshape(asked["shape"])
    try:
        photograph = decode(content, name=asked["path"], fitted=bundle.card.fitted)
        found = screen_photograph(
            photograph, bundle, asked["name"], asked["path"], saliency=asked["saliency"]
        )
    except (Unreadable, MemoryError) as error:
        reason = error.reason if isinstance(error, Unreadable) else "too large to decode"
        return {"reason": reason, "unopened": isinstance(error, Unopened)}, {}
    return {"finding": plain(found.finding)}, {} if found.saliency is None else {"saliency": found.saliency}


if __name__ == "__main__":
    serve({"screen": _screen}, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])  # type: ignore[arg-type]
