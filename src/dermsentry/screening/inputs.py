"""Which photographs to screen: files, folders, patterns, or a list that another command gives."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dermsentry.errors import InputError
from dermsentry.images import SUFFIXES


@dataclass(frozen=True, slots=True)
class Source:
    """A photograph to be read: its path, and the folder that a link may not lead out of, if any."""

    path: str
    root: str | None = None

    @property
    def name(self) -> str:
        """The file's stem, which is the photograph's name in every result."""
        return Path(self.path).stem


def find_photographs(
    paths: Iterable[str | Path], *, leave_out: Path | None = None, strict: bool = True
) -> list[Source]:
    """List the photographs that `paths` stand for, each once, in the order given; folders in order of name.

    Parameters
    ----------
    paths
        Files (any name: one that is no photograph gets its line as unreadable), folders (searched to the
        bottom for photographs; links to folders are not followed), patterns such as `visits/**/*.jpg`.
    leave_out
        A folder that is not searched: where this run writes its own pictures.

    strict
        Whether a path that does not exist is refused; if not, it is listed, to be found unreadable.

    Raises
    ------
    InputError
        A path that does not exist, a folder without photographs, a pattern that nothing matches.
    """
    found: dict[str, Source] = {}
    for given in paths:
        for source in _sources(os.fspath(given), leave_out, strict):
            found.setdefault(str(Path(source.path).absolute()), source)
    if not found:
        raise InputError("Received no photographs; expected files, folders or patterns.")
    return list(found.values())


def read_list(lines: str) -> list[str]:
    """The paths of a list, one a line, or separated by NUL as `find -print0` writes them."""
    separated = lines.split("\0") if "\0" in lines else lines.splitlines()
    return [line for line in separated if line.strip()]


def require_own_names(sources: Sequence[Source], what: str) -> None:
    """Raise InputError if two photographs have the same name: `what` could not tell them apart."""
    first: dict[str, str] = {}
    for source in sources:
        other = first.setdefault(source.name, source.path)
        if other != source.path:
            raise InputError(
                f"{other} and {source.path} are both named {source.name}, and {what} knows a photograph by "
                "its name alone; rename one, or screen their folders one at a time."
            )


def _sources(text: str, leave_out: Path | None, strict: bool) -> Iterator[Source]:
    path = Path(text)
    if path.is_dir():
        files = list(_walk(text, leave_out))
        if not files:
            kinds = " ".join(sorted(SUFFIXES))
            raise InputError(f"{text} holds no photographs; expected files ending in {kinds}.")
        yield from files
    elif not strict or path.exists() or path.is_symlink():
        yield Source(text)
    elif glob.has_magic(text):
        matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        if not matches:
            raise InputError(f"Nothing matches {text}.")
        for match in matches:
            if not Path(match).is_dir():
                yield Source(match)
            elif "**" not in text:  # with `**` the files below match by themselves
                yield from _walk(match, leave_out)
    else:
        raise InputError(f"{text} does not exist; expected a photograph, a folder or a pattern.")


def _walk(root: str, leave_out: Path | None) -> Iterator[Source]:
    def refuse(error: OSError) -> None:
        raise InputError(f"Cannot read {error.filename}: {error.strerror}.")

    skipped = leave_out.resolve() if leave_out is not None else None
    for name, folders, files in os.walk(root, onerror=refuse):
        folder = Path(name)
        kept = [f for f in folders if not f.startswith(".") and (folder / f).resolve() != skipped]
        folders[:] = sorted(kept)
        for file in sorted(files):
            path = folder / file
            if not file.startswith(".") and path.suffix.lower() in SUFFIXES:
                # Only a link can lead out of the folder; to resolve every path would cost more than to ask.
                yield Source(str(path), root if path.is_symlink() else None)
