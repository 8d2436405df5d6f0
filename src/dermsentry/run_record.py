"""How a result was made: the command, the commit of the code that it was called in, and the hardware."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from dermsentry._version import __version__

_PATIENCE = 10  # seconds


def describe_run() -> dict[str, Any]:
    """Command, time, commit and hardware of this process.

    `command` has the program's name without its folder; `commit` is that of the current folder's git
    repository, with `+` where files differ from it, None where there is none.
    """
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {
        "command": command,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "dermsentry": __version__,
        "commit": _commit(),
        "hardware": _hardware(),
    }


def _commit() -> str | None:
    head = _said("git", "rev-parse", "HEAD")
    if head is None:
        return None
    return head + ("+" if _said("git", "status", "--porcelain", "--untracked-files=no") else "")


@cache
def _hardware() -> dict[str, Any]:
    gpu = _said("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": _memory(),
        "gpu": gpu.splitlines() if gpu else [],
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # no such system call
        return None


def _said(*command: str) -> str | None:
    """What a program says, None where it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()
