"""The photographs as they came, and the pictures drawn from them, by the SHA-256 of the photograph.

A file as it came is never sent to a browser: what people see was decoded and encoded again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dermsentry.errors import InputError
from dermsentry.files import write_bytes

Kind = Literal["view", "thumbnail", "heat"]
SUFFIX: dict[Kind, str] = {"view": "jpg", "thumbnail": "jpg", "heat": "png"}


@dataclass(frozen=True)
class Pictures:
    """The folder that holds them, in two levels of folders so that none grows large."""

    folder: Path

    def original(self, sha256: str) -> Path:
        """Where the file as it came is kept."""
        return self._place("photographs", sha256) / sha256

    def drawn(self, sha256: str, kind: Kind) -> Path:
        """Where a picture drawn from it is kept."""
        return self._place("pictures", sha256) / f"{sha256}.{kind}.{SUFFIX[kind]}"

    def keep(self, data: bytes) -> str:
        """Keep a file as it came; its SHA-256. Raises OutputError where it cannot be written."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.original(sha256)
        if not path.is_file():
            write_bytes(path, data)
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
