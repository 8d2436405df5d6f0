"""`findings.jsonl`, to which every finding is added as soon as it is known, so that a run can be resumed.

Beside it, `findings.run.json` says which model made them, and of what. A file of another model, collection or
shard is refused. What is there by path, version and model is not screened again; the finding of a photograph
that changed is replaced when the run ends.
"""

from __future__ import annotations

import os
import threading
import warnings
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from dermsentry.errors import DataWarning, InputError, OutputError
from dermsentry.files import lock_file, read_json, whole_file, write_json
from dermsentry.screening.finding import SCHEMA, Finding, read_finding
from dermsentry.screening.inputs import Shard, Source, path_hash
from dermsentry.screening.remote import is_address
from dermsentry.screening.writers import json_line

_SHOWN = 100  # paths that are kept beside the findings; of more, the findings themselves tell


@dataclass(frozen=True)
class Run:
    """What findings are of. `given`: the paths and addresses; None of images in memory, never resumed."""

    model: str
    digest: str
    given: tuple[str, ...] | None
    shard: Shard | None

    def as_dict(self, before: tuple[str, ...] = ()) -> dict[str, Any]:
        """What is kept beside the findings; `before`: what earlier runs were given."""
        given = None if self.given is None else list(dict.fromkeys((*before, *self.given)))
        return {
            "schema": SCHEMA,
            "model": self.model,
            "digest": self.digest,
            "given": given if given is None or len(given) <= _SHOWN else [],
            "folder": str(Path.cwd()),
            "shard": None if self.shard is None else str(self.shard),
        }


class _Line(msgspec.Struct):
    """What a line is known by."""

    path: str
    schema: int
    version: str | None = None


class KeptFindings:
    """The findings of a file, by path and version; safe to ask from several threads."""

    def __init__(self, path: Path, run: Run, file: BinaryIO, offsets: array[int], hashes: array[int]) -> None:
        self._path, self._run, self._file = path, run, file
        self._offsets = np.asarray(offsets, dtype=np.int64)
        self._order = np.argsort(np.asarray(hashes, dtype=np.uint64), kind="stable")
        self._sorted = np.asarray(hashes, dtype=np.uint64)[self._order]
        self._met = np.zeros(len(hashes), dtype=bool)
        self._screened: set[int] = set()
        self._lock = threading.Lock()

    def find(self, source: Source, saliency: Path | None = None) -> Finding | None:
        """The finding of a photograph that is as it was, and has its map in the folder `saliency`, if any."""
        lines = self._lines(source.path)
        version = source.known_version() if lines else None
        if version is None:
            return None
        for line in reversed(lines):
            finding = read_finding(self._read(line))
            drawn = saliency is None or finding.quality is None or (saliency / f"{source.name}.png").is_file()
            if finding.path == source.path and finding.version == version and drawn:
                self._met[line] = True
                return finding
        return None

    def add(self, finding: Finding) -> None:
        """Add a finding to the file, unless an equal one is there. Raises OutputError."""
        text = json_line(finding).encode()
        lines = self._lines(finding.path)
        same = next((line for line in lines if not self._met[line] and self._read(line) == text), None)
        if same is not None:
            self._met[same] = True
            return
        if lines:
            self._screened.add(path_hash(finding.path))
        try:
            with self._lock:
                while text:  # of what fills a disk a part is written
                    text = text[self._file.write(text) :]
        except OSError as error:
            problem = error.strerror or error
            raise OutputError(f"Cannot write {self._path}: {problem}. Run it again to resume.") from error

    def finish(self) -> None:
        """Leave out the findings that were replaced, once every photograph was taken; tell what was kept."""
        replaced = [line for line in np.flatnonzero(~self._met) if self._is_replaced(int(line))]
        if replaced:
            gone = set(map(int, replaced))
            with whole_file(self._path) as temporary, temporary.open("wb") as out:
                for line in range(len(self._met)):
                    if line not in gone:
                        out.write(self._read(line))
                with self._lock:
                    self._file.seek(int(self._offsets[-1]))
                    while block := self._file.read(1 << 20):
                        out.write(block)
        kept, others = int(self._met.sum()), len(self._met) - int(self._met.sum()) - len(replaced)
        told = []
        if kept:
            told.append(f"{_findings(kept)} of an earlier run kept, and not screened again")
        if replaced:
            told.append(f"{_findings(len(replaced))} replaced, since the photographs changed")
        if others:
            told.append(f"{_findings(others)} kept of photographs that were not among those given now")
        if told:
            warnings.warn(f"{self._path}: {'; '.join(told)}.", DataWarning, stacklevel=2)

    def _is_replaced(self, line: int) -> bool:
        found = msgspec.json.decode(self._read(line), type=_Line)
        if path_hash(found.path) in self._screened:
            return True
        # What could not be opened has no version; it is no longer there, or can be opened now.
        return found.version is None and any(
            found.path == one or found.path.startswith(f"{one.rstrip('/')}/") or fnmatchcase(found.path, one)
            for one in self._run.given or ()
        )

    def _lines(self, path: str) -> list[int]:
        """The lines that may be of this path."""
        wanted = np.uint64(path_hash(path))
        first, last = (
            np.searchsorted(self._sorted, wanted, "left"),
            np.searchsorted(self._sorted, wanted, "right"),
        )
        return [int(line) for line in self._order[first:last]]

    def _read(self, line: int) -> bytes:
        start, end = int(self._offsets[line]), int(self._offsets[line + 1])
        with self._lock:
            self._file.seek(start)
            return self._file.read(end - start)


