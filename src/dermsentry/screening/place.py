"""Where partitions are: a folder here or at an address, whose files are there whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dermsentry.errors import OutputError
from dermsentry.files import write_bytes
from dermsentry.screening.remote import is_address, open_address


@dataclass(frozen=True)
class Place:
    """A folder, here or at an address; every file in it is there whole or not at all."""

    where: str

    @cached_property
    def _remote(self) -> tuple[Any, str] | None:
        if not is_address(self.where):
            return None
        system, root = open_address(self.where)
        return system, root.rstrip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        return Place, (self.where,)

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None where there is none. Raises OutputError."""
        remote = self._remote
        try:
            if remote is None:
                return (Path(self.where) / name).read_bytes()
            system, root = remote
            return bytes(system.cat_file(f"{root}/{name}"))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise OutputError(f"Cannot read {self.where}/{name}: {_words(error)}.") from error

    def write(self, name: str, data: bytes) -> None:
        """Write a file: a new name for a whole one here, one request at an address. Raises OutputError."""
        remote = self._remote
        if remote is None:
            write_bytes(Path(self.where) / name, data)
            return
        system, root = remote
        try:
            system.pipe_file(f"{root}/{name}", data)
        except Exception as error:
            raise OutputError(
                f"Cannot write {self.where}/{name}: {_words(error)}. Run it again to resume."
            ) from error

    def numbers(self, folder: str) -> list[int]:
        """The numbers of the partitions that a folder has, in order. Raises OutputError."""
        remote = self._remote
        try:
            if remote is None:
                found = [path.name for path in (Path(self.where) / folder).iterdir()]
            else:
                system, root = remote
                system.invalidate_cache()
                found = [str(path).rpartition("/")[2] for path in system.ls(f"{root}/{folder}", detail=False)]
        except FileNotFoundError:
            return []
        except Exception as error:
            raise OutputError(f"Cannot read {self.where}/{folder}: {_words(error)}.") from error
        stems = (name.partition(".")[0].removeprefix("part-") for name in found if not name.startswith("."))
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def remove(self, name: str) -> None:
        """Remove a file. Raises OutputError."""
        remote = self._remote
        try:
            if remote is None:
                (Path(self.where) / name).unlink(missing_ok=True)
            else:
                system, root = remote
                system.rm_file(f"{root}/{name}")
        except Exception as error:
            raise OutputError(f"Cannot remove {self.where}/{name}: {_words(error)}.") from error


def _words(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error).strip() or type(error).__name__).splitlines()[0]
