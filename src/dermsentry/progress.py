"""Progress on stderr; stdout stays clean for pipes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def track(items: Iterable[Item], what: str, total: int | None = None, quiet: bool = False) -> Iterator[Item]:
    """Yield `items`, showing a bar with the time left on stderr while a person is watching.

    Parameters
    ----------
    items
        What is gone through.
    what
        One or two words for the bar, such as `Reading`.
    total
        How many items there are, where `items` has no length.
    quiet
        Show nothing.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        yield from bar.track(items, total=total, description=what)


def say(text: str, *, quiet: bool = False) -> None:
    """A line for the person at the terminal, on stderr."""
    if not quiet:
        print(text, file=sys.stderr, flush=True)
