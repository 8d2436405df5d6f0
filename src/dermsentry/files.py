"""Files are written whole or not at all, and results say what made them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from datetime import date
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import numpy as np

from dermsentry.errors import InputError, OutputError


@contextmanager
def whole_file(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes `path`'s place only if the block ends well.

    `mode`: who may read and write it then, less the user's umask; until then only its owner may.

    Raises
    ------
    OutputError
        If the folder cannot be made or written, or the disk is full.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(mode & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror or error}. Choose another folder or free space."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    """The user's umask. To set it, as POSIX has it read, would hold for what other threads make meanwhile."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text("ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
    umask = os.umask(0)  # not on Linux
    os.umask(umask)
    return umask


def lock_file(file: BinaryIO, path: Path) -> None:
    """Keep another process from writing the same. Raises OutputError where one does."""
    if sys.platform == "win32":  # nothing keeps two processes apart there
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(
            f"{path} is being written by another process; wait for it, or choose another file."
        ) from None
    except OSError:  # a file system without locks
        return


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Make a folder if it is missing, and keep other processes from working in it while the block lasts.

    Raises
    ------
    OutputError
        The folder cannot be written, or another process works there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("ab")
    except OSError as error:
        raise OutputError(
            f"Cannot write {folder}: {error.strerror or error}. Choose another folder."
        ) from error
    with file:
        lock_file(file, folder)
        yield


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all. Raises OutputError.

    A file name's bytes that are no UTF-8 are written as `\\udcXX`, which JSON reads back as they were.
    """
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes, whole or not at all. Raises OutputError."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def plain(value: Any) -> Any:
    """`value` as JSON has it: mappings, lists, text, numbers, booleans and None.

    A dataclass becomes an object of its fields, and of the properties that its class names in `derived`; a
    field whose metadata has `json` has that name, or is left out where it is None. NumPy's numbers and
    arrays, tuples, paths and dates become plain ones. Raises TypeError for anything else.
    """
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, np.generic)):
        return value  # first, since most are
    if is_dataclass(value) and not isinstance(value, type):
        named = [(field.metadata.get("json", field.name), field.name) for field in fields(value)]
        named += [(name, name) for name in getattr(value, "derived", ())]
        return {shown: plain(getattr(value, name)) for shown, name in named if shown is not None}
    if isinstance(value, Mapping):
        return {key: plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [plain(own) for own in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def to_json(value: Any) -> str:
    """`value`, such as a dataclass, as indented JSON; see `plain`. NaN is refused (ValueError)."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, whole or not at all. Raises OutputError."""
    write_text(path, to_json(value))


def csv_line(row: Sequence[Any]) -> str:
    """A row as a line of CSV, its end included (RFC 4180, but for a lone line feed)."""
    out = io.StringIO()
    # Of `\r` and `\n` the writer quotes those that end its lines; `\n` alone would leave a `\r` bare.
    csv.writer(out, lineterminator="\r\n").writerow(row)
    return out.getvalue().removesuffix("\r\n") + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises InputError if it is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {str(error).splitlines()[0]}.") from error


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fingerprint(parts: Iterable[str]) -> str:
    """Hexadecimal SHA-256 over strings, in their order; the same parts give the same fingerprint."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogateescape"))
        digest.update(b"\0")
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Dermsentry, Python and the libraries a result depends on, those that are installed."""
    from importlib import metadata  # takes as long to load as all that screening has of its own

    found = {"python": platform.python_version()}
    names = (
        "dermsentry",
        "numpy",
        "pandas",
        "pillow",
        "pillow-heif",
        "onnxruntime",
        "keras",
        "tensorflow-cpu",
        "tensorflow",
        "scikit-learn",
        "Augmentor",
    )
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
