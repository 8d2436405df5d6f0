"""What stderr is told: a bar for a person, a line every so often for a log, objects for a program."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest

from dermsentry import progress
from dermsentry.progress import Work, logged, say, track


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.05)
    yield
    progress.log_as_json(False)


def slowly(count: int) -> Iterator[int]:
    for i in range(count):
        time.sleep(0.02)
        yield i


def test_without_a_terminal_a_line_says_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(slowly(20), "Reading", total=20)) == list(range(20))
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 10
    assert all(line.startswith("Reading: ") and " of 20, " in line for line in lines)
    assert lines[-1].endswith(" s left")


def test_what_is_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(list(track(slowly(5), "Reading", total=5, quiet=True))) == 5
    assert capsys.readouterr().err == ""


def test_the_log_ends_with_its_work(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in track(slowly(100), "Reading", total=100):
        break
    capsys.readouterr()
    time.sleep(0.15)
    assert capsys.readouterr().err == ""


def test_a_command_says_that_it_works_where_nothing_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with logged("audit"):
        time.sleep(0.13)
        list(track(slowly(5), "Reading", total=5))
        time.sleep(0.13)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == lines[-1] == "audit: working for 0 s"
    assert any(line.startswith("Reading: ") for line in lines)


def test_a_resumed_work_counts_only_its_own_time(capsys: pytest.CaptureFixture[str]) -> None:
    with Work("Training", 1000, done=900) as work:
        for _ in slowly(10):
            work.advance(5)
        capsys.readouterr()
        work.log()
    assert capsys.readouterr().err == "Training: 950 of 1,000, 0 s left\n"


def test_a_log_of_json_has_the_same_in_fields(capsys: pytest.CaptureFixture[str]) -> None:
    progress.log_as_json(True)
    with logged("train"):
        say("Note: 3 photographs are unreadable: a.jpg")
        say("dermsentry: no space left")
        say("Written: run")
        list(track(slowly(10), "Decoding", total=10))
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {one["command"] for one in told} == {"train"}
    assert all(datetime.fromisoformat(one["time"]).tzinfo for one in told)
    assert [(one["level"], one["message"]) for one in told[:3]] == [
        ("note", "3 photographs are unreadable: a.jpg"),
        ("error", "no space left"),
        ("info", "Written: run"),
    ]
    last = told[-1]
    assert (last["level"], last["what"], last["total"]) == ("progress", "Decoding", 10)
    assert 0 < last["done"] <= 10
    assert last["seconds_left"] >= 0


def drawn(call: Callable[[], None], **environment: str) -> str:
    """What a terminal of 60 columns is sent by a process that makes this call."""
    pty = pytest.importorskip("pty")
    process, terminal = pty.fork()
    if process == 0:
        os.environ.pop("NO_COLOR", None)
        os.environ.update({"COLUMNS": "60", **environment})
        call()
        os._exit(0)
    found = b""
    try:
        while read := os.read(terminal, 65536):
            found += read
    except OSError:  # how Linux says that the other end is closed
        pass
    os.waitpid(process, 0)
    return found.decode()


def work_on_a_terminal() -> None:
    import sys

    with open(2, "w", closefd=False) as sys.stderr, Work("balanced, as-assigned", 400) as work:
        for i in range(20):
            work.advance(20, f"balanced, as-assigned: epoch {i + 1}/20")
            time.sleep(0.02)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of fork beside threads
def test_a_person_sees_a_bar() -> None:
    assert "\x1b[3" in drawn(work_on_a_terminal, TERM="xterm")
    plain = drawn(work_on_a_terminal, TERM="xterm", NO_COLOR="1")
    assert "\x1b[3" not in plain
    assert "/400" in plain
    dumb = drawn(work_on_a_terminal, TERM="dumb")
    assert "\x1b" not in dumb
    assert "balanced, as-assigned: epoch" in dumb
