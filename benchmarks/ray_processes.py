"""Processes of a Ray cluster on this machine, to be ended: workers that hold a model, and what began them."""

from __future__ import annotations

from pathlib import Path


def children(parent: int) -> list[int]:
    """The processes that a process began, and these in turn."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text()
            except OSError:  # it ended meanwhile
                continue
            below.setdefault(int(stat.rpartition(") ")[2].split()[1]), []).append(int(entry.name))
    found, waiting = [], [parent]
    while waiting:
        own = below.get(waiting.pop(), [])
        found += own
        waiting += own
    return found


def workers(parent: int) -> list[int]:
    """The actors below a process that screen."""
    return [pid for pid in children(parent) if title(pid).startswith("ray::MapWorker")]


def guarded(parent: int) -> list[int]:
    """The guarded processes below a process."""
    kinds = ("dermsentry.screening.guarded", "dermsentry.audit.guarded_reading")
    return [pid for pid in children(parent) if any(kind in title(pid) for kind in kinds)]


def title(pid: int) -> str:
    """A process's command line; "" where it ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
