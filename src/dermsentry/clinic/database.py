"""The clinic's database: SQLite in a file, or PostgreSQL where it is outgrown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session

from dermsentry.errors import DermsentryError, InputError, OutputError

MIGRATIONS = Path(__file__).parent / "migrations"
PATIENCE_S = 15
"""How long a writer waits for another one on SQLite, which has one at a time."""


class DatabaseError(DermsentryError):
    """The database cannot be reached, or refuses."""

    exit_code = 7


def open_database(url: str) -> Engine:
    """An engine for `sqlite:///FILE` or `postgresql+psycopg://…`; nothing is created yet.

    Raises
    ------
    InputError
        The address is of neither kind, or its driver is not installed.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise InputError(
                f"Received a database of the kind {parsed.get_backend_name()}; expected sqlite or postgresql."
            )
        if parsed.get_backend_name() == "postgresql":
            return create_engine(parsed, pool_pre_ping=True, pool_size=10, max_overflow=10)
        engine = create_engine(parsed, connect_args={"timeout": PATIENCE_S}, pool_size=10, max_overflow=20)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise InputError(
            f"The database's address cannot be used ({str(error).splitlines()[0]}); expected "
            "sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME."
        ) from error
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def migrate(engine: Engine) -> None:
    """Bring the database's tables to this version; several servers may do so at the same time.

    Raises
    ------
    DatabaseError
        It cannot be reached, or was written by a later version.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with engine.execution_options(writing=True).connect() as connection, connection.begin():
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(1296387155)")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise DatabaseError(
            f"The database was written by a later version of dermsentry ({error}): install that one."
        ) from error
    except DBAPIError as error:
        raise _told(error) from error


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A session that only reads, and sees one moment.

    Raises
    ------
    DatabaseError
        The database cannot be reached.
    """
    try:
        with Session(engine, expire_on_commit=False) as session:
            yield session
    except OperationalError as error:
        raise _told(error) from error


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """A session whose changes are kept together when the block ends, and not at all if it fails.

    Raises
    ------
    DatabaseError
        The database cannot be reached.
    OutputError
        There is no space left.
    """
    try:
        own = engine.execution_options(writing=True)
        with Session(own, expire_on_commit=False) as session, session.begin():
            yield session
    except OperationalError as error:
        raise _told(error) from error


def _told(error: DBAPIError) -> DermsentryError:
    words = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error).__name__
    if ("full" in words and "disk" in words) or "No space left" in words:
        return OutputError(f"The database cannot be written: no space left ({words}).")
    return DatabaseError(f"The database cannot be used: {words}.")


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver's own transactions begin too late to keep writers apart
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL", "cache_size=-32768"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer that began as a reader would fail, not wait, where another wrote meanwhile.
    writes = connection.get_execution_options().get("writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
