"""The clinic's data folder: photographs, settings, the audit trail's key, the database if it is SQLite."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sqlalchemy import URL, Engine, inspect, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from dermsentry.clinic.store.database import unusable
from dermsentry.errors import InputError, OutputError

DATABASE = "clinic.sqlite"
FOLDERS = ("photographs", "pictures", "models")


def database_of(folder: Path, url: str | None) -> str:
    """The database's address: the one that is given, or the SQLite file of the folder."""
    if url:
        return url
    return URL.create("sqlite", database=str(folder.absolute() / DATABASE)).render_as_string(False)


def prepare(folder: Path) -> None:
    """Make the folder, for its owner alone, and see that it can be written. Raises OutputError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in FOLDERS:  # whatever the umask of who writes into them
            (folder / name).mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        raise OutputError(
            f"The data folder {folder} cannot be written: {error.strerror or error}. Free space, correct its "
            "permissions, or set DERMSENTRY_HOME to another folder."
        ) from error


def tables_of(engine: Engine) -> set[str]:
    """The names of the database's tables. Raises DatabaseError where it cannot be reached."""
    try:
        return set(inspect(engine).get_table_names())
    except DBAPIError as error:
        raise unusable(error) from error


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database, None for another kind. Raises InputError for no address."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InputError(f"The database's address cannot be used ({str(error).splitlines()[0]}).") from error
    if parsed.get_backend_name() != "sqlite":
        return None
    if not parsed.database or parsed.database == ":memory:":
        raise InputError("Received an SQLite database without a file; expected sqlite:///FILE.")
    return Path(parsed.database)
