"""A part that dies is begun again, less and less often; all of them end when they are told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clinic import server_parts
from clinic.waiting import wait_until
from dermsentry.clinic.server import processes
from dermsentry.clinic.server.processes import Part, keep_running, pause_after


@contextmanager
def running(*parts: Part) -> Iterator[list[str]]:
    ended, told = threading.Event(), list[str]()
    keeper = threading.Thread(target=keep_running, args=(parts, ended.is_set, told.append))
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


def test_pauses_grow_and_end() -> None:
    assert [pause_after(deaths) for deaths in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert pause_after(10_000) == processes.LONGEST_PAUSE_S


def test_an_error_of_the_users_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with running(part(server_parts.refuse, tmp_path / "log")) as told:
        wait_until(lambda: told, 60, "an end")
    assert told[0] == "The refuse ended (exit code 6); restarting it."
    assert "dermsentry: no such model\n" in capfd.readouterr().err


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
