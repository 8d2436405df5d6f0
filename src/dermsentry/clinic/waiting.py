"""How a process of the clinic waits, without missing that it is to end."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(seconds: float, stopped: Callable[[], bool]) -> None:
    """Sleep, but not past being told to stop."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stopped():
        time.sleep(0.1)
