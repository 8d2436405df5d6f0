"""What a person at the terminal, or a log file, is told on stderr; stdout stays clean for pipes.

What stdout can show is asked here too.

A person sees a bar. Where stderr is no terminal, or one that cannot move its cursor (`TERM=dumb`), a line
says every 30 seconds what is being done.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Item = TypeVar("Item")

LOG_EVERY_S = 30.0
"""How often a line says what is being done, where nobody watches a bar."""
_LEVELS = {"Note": "note", "dermsentry": "error"}  # by the word before a line's colon


@dataclass
class _Log:
    """How this process tells what it does: as text or as JSON, for which command, and what is in hand."""

    json: bool = False
    command: str = ""
    in_hand: list[Work] = field(default_factory=list)
    waiting: int = 0
    ended: threading.Event = field(default_factory=threading.Event)


_log = _Log()


def log_as_json(wanted: bool) -> None:
    """Whether every line on stderr is a JSON object from now on."""
    _log.json = wanted


def say(text: str, *, quiet: bool = False) -> None:
    """A line for the person at the terminal, on stderr; an object with `time`, `level`, `message` in JSON."""
    if not quiet:
        _write(text)


def _write(text: str, level: str = "info", **fields: Any) -> None:
    if _log.json:
        import json
        from datetime import UTC, datetime

        first, colon, rest = text.partition(": ")
        if colon and first in _LEVELS:
            level, text = _LEVELS[first], rest
        told = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": level}
        text = json.dumps({**told, "command": _log.command, "message": text, **fields})
    print(text, file=sys.stderr, flush=True)


def watched() -> bool:
    """Whether a person watches stderr on a terminal that can draw a bar."""
    return _able() and not _log.json and sys.stderr is not None and sys.stderr.isatty()


def _able() -> bool:
    """Whether the terminal can do more than show one line after another."""
    return os.environ.get("TERM", "") not in ("dumb", "unknown")


def in_colour() -> bool:
    """Whether results on stdout are shown in colours: on a terminal that has them, without `NO_COLOR`."""
    return sys.stdout.isatty() and _able() and not os.environ.get("NO_COLOR")


def terminal_width() -> int | None:
    """Columns for results on stdout, where that is a terminal; in a pipe no line is broken."""
    return shutil.get_terminal_size().columns - 1 if sys.stdout.isatty() else None


def track(items: Iterable[Item], what: str, total: int | None = None, quiet: bool = False) -> Iterator[Item]:
    """Yield `items`, telling on stderr how far that is and how long it will take.

    Parameters
    ----------
    items
        What is gone through.
    what
        One or two words for what is done, such as `Reading`.
    total
        How many items there are, where `items` has no length.
    quiet
        Show nothing.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Work(what, total, quiet=quiet) as work:
        for item in items:
            yield item
            work.advance()


@dataclass(eq=False)
class Work:
    """Work that is shown while the block runs: `done` of `total` steps.

    Parameters
    ----------
    what
        What is done, in few words; it may change on the way.
    total
        How many steps there are, None where that is not known.
    quiet
        Show nothing.
    done
        Steps that an earlier run took.
    """

    what: str
    total: int | None = None
    quiet: bool = False
    done: int = 0
    _bar: Progress | None = None
    _task: TaskID | None = None

    def __enter__(self) -> Work:
        self._started, self._before = time.monotonic(), self.done
        if self.quiet:
            return self
        if watched():
            self._draw()
        else:
            _log.in_hand.append(self)
            _begin_log()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self in _log.in_hand:
            _log.in_hand.remove(self)
            _end_log()

    def _draw(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        console = Console(stderr=True)
        narrow = console.width < 80
        words = TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True))
        columns = (words, BarColumn(8 if narrow else 30), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, expand=narrow)
        self._task = self._bar.add_task(self.what, total=self.total, completed=self.done)
        self._bar.start()

    def advance(self, steps: int = 1, what: str | None = None) -> None:
        """So many more steps are done; `what` is what is done next."""
        self.done += steps
        self.what = what or self.what
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self.done, description=self.what)

    def log(self) -> None:
        """Write the line that says how far this is."""
        seconds, taken = time.monotonic() - self._started, self.done - self._before
        left = None
        if self.total is not None and taken:
            left = round(seconds / taken * max(0, self.total - self.done))
        of = "" if self.total is None else f" of {self.total:,}"
        told = "" if left is None else f", {_span(left)} left"
        fields = {"what": self.what, "done": self.done, "total": self.total, "seconds_left": left}
        _write(f"{self.what}: {self.done:,}{of}{told}", "progress", **fields)


@contextmanager
def stderr_held_back() -> Iterator[None]:
    """Keep what libraries write to stderr in a block, such as TensorFlow at its import, unless it fails."""
    import tempfile

    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as told:
        try:
            os.dup2(told.fileno(), 2)
            yield
        except BaseException:
            told.seek(0)
            os.write(kept, told.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def logged(command: str) -> Iterator[None]:
    """Write a line every 30 seconds while the block runs and nobody watches a bar; `command` names it."""
    _log.command = command
    if watched():
        yield
        return
    _begin_log()
    try:
        yield
    finally:
        _end_log()


def _begin_log() -> None:
    _log.waiting += 1
    if _log.waiting == 1:
        _log.ended = threading.Event()
        threading.Thread(target=_write_log, args=(_log.ended, time.monotonic()), daemon=True).start()


def _end_log() -> None:
    _log.waiting -= 1
    if not _log.waiting:
        _log.ended.set()


def _write_log(ended: threading.Event, started: float) -> None:
    while not ended.wait(LOG_EVERY_S):
        if _log.in_hand:
            _log.in_hand[-1].log()
        else:
            _write(f"{_log.command}: working for {_span(time.monotonic() - started)}", "progress")


def _span(seconds: float) -> str:
    """A stretch of time for a person: `40 s`, `12 min`, `3 h 5 min`."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
