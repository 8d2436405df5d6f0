"""Parts of a server that die, stay, or will not end, each writing a line of a file as it begins."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from dermsentry.errors import BundleError


def _begun(log: Path) -> None:
    with log.open("a") as file:
        file.write(f"{os.getpid()} {time.monotonic()}\n")


def die(log: Path, stopped: Callable[[], bool]) -> None:
    _begun(log)
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(log: Path, stopped: Callable[[], bool]) -> None:
    _begun(log)
    raise BundleError("no such model")


def stay(log: Path, stopped: Callable[[], bool]) -> None:
    _begun(log)
    while not stopped():
        time.sleep(0.05)
    with log.open("a") as file:
        file.write("ended\n")


def cling(log: Path, stopped: Callable[[], bool]) -> None:
    _begun(log)
    while True:
        time.sleep(0.05)
