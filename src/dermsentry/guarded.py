"""A process of its own for what a file may do to its decoder, with limits on memory and time.

A file is hostile. Whatever its decoder does (a crash, an endless loop, all of the memory) ends with this
process, and costs that file alone. It answers in JSON and plain bytes, so that a file which took it over
could not take over who asked.
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
from types import TracebackType
from typing import IO, Any, ClassVar, Self, TypeVar

from dermsentry.errors import DermsentryError, InputError, OutputError

T = TypeVar("T")
Answer = tuple[dict[str, Any], dict[str, bytes]]
"""A mapping, and bytes by name."""

MEMORY = 3 * 1024**3
"""Bytes of address space beyond what the process has once it is ready."""
TIME_S = 30.0
START_S = 60.0
OPENINGS = 5
"""Of a process, before it is said that it cannot be opened: someone may be ending processes."""
TRIES = 2
"""A process that ended may have been ended by someone; a second one was ended by the file."""
MOST_ANSWERED, MOST_TOLD = 64 * 1024**2, 4 * 1024**2
"""Bytes of an answer, and of the JSON in it: what is parsed takes many times as much memory."""
_PIPE = 1 << 20  # bytes, so that a photograph goes through at once


class Stopped(Exception):
    """What was asked of the process could not be done; `reason` says why, in words for a person."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class GuardedProcess:
    """A process that is begun when first needed, and again after it had to be ended.

    `module`: what the process runs, which calls `serve` with the memory and the time that it is given, and
    with whatever `arguments` says. `error` is raised where it cannot begin, or answers with a `problem`.
    """

    error: ClassVar[type[DermsentryError]] = OutputError

    def __init__(self, module: str, *, time_s: float = TIME_S, memory: int = MEMORY) -> None:
        self.time_s, self.memory = time_s, memory
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False

    def arguments(self) -> list[str]:
        """What the process is given beside its memory and time."""
        return []

    def ended(self) -> str:
        """What the error says where the process ended as it began."""
        raise NotImplementedError

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
        DermsentryError
            The process cannot begin, or cannot do what it is for.
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
                raise self._problem(answer)
        raise Stopped("the file stopped its decoder")

    def start(self) -> None:
        """Begin the process, unless it has begun. Raises DermsentryError where it cannot."""
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
        """Begin the process, without waiting until it is ready."""
        limits = [str(self.memory), str(math.ceil(self.time_s) + 1)]
        command = [sys.executable, "-m", self._module, *limits, *self.arguments()]
        # A session of its own: Ctrl-C at the terminal ends the server first, which then ends this.
        process = self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        for pipe in (process.stdin, process.stdout):
            _widen(pipe)
        self._ready = False
        return process

    def _problem(self, answer: Mapping[str, Any]) -> DermsentryError:
        kind = InputError if answer.get("kind") == InputError.__name__ else self.error
        return kind(str(answer["problem"]))

    def _started(self) -> subprocess.Popen[bytes]:
        for tries in range(1, OPENINGS + 1):
            process = self._process
            if process is None or process.poll() is not None:
                self.close()
                process = self.begin()
            elif self._ready:
                return process
            try:
                answer, _ = receive(process.stdout, START_S)
            except (TimeoutError, EOFError, ValueError, TypeError, KeyError, RecursionError) as error:
                self.close()
                if tries == OPENINGS:
                    raise self.error(self.ended()) from error
                continue
            if "problem" in answer:
                self.close()
                raise self._problem(answer)
            self._ready = True
            return process
        raise AssertionError("the last try returns or raises")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _widen(pipe: IO[bytes] | None) -> None:
    """Give a pipe room for a photograph, where the system lets a user have that many bytes in pipes."""
    import fcntl

    if pipe is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # a smaller pipe is slower, and works
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)


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
    waiting = select.poll()  # where `select` takes no file above the number 1023
    waiting.register(pipe, select.POLLIN)

    def more() -> None:
        if not waiting.poll(1000 * max(0.0, end - time.monotonic())):
            raise TimeoutError
        read = os.read(pipe.fileno(), 1 << 20)
        if not read:
            raise EOFError
        data.extend(read)
        if len(data) > MOST_ANSWERED:
            raise ValueError(f"more than {MOST_ANSWERED} bytes")

    while b"\n" not in data:
        more()
        if len(data) > MOST_TOLD and b"\n" not in data[:MOST_TOLD]:
            raise ValueError(f"more than {MOST_TOLD} bytes of JSON")
    line, _, rest = bytes(data).partition(b"\n")
    head = json.loads(line, parse_constant=_finite, parse_float=_finite)
    lengths = head.pop("parts", None) if isinstance(head, dict) else None
    if not isinstance(lengths, dict) or not all(
        type(length) is int and 0 <= length <= MOST_ANSWERED for length in lengths.values()
    ):
        raise ValueError("no lengths")
    data = bytearray(rest)
    while len(data) < sum(lengths.values()):
        more()
    parts, start = {}, 0
    for name, length in lengths.items():
        parts[name] = bytes(data[start : start + length])
        start += length
    return head, parts


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(f"{word} is not a finite number")
    return number


def serve(
    do: Mapping[str, Callable[[Mapping[str, Any], T], Answer]],
    prepare: Callable[[], T],
    memory: int,
    time_s: int,
) -> None:
    """Be the process: prepare, then answer until nobody asks.

    `do`: what can be asked, each called with what was asked, the bytes that came with it among it, and with
    what `prepare` gave. A DermsentryError of either is the `problem` that is answered.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who asked may be gone; then this ends without a word
    try:
        prepared = prepare()
    except DermsentryError as error:
        send(answers, _told(error))
        return
    _limit_memory(memory)
    send(answers, {})
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        asked |= {name: sys.stdin.buffer.read(length) for name, length in asked.pop("parts").items()}
        signal.alarm(time_s)  # ends this process if whoever asked is gone and the file holds it
        try:
            head, parts = do[asked["do"]](asked, prepared)
        except DermsentryError as error:
            head, parts = _told(error), {}
        signal.alarm(0)
        send(answers, head, parts)


def _told(error: DermsentryError) -> dict[str, str]:
    return {"problem": str(error), "kind": type(error).__name__}


def _limit_memory(more: int) -> None:
    import resource  # which Windows has not

    with Path("/proc/self/statm").open() as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = now + more if hard == resource.RLIM_INFINITY else min(now + more, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
