"""The processes beside the web server: started together, restarted when one dies, ended together."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnProcess
from typing import Any

from dermsentry.errors import DermsentryError

LONGEST_PAUSE_S = 60.0
STEADY_S = 60.0
"""One that ran for so long before it died is restarted at once."""
GRACE_S = 10.0
LOOK_S = 0.2
_SIGNALS = {signal.SIGINT, signal.SIGTERM}

Stopped = Callable[[], bool]


@dataclass(frozen=True)
class Part:
    """A process of the server: `run(*arguments, stopped)` works until `stopped()`.

    `run` is a function of a module; it and `arguments` can be pickled.
    """

    name: str
    run: Callable[..., None]
    arguments: tuple[Any, ...]


@dataclass
class _Running:
    part: Part
    process: SpawnProcess | None = None
    since: float = 0.0
    again_at: float = 0.0
    deaths: int = 0


def keep_running(parts: Sequence[Part], stopped: Stopped, say: Callable[[str], None]) -> None:
    """Run every part until `stopped`, restarting one that dies after growing pauses; then end them all.

    Runs in a thread of its own, to which neither Ctrl-C nor SIGTERM comes. The processes are asked to end
    (SIGTERM), and killed where they have not after `GRACE_S`; what a killed one had in hand is another's when
    its lease runs out.
    """
    running = [_Running(part) for part in parts]
    try:
        while not stopped():
            for one in running:
                _look_after(one, say)
            time.sleep(LOOK_S)
    finally:
        _end([one.process for one in running if one.process is not None])


def pause_after(deaths: int) -> float:
    """Seconds before a part that died this often in a row is restarted."""
    return float(min(LONGEST_PAUSE_S, 0.5 * 2 ** min(deaths, 10)))


def _look_after(one: _Running, say: Callable[[str], None]) -> None:
    moment = time.monotonic()
    if one.process is not None:
        if one.process.is_alive():
            return
        one.deaths = 0 if moment - one.since >= STEADY_S else one.deaths + 1
        one.again_at = moment + (pause_after(one.deaths) if one.deaths else 0.0)
        say(f"The {one.part.name} ended ({_how(one.process.exitcode)}); restarting it.")
        one.process.close()
        one.process = None
    if moment >= one.again_at:
        # A process begins with what this thread holds back, and lets it through when it is ready for it.
        resource_tracker.ensure_running()  # first: it lets both through where it has to begin
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        one.process = multiprocessing.get_context("spawn").Process(
            target=run_part, args=(one.part, os.getpid()), name=f"dermsentry {one.part.name}"
        )
        one.process.start()
        one.since = moment


def run_part(part: Part, parent: int) -> None:
    """The process: work until told to stop, or until the process that began this one is gone."""
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    try:
        part.run(*part.arguments, lambda: ended or os.getppid() != parent)
    except DermsentryError as error:
        print(f"dermsentry: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _end(processes: Sequence[SpawnProcess]) -> None:
    for process in processes:
        process.terminate()
    end = time.monotonic() + GRACE_S
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
    for process in processes:
        if process.is_alive():
            process.kill()
            process.join()


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    return f"killed by {signal.Signals(-code).name}"
