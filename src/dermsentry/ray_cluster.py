"""Work on many machines: Ray moves what is to be done to the functions that do it here as well."""

from __future__ import annotations

import logging
import os
import pickle
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from dermsentry import errors
from dermsentry.errors import DermsentryError, InputError, OutputError
from dermsentry.parallel import cores

Task = TypeVar("Task")
Answer = TypeVar("Answer")

GPU_SHARE = 0.125
"""Of a GPU to an actor: decoding takes the time of a core, and so several share one."""
_STORE = 256 * 1024**2  # bytes of Ray's object store on this machine; what is found goes through files


def map_on_cluster(
    begin: Callable[..., Callable[[Task], Answer]],
    arguments: Sequence[Any],
    tasks: Sequence[Task],
    *,
    threads: int | None = None,
    gpu: bool = False,
) -> Iterator[Answer]:
    """Have actors do tasks, and yield each answer as it is there, in any order.

    Parameters
    ----------
    begin, arguments
        Each actor calls `begin(*arguments)` once, and what that gives with one task after another. It may
        be called again with a task whose actor, or machine, was ended meanwhile.
    tasks
        Anything that can be pickled.
    threads
        How many actors there are, each with a core; by default one per core of the cluster.
    gpu
        Whether each takes a share of a GPU.

    Raises
    ------
    DermsentryError
        What a task raised, or that Ray failed (OutputError).
    """
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    packed = [{"task": pickle.dumps(task)} for task in tasks]
    done = ray.data.from_items(packed, override_num_blocks=len(tasks)).map(
        _Actor,  # type: ignore[arg-type]  # a class whose objects are called
        fn_constructor_args=(begin, tuple(arguments)),
        **actors(threads, len(tasks), gpu=gpu),
    )
    try:
        for row in done.iter_rows():
            if row["error"]:
                raise getattr(errors, row["error"])(row["words"])
            yield pickle.loads(row["answer"])  # noqa: S301  (an actor of ours packed it)
    except ray.exceptions.RayError as error:
        words = (str(error).strip().splitlines() or [type(error).__name__])[-1][:300].rstrip(".")
        raise OutputError(f"Ray failed: {words}. Run it again to resume.") from error


class _Actor:
    """Does one task after another; what went wrong is told, since Ray would wrap and log it."""

    def __init__(self, begin: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
        self._do = begin(*arguments)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        answer, error, words = b"", "", ""
        try:
            task = pickle.loads(row["task"])  # noqa: S301  (packed above)
            answer = pickle.dumps(self._do(task))
        except DermsentryError as raised:
            error = next(own.__name__ for own in type(raised).__mro__ if hasattr(errors, own.__name__))
            words = str(raised)
        return {"answer": answer, "error": error, "words": words}


def actors(threads: int | None, tasks: int | None, *, gpu: bool = False) -> dict[str, Any]:
    """How many actors, and what each takes; where nothing says how many, as many as there is room for."""
    import ray

    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    room = max(1, int(resources.get("CPU", 1)))
    most = threads if tasks is None else min(threads or tasks, tasks)
    # One task and one that waits: more would keep work from who is free, fewer the pool from growing.
    pool = ray.data.ActorPoolStrategy(
        min_size=1, initial_size=min(room, most or room), max_size=most, max_tasks_in_flight_per_actor=2
    )
    return {"compute": pool, "num_cpus": 1, **({"num_gpus": GPU_SHARE} if gpu else {})}


@contextmanager
def connected(address: str | None, threads: int | None) -> Iterator[None]:
    """Connect to a cluster, or begin one on this machine; nothing is reported to Ray's makers.

    Parameters
    ----------
    address
        A Ray cluster's, such as `auto` on one of its machines; None: one that is begun here, and ended. A
        Ray that is connected already is used.
    threads
        Cores of a cluster that is begun here; all by default.

    Raises
    ------
    InputError
        There is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_LOG_LEVEL", "ERROR")
    # "info", where its log files are to say what is wrong.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    if ray.is_initialized():
        yield
        return
    given: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        own = {"num_cpus": threads or cores(), "include_dashboard": False, "object_store_memory": _STORE}
        given |= own
    try:
        with _silent():
            ray.init(address or "local", **given)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        words = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"Received the address {address}: {words}.") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _silent() -> Iterator[None]:
    """Keep what a library in C++ writes to stderr from a person or a log file."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def require_reachable(address: str | None) -> None:
    """Raise InputError where nobody answers at a host and port: Ray itself would try for over six minutes."""
    found = re.fullmatch(r"(?:ray://)?\[?([^/\]]+)\]?:(\d{1,5})", address or "")
    if found is None:
        return
    try:
        socket.create_connection((found[1], int(found[2])), timeout=10).close()
    except (OSError, OverflowError) as error:
        problem = getattr(error, "strerror", None) or error
        raise InputError(f"Received the address {address}; nobody answers there ({problem}).") from error
