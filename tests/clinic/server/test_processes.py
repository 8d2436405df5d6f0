"""A part that dies is begun again, less and less often; all of them end when they are told to."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from clinic import server_parts
from clinic.waiting import wait_until
from dermsentry.clinic.clinic import Pulse
from dermsentry.clinic.server import processes
from dermsentry.clinic.server.processes import CannotGoOn, Part, keep_running, pause_after


@contextmanager
def running(*parts: Part, pulses: list[Callable[[], Pulse]] | None = None) -> Iterator[list[str]]:
    ended, told = threading.Event(), list[str]()
    keeper = threading.Thread(target=keep_running, args=(parts, ended.is_set, told.append, pulses))
    keeper.start()
    try:
        yield told
    finally:
        ended.set()
        keeper.join()


def part(run: Callable[..., None], log: Path) -> Part:
    return Part(run.__name__, run, (log,))


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def test_one_that_dies_is_begun_again_with_pauses(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(part(server_parts.die, log)) as told:
        wait_until(lambda: len(lines(log)) >= 3, 120, "a third start")
    times = [float(line.split()[1]) for line in lines(log)]
    assert times[1] - times[0] >= pause_after(1)
    assert times[2] - times[1] >= pause_after(2)
    assert told[0] == "The die ended (killed by SIGKILL); restarting it."


def test_what_nobody_waits_for_leaves_the_processor_to_the_pages(tmp_path: Path) -> None:
    own, log = os.getpriority(os.PRIO_PROCESS, 0), tmp_path / "log"
    with running(replace(part(server_parts.stay, log), nice=3)):
        wait_until(lambda: lines(log), 60, "a start")
        begun = int(lines(log)[0].split()[0])
        assert os.getpriority(os.PRIO_PROCESS, begun) == min(own + 3, 19)


def test_pauses_grow_and_end() -> None:
    assert [pause_after(deaths) for deaths in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert pause_after(10_000) == processes.LONGEST_PAUSE_S


def test_an_error_of_the_users_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with running(part(server_parts.refuse, tmp_path / "log")) as told:
        wait_until(lambda: told, 60, "an end")
    assert told[0] == "The refuse ended (exit code 6); restarting it."
    assert "dermsentry: no such model\n" in capfd.readouterr().err


def refusing(monkeypatch: pytest.MonkeyPatch, times: int) -> list[float]:
    """Processes that cannot be begun for want of file descriptors, so often; when each was tried."""
    begin, tried = SpawnProcess.start, list[float]()

    def start(process: SpawnProcess) -> None:
        tried.append(time.monotonic())
        if len(tried) <= times:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        begin(process)

    monkeypatch.setattr(SpawnProcess, "start", start)
    return tried


def test_one_that_cannot_be_started_is_tried_again_and_nothing_else_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = refusing(monkeypatch, 2)
    log, pulses = tmp_path / "log", list[Callable[[], Pulse]]()
    with running(part(server_parts.stay, log), pulses=pulses) as told:
        wait_until(lambda: told, 60, "a failed start")
        [pulse] = [own() for own in pulses]
        assert (pulse.name, pulse.age_s) == ("stay", None)
        assert "cannot be started (Too many open files)" in pulse.problem
        wait_until(lambda: lines(log), 120, "a start")
        wait_until(lambda: pulses[0]().age_s is not None, 60, "a heartbeat")
        assert pulses[0]().problem == ""
        assert (pulses[0]().age_s or 0) < 60
    assert tried[1] - tried[0] >= pause_after(1)
    assert tried[2] - tried[1] >= pause_after(2)
    assert len(told) == 2  # a line for each try, and tries are ever fewer
    assert lines(log)[-1] == "ended"


def test_where_one_cannot_be_started_for_long_the_others_end_and_the_server_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "stays"
    begin = SpawnProcess.start

    def start(process: SpawnProcess) -> None:
        if "stay" not in process.name:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        begin(process)

    monkeypatch.setattr(SpawnProcess, "start", start)
    monkeypatch.setattr(processes, "LONGEST_WITHOUT_S", 2.0)
    parts = [part(server_parts.stay, log), part(server_parts.die, tmp_path / "dies")]
    let_through = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with pytest.raises(CannotGoOn, match="Cannot allocate memory"):
        keep_running(parts, lambda: False, lambda _: None)
    # Or whatever this process begins later could not be ended either.
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == let_through
    assert multiprocessing.active_children() == []
    assert not lines(log) or lines(log)[-1] == "ended"


def test_one_that_hangs_is_heard_of_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 0.5)
    log, pulses = tmp_path / "log", list[Callable[[], Pulse]]()
    with running(part(server_parts.cling, log), pulses=pulses):
        wait_until(lambda: lines(log), 120, "a start")
        assert (pulses[0]().age_s, pulses[0]().starting) == (None, True)
        monkeypatch.setattr(processes, "STARTING_S", 0.0)
        assert not pulses[0]().starting


def test_all_are_asked_to_end_and_the_rest_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 3.0)
    stays, clings = tmp_path / "stays", tmp_path / "clings"
    with running(part(server_parts.stay, stays), part(server_parts.cling, clings)) as told:
        wait_until(lambda: lines(stays) and lines(clings), 60, "both starts")
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert lines(stays)[-1] == "ended"
    assert told == []
    pid = int(lines(clings)[0].split()[0])
    assert not Path(f"/proc/{pid}").exists()
