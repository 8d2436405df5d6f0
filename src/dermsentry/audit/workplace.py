"""Where an audit's work is done and kept: a folder, and this machine's threads or a Ray cluster."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from dermsentry.errors import InputError, OutputError, require_extra
from dermsentry.files import locked_folder
from dermsentry.parallel import cores
from dermsentry.progress import Work
from dermsentry.ray_cluster import connected, map_on_cluster, require_reachable

EngineName = Literal["local", "ray"]
Task = TypeVar("Task", contravariant=True)
Answer = TypeVar("Answer", covariant=True)
Advance = Callable[[int], None]


class Doing(Protocol[Task, Answer]):
    """Does one task after another; told how far it is where it can be asked."""

    def __call__(self, task: Task, advance: Advance = ...) -> Answer:
        """Do a task."""
        ...

    def close(self) -> None:
        """End what it began."""


class NothingToClose:
    """What does tasks without having begun anything."""

    def close(self) -> None:
        """Do nothing."""


def nobody(_: int) -> None:
    """Where nobody asks how far it is."""


@dataclass(frozen=True)
class Workplace:
    """Where partitions are worked on, and what is finished is kept.

    Attributes
    ----------
    folder
        What is kept.
    threads
        Threads of this machine, or actors of a cluster; one per core by default.
    engine
        `local`, or `ray` while it is connected.
    extend
        Whether an earlier search is kept, and only what is new is compared with all.
    quiet
        Show no progress on stderr.
    """

    folder: Path
    threads: int | None = None
    engine: EngineName = "local"
    extend: bool = False
    quiet: bool = True

    @property
    def here(self) -> int:
        """Threads of a task: on a cluster each is done by an actor with one core."""
        return 1 if self.engine == "ray" else self.threads or cores()

    def each(
        self,
        what: str,
        begin: Callable[..., Doing[Any, Any]],
        arguments: Sequence[Any],
        tasks: Sequence[Any],
        sizes: Sequence[int],
        done: int = 0,
    ) -> Iterator[Any]:
        """Do tasks by `begin(*arguments)`, here or on the cluster, and yield each answer, in any order.

        `sizes`: photographs or pairs of each task, for the bar; `done`, by an earlier run.
        """
        if not tasks:
            return
        with Work(what, sum(sizes) + done, self.quiet, done) as work:
            if self.engine == "local":
                doing = begin(*arguments)
                try:
                    for task in tasks:
                        yield doing(task, work.advance)
                finally:
                    doing.close()
                return
            numbered = list(zip(sizes, tasks, strict=True))
            found = map_on_cluster(_Sized, (begin, *arguments), numbered, threads=self.threads)
            for size, answer in found:
                yield answer
                work.advance(size)


class _Sized:
    """Does tasks that come with their size, and gives it back."""

    def __init__(self, begin: Callable[..., Doing[Any, Any]], *arguments: Any) -> None:
        self._doing = begin(*arguments)

    def __call__(self, task: tuple[int, Any]) -> tuple[int, Any]:
        return task[0], self._doing(task[1])


@contextmanager
def workplace(
    folder: Path | None,
    *,
    engine: EngineName = "local",
    address: str | None = None,
    threads: int | None = None,
    extend: bool = False,
    quiet: bool = True,
) -> Iterator[Workplace]:
    """A place to work at, which no other process has meanwhile.

    Parameters
    ----------
    folder
        Where what is finished is kept; made if it is missing. None: for this time only.
    engine, address
        `ray` for a cluster: its address, such as `auto`, or None for one on this machine.
    threads
        Threads, or actors of a cluster.
    extend, quiet
        See `Workplace`.

    Raises
    ------
    InputError
        Ray is asked for without a folder, is not installed or not there.
    OutputError
        The folder cannot be made, or another process works there.
    """
    with ExitStack() as stack:
        if engine == "ray":
            require_extra("cluster")
            if folder is None:
                raise InputError(
                    "Received the engine ray without a folder that every machine sees; give one."
                )
            require_reachable(address)
        elif address is not None:
            raise InputError(f"Received the address {address} without the engine ray.")
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dermsentry-audit-")))
        else:
            folder = folder.absolute()
            stack.enter_context(locked_folder(folder))
        if engine == "ray":
            stack.enter_context(connected(address, threads))
        yield Workplace(folder, threads, engine, extend, quiet)


def link_files(source: Path, folder: Path) -> None:
    """Have in `folder` what `source` has, as further names of the same files where that can be.

    Files are never changed once they are written, so both stay as they are. Raises OutputError.
    """
    import shutil

    try:
        for path in sorted(source.rglob("*")):
            if not path.is_file() or any(part.startswith(".") for part in path.relative_to(source).parts):
                continue
            own = folder / path.relative_to(source)
            if own.exists():
                continue
            own.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, own)
            except OSError:  # another file system, or one without links
                copied = own.with_name(f".{own.name}.copied")
                shutil.copyfile(path, copied)
                copied.replace(own)
    except OSError as error:
        raise OutputError(f"Cannot copy {source} to {folder}: {error.strerror or error}.") from error
