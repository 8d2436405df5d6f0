"""The processes beside the web server: started together, restarted when one dies, ended together.

Each says that it is there whenever it asks whether it is to end. One that cannot be started, since there are
no file descriptors, no memory or no processes left, is tried again with growing pauses; if that lasts, the
server cannot continue and ends, for its supervisor to start it again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from ctypes import c_double
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnProcess
from typing import Any

from dermsentry.clinic.clinic import Pulse
from dermsentry.errors import DermsentryError, OutputError

LONGEST_PAUSE_S = 60.0
LONGEST_WITHOUT_S = 300.0
"""How long a part may fail to start before the server gives up."""
STARTING_S = 180.0
"""How long one may take until it is heard of: a worker opens its model first."""
STEADY_S = 60.0
"""One that ran for so long before it died is restarted at once."""
GRACE_S = 10.0
LOOK_S = 0.2
_SIGNALS = {signal.SIGINT, signal.SIGTERM}

Stopped = Callable[[], bool]
Shared = Any
"""A number that processes share, by its `value`; multiprocessing's types of it are wrong without a lock."""


@dataclass(frozen=True)
class Part:
    """A process of the server: `run(*arguments, stopped)` works until `stopped()`.

    `run` is a function of a module; it and `arguments` can be pickled. `nice`: how much less of a busy
    processor it asks for than the web server, which people wait for (0 to 19, see nice(2)).
    """

    name: str
    run: Callable[..., None]
    arguments: tuple[Any, ...]
    nice: int = 0


class CannotGoOn(OutputError):
    """A part of the server cannot be started, and that has lasted."""


@dataclass
class _Running:
    """A part, its process while it has one, and how often in a row it died or could not be started.

    `heard`: when it last said that it is there, by the monotonic clock, which all processes share.
    `without_since`: since when it cannot be started.
    """

    part: Part
    heard: Shared
    process: SpawnProcess | None = None
    since: float = 0.0
    again_at: float = 0.0
    deaths: int = 0
    without_since: float | None = None
    problem: str = ""

    def pulse(self) -> Pulse:
        """How it is."""
        heard, moment = self.heard.value, time.monotonic()
        starting = not heard and not self.problem and moment - (self.since or moment) < STARTING_S
        return Pulse(self.part.name, moment - heard if heard else None, self.problem, starting)


def keep_running(
    parts: Sequence[Part],
    stopped: Stopped,
    say: Callable[[str], None],
    pulses: list[Callable[[], Pulse]] | None = None,
) -> None:
    """Run every part until `stopped`, restarting one that dies after growing pauses; then end them all.

    Runs in a thread of its own, to which neither Ctrl-C nor SIGTERM comes. The processes are asked to end
    (SIGTERM), and killed where they have not after `GRACE_S`; what a killed one had in hand is another's when
    its lease runs out. Each part's pulse is added to `pulses`.

    Raises
    ------
    CannotGoOn
        A part could not be started for `LONGEST_WITHOUT_S`.
    """
    let_through = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        shared = multiprocessing.get_context("spawn")
        running = [_Running(part, shared.Value(c_double, 0.0, lock=False)) for part in parts]
    except OSError as error:
        raise CannotGoOn(f"No memory can be shared with the server's processes: {error}.") from error
    if pulses is not None:
        pulses.extend(one.pulse for one in running)
    try:
        while not stopped():
            for one in running:
                _look_after(one, say)
            time.sleep(LOOK_S)
    finally:
        _end([one.process for one in running if one.process is not None])
        signal.pthread_sigmask(signal.SIG_SETMASK, let_through)


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
        one.problem = f"it ended ({_how(one.process.exitcode)})"
        say(f"The {one.part.name} ended ({_how(one.process.exitcode)}); restarting it.")
        one.process.close()
        one.process = None
    if moment >= one.again_at:
        try:
            one.process = _begin(one)
        except OSError as error:
            _could_not_begin(one, moment, error, say)
        else:
            one.since, one.without_since, one.problem = moment, None, ""


def _begin(one: _Running) -> SpawnProcess:
    # A process begins with what this thread holds back, and lets it through when it is ready for it.
    resource_tracker.ensure_running()  # first: it lets both through where it has to begin
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    process = multiprocessing.get_context("spawn").Process(
        target=run_part, args=(one.part, os.getpid(), one.heard), name=f"dermsentry {one.part.name}"
    )
    process.start()
    return process


def _could_not_begin(one: _Running, moment: float, error: OSError, say: Callable[[str], None]) -> None:
    """Try again later. Raises CannotGoOn where that has lasted."""
    words = error.strerror or str(error)
    one.deaths += 1
    one.again_at = moment + pause_after(one.deaths)
    one.problem = f"it cannot be started ({words})"
    if one.without_since is None:
        one.without_since = moment
    if moment - one.without_since >= LONGEST_WITHOUT_S:
        raise CannotGoOn(
            f"The {one.part.name} could not be started for {LONGEST_WITHOUT_S / 60:g} minutes ({words}). "
            "The server ends; free memory, processes or file descriptors, and start it again."
        )
    say(f"The {one.part.name} cannot be started ({words}); trying again in {pause_after(one.deaths):g} s.")


def run_part(part: Part, parent: int, heard: Shared) -> None:
    """The process: work until told to stop, or until the process that began this one is gone."""
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True

    def stopped() -> bool:
        heard.value = time.monotonic()
        return ended or os.getppid() != parent

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    os.nice(part.nice)
    try:
        part.run(*part.arguments, stopped)
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
