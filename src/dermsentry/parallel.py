"""Work on several threads whose results come in the order of what was given."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_ordered(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int,
    ahead: int,
    stopping: threading.Event | None = None,
) -> Generator[Result, None, None]:
    """Yield `function(item)` for each item, in order, each as soon as it and all before it are done.

    Parameters
    ----------
    function
        Called on `threads` threads; what it raises is raised where its result would be yielded.
    items
        Taken one by one, so that memory does not grow with their number.
    threads
        How many items are worked on at the same time.
    ahead
        How many items may be begun before the first of them is taken.
    stopping
        Set before what is still being worked on is waited for, where no more results are wanted.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(function, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            if stopping is not None:
                stopping.set()
            pool.shutdown(wait=True, cancel_futures=True)