def run_file(path: Path) -> Path:
    """The file beside findings that says what they are of."""
    return path.with_suffix(".run.json")


def check_findings(path: Path, run: Run, *, force: bool = False) -> None:
    """Raise OutputError where findings of another model, collection or shard are in the way.

    With `force` only where findings in other parts are.
    """
    shard = run.shard
    others = [path] if shard is None else sorted(path.parent.glob(f"*-of-{shard.count}.jsonl"))
    if shard is not None and path.name.endswith(f"{shard.number}-of-{shard.count}.jsonl"):
        ours = f"-of-{shard.count}.run.json"
        in_the_way = [one for one in path.parent.glob("*.run.json") if not one.name.endswith(ours)]
    else:
        in_the_way = list(path.parent.glob(f"{path.stem}-*-of-*.run.json"))
    if in_the_way:
        received = "all of them in one file" if shard is None else f"the shard {shard}"
        raise OutputError(
            f"{path.parent} holds findings in other parts, such as {in_the_way[0].name}; received "
            f"{received}. Choose another folder, or remove them."
        )
    if force:
        return
    for other in dict.fromkeys([*others, path]):
        if other.exists() and other.stat().st_size:
            _check(other, run, same_shard=other == path)


def _check(path: Path, run: Run, *, same_shard: bool) -> None:
    replace = "choose another folder, or replace them by --force (force=True)"
    beside = run_file(path)
    if not beside.is_file():
        raise OutputError(f"{path} is there, and not {beside.name}, which says what it is of; {replace}.")
    before = read_json(beside)
    own = run.as_dict()
    if not isinstance(before, dict) or own.keys() - before.keys():
        raise OutputError(f"{beside} does not say what {path.name} is of; {replace}.")
    of = before["given"] or ["images in memory" if before["given"] is None else "a list of photographs"]
    shown = f"{path} holds findings of {', '.join(map(str, of[:3]))}{', …' if len(of) > 3 else ''}"
    if before["digest"] != own["digest"] or before["schema"] != SCHEMA:
        raise OutputError(f"{shown} by the model {before['model']}; received {run.model}; {replace}.")
    if same_shard and before["shard"] != own["shard"]:
        said = [str(one["shard"] or "all of them") for one in (before, own)]
        raise OutputError(f"{shown}, of the shards {said[0]}; received {said[1]}; {replace}.")
    if run.given is None or before["given"] is None:
        raise OutputError(f"{shown}; images in memory cannot be resumed; {replace}.")
    relative = any(not is_address(one) and not Path(one).is_absolute() for one in run.given)
    if relative and before["folder"] != own["folder"]:
        raise OutputError(f"{shown} in {before['folder']}; received paths in {own['folder']}; {replace}.")
    if set(run.given) & set(before["given"]) or not same_shard:
        return
    hashes = set(_read_lines(path)[1])
    if hashes and not any(path_hash(one) in hashes for one in run.given):
        given = f"{', '.join(run.given[:3])}{', …' if len(run.given) > 3 else ''}"
        raise OutputError(f"{shown}; received {given}; {replace}.")


@contextmanager
def open_findings(path: Path, run: Run, *, force: bool = False) -> Iterator[KeptFindings]:
    """Open the findings of a run for adding to; what a kill left of a last line is removed, and told.

    Raises
    ------
    OutputError
        They are another's (see `check_findings`), or no findings, or another process adds to them, or the
        file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror or error}. Choose another folder."
        ) from error
    with file:
        lock_file(file, path)
        if not os.fstat(file.fileno()).st_size:
            force = True  # begun, and ended before the first finding
        if force:
            file.truncate(0)
        else:
            check_findings(path, run)
        before = () if force else tuple(read_json(run_file(path))["given"] or ())
        write_json(run_file(path), run.as_dict(before))
        offsets, hashes, size = _read_lines(path)
        if size > offsets[-1]:
            file.truncate(offsets[-1])
            warnings.warn(
                f"{path}: the last line was cut off ({size - offsets[-1]} bytes) and was removed; its "
                "photograph is screened again.",
                DataWarning,
                stacklevel=3,
            )
        yield KeptFindings(path, run, file, offsets, hashes)
        os.fsync(file.fileno())


def _read_lines(path: Path) -> tuple[array[int], array[int], int]:
    """Where each whole line begins and the last one ends, the hashes of their paths, and the file's size."""
    offsets, hashes = array("q", [0]), array("Q")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            hashes.append(path_hash(_path(line, f"{path}, line {number}")))
            offsets.append(offsets[-1] + len(line))
        size = file.seek(0, os.SEEK_END)
    return offsets, hashes, size


def _path(line: bytes, where: str) -> str:
    try:
        return msgspec.json.decode(line, type=_Line).path
    except msgspec.DecodeError:
        try:
            return read_finding(line).path  # a name that is no UTF-8
        except InputError as error:
            raise OutputError(
                f"{where}: {error} Remove it, or replace all by --force (force=True)."
            ) from None


def _findings(number: int) -> str:
    return "1 finding" if number == 1 else f"{number:,} findings"
