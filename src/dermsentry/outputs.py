"""What was written before is replaced only by the same again; see "What is never overwritten" in the docs.

A folder of results keeps `.dermsentry.json`: for each command that wrote there what its results were made of,
and the SHA-256 of its files, so that one which a person edited is known. A single file that a command writes
wherever it is told to has a record of its own, `.NAME.dermsentry.json`, since others may write beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dermsentry.errors import OutputError
from dermsentry.files import sha256, to_json, write_json
from dermsentry.run_record import describe_run

RECORD = ".dermsentry.json"
RUNS = Path("runs")
"""Where runs are numbered that are given no folder."""
_LONG = 24  # characters of a value that is named in an error; a fingerprint is longer


@dataclass(frozen=True)
class Output:
    """The results of a command in a folder.

    Parameters
    ----------
    folder
        The folder, which need not be there.
    command
        The command that writes them.
    names
        The files that it writes.
    made_of
        The options and inputs that decide what they hold, by name, as JSON can have them.
    adding
        Those of them that only add to the results: turned on later, they replace nothing.
    record
        The file in `folder` that keeps all this.
    option
        The option that says where to write.
    """

    folder: Path
    command: str
    names: tuple[str, ...]
    made_of: Mapping[str, Any]
    adding: tuple[str, ...] = ()
    record: str = RECORD
    option: str = "--out"

    def check(self, *, force: bool = False) -> None:
        """Raise OutputError where this would replace something else, unless it is forced."""
        there = [name for name in self.names if (self.folder / name).exists()]
        if not there or force:
            return
        entry = _read(self.folder / self.record).get(self.command)
        if entry is None:
            problem = f"{self.folder} has {_listed(there)}, and nothing says that {self.command} wrote it so"
        elif differing := list(self._differences(entry["made_of"])):
            problem = f"{self.folder} has what {self.command} made of something else ({_listed(differing)})"
        else:
            edited = [name for name in there if entry["files"].get(name, "") not in ("", self._hash(name))]
            if not edited:
                return
            problem = f"{self.folder / edited[0]} was changed since {self.command} wrote it"
        raise OutputError(
            f"{problem}. Nothing was replaced: choose another {self.option}, or replace it by --force."
        )

    def begin(self) -> None:
        """Record what the results are made of before they are there, so that a later call resumes."""
        self._record({})

    def finish(self) -> None:
        """Record the files that were written."""
        self._record({name: self._hash(name) for name in self.names if (self.folder / name).is_file()})

    def is_there(self) -> bool:
        """Whether the folder has these results, finished or not, and of the same."""
        entry = _read(self.folder / self.record).get(self.command)
        return entry is not None and not list(self._differences(entry["made_of"]))

    def _record(self, files: Mapping[str, str]) -> None:
        entry = {self.command: {"made_of": self.made_of, "files": files, "run": describe_run()}}
        write_json(self.folder / self.record, _read(self.folder / self.record) | entry)

    def _hash(self, name: str) -> str:
        return sha256(self.folder / name)

    def _differences(self, before: Mapping[str, Any]) -> Iterator[str]:
        """What these results are made of otherwise than those before, in words."""
        now = json.loads(to_json(dict(self.made_of)))
        for name in {**before, **now}:
            old, new = before.get(name), now.get(name)
            if old != new and not (name in self.adding and new and not old):
                short = max(len(str(old)), len(str(new))) <= _LONG
                yield f"{name} {old}, now {new}" if short else f"another {name}"


def single_file(path: Path, command: str, made_of: Mapping[str, Any], option: str = "--out") -> Output:
    """The one file that a command writes, with a record of its own."""
    return Output(
        path.parent, command, (path.name,), made_of, record=f".{path.name}.dermsentry.json", option=option
    )


def read_run(folder: Path, command: str) -> dict[str, Any] | None:
    """How the results of a command in a folder were made, as `describe_run` has it; None where unrecorded."""
    found = _read(folder / RECORD).get(command, {}).get("run")
    return found if isinstance(found, dict) else None


def begins_with(path: Path, lines: Iterable[str]) -> bool:
    """Whether a file is missing, or holds the first of these lines and nothing else: what grows may go on.

    Raises
    ------
    OutputError
        It cannot be read.
    """
    try:
        with path.open("rb") as file:
            for line in lines:
                expected = line.encode()
                there = file.read(len(expected))
                if there != expected:
                    return not there
            return not file.read(1)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise OutputError(f"Cannot read {path}: {error.strerror or error}; choose another --out.") from error


def numbered(parent: Path, output: Output) -> Path:
    """The folder in `parent` that has these results already, or a new one with the next number."""
    for number in range(1, 10**6):
        folder = parent / f"{output.command}-{number}"
        if Output(folder, output.command, output.names, output.made_of).is_there():
            return folder
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if any(folder.iterdir()):
                continue
        except OSError as error:
            raise OutputError(
                f"Cannot write {folder}: {error.strerror or error}. Choose another --out."
            ) from error
        return folder
    raise OutputError(f"{parent} is full of runs; choose another --out.")


def _read(record: Path) -> dict[str, Any]:
    """What is recorded, by command; nothing where that is missing or broken."""
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {
        name: entry
        for name, entry in entries
        if isinstance(entry, dict) and all(isinstance(entry.get(k), dict) for k in ("made_of", "files"))
    }


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more
