"""The photographs as they came, and the pictures drawn from them, by the SHA-256 of the photograph.

A file as it came is never sent to a browser: what people see was decoded and encoded again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dermsentry.errors import InputError, OutputError
from dermsentry.files import write_bytes

Kind = Literal["view", "thumbnail", "saliency"]
SUFFIX: dict[Kind, str] = {"view": "jpg", "thumbnail": "jpg", "saliency": "png"}
_OLD_SALIENCY = "heat.png"
"""How a saliency map's file ended in version 1."""


@dataclass(frozen=True)
class Pictures:
    """The folder that holds them, in two levels of folders so that none grows large."""

    folder: Path

    def original(self, sha256: str) -> Path:
        """Where the file as it came is kept."""
        return self._place("photographs", sha256) / sha256

    def drawn(self, sha256: str, kind: Kind) -> Path:
        """Where a picture drawn from it is kept."""
        place = self._place("pictures", sha256)
        path, old = place / f"{sha256}.{kind}.{SUFFIX[kind]}", place / f"{sha256}.{_OLD_SALIENCY}"
        return old if kind == "saliency" and not path.exists() and old.exists() else path

    def remove_drawn(self, sha256: str, kind: Kind) -> None:
        """Remove a picture drawn from it, if there is one. Raises OutputError where it cannot be removed."""
        path = self.drawn(sha256, kind)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"Cannot remove {path}: {error.strerror or error}.") from error

    def look(self, sha256: str, name: str) -> Path:
        """Where what was made to look at a photograph closely is kept; it can be made again."""
        return self._place("looks", sha256) / f"{sha256}.{name}"

    def keep(self, data: bytes) -> str:
        """Keep a file as it came; its SHA-256. Raises OutputError where it cannot be written.

        It is on the disk when this returns: a case that outlives a power cut has its photograph. One that was
        damaged since it came is healed by coming again.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.original(sha256)
        if not _holds(path, data):
            write_bytes(path, data)
        for place in (path, path.parent):  # also of one that was there: it may have failed here
            _force_out(place)
        return sha256

    def read_original(self, sha256: str) -> bytes:
        """A file as it came. Raises InputError where it is gone or was changed."""
        path = self.original(sha256)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"The photograph {path} cannot be read: {error.strerror or error}.") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise InputError(f"The photograph {path} was changed since it came; restore it from a backup.")
        return data

    def _place(self, kind: str, sha256: str) -> Path:
        return self.folder / kind / sha256[:2] / sha256[2:4]


def may_leave(kept: Mapping[str, Any] | None) -> bool:
    """Whether a case's pixels may be exported, by its `dicom`: not where they name the patient."""
    return not (kept or {}).get("burned_in", False)


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def _force_out(path: Path) -> None:
    """Have the disk keep a file, or a folder's list of names. Raises OutputError."""
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error
