"""The clinic's database: SQLite in a file, or PostgreSQL where it is outgrown."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from dermsentry.clinic.store.audit_trail import anchor, end_to_anchor, hold
from dermsentry.clinic.store.tables import LARGEST_ID, Base, Case
from dermsentry.errors import DermsentryError, InputError, OutputError

Row = TypeVar("Row", bound=Base)

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
            return create_engine(
                parsed,
                pool_pre_ping=True,
                pool_size=10,
                max_overflow=10,
                isolation_level="READ COMMITTED",
                hide_parameters=True,  # they may be a patient's, and errors are logged
            )
        if parsed.database in (None, "", ":memory:"):
            raise InputError("Received a database in memory; expected one in a file, sqlite:///FILE.")
        engine = create_engine(
            parsed,
            connect_args={"timeout": PATIENCE_S},
            pool_size=10,
            max_overflow=20,
            hide_parameters=True,
        )
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
        It cannot be reached, its tables cannot be made, or it was written by a later version.
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
        _tell(error)
        # Here it is not this program's mistake: no right to make tables, or an option that there is not.
        raise unusable(error) from error


def is_current(engine: Engine) -> bool:
    """Whether the database's tables are those of this version."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    head = ScriptDirectory.from_config(config).get_current_head()
    with reading(engine) as session:
        return bool(session.scalar(text("SELECT version_num FROM alembic_version")) == head)


def find(session: Session, kind: type[Row], number: int, *, anew: bool = False) -> Row | None:
    """The row of this number, whatever the number; None where there is none. `anew`: as it is by now."""
    return session.get(kind, number, populate_existing=anew) if 0 < number <= LARGEST_ID else None


def held_case(session: Session, case_id: int) -> Case:
    """A case as it is by now, with whoever else would change it waiting. Raises InputError for none."""
    hold(session)
    case = find(session, Case, case_id, anew=True)
    if case is None:
        raise InputError(f"There is no case {case_id}.")
    return case


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A session that only reads, and sees one moment.

    Raises
    ------
    DatabaseError
        The database cannot be reached.
    InputError
        The database cannot take a value.
    """
    try:
        if engine.dialect.name == "postgresql":
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with Session(engine, expire_on_commit=False) as session:
            yield session
    except (DBAPIError, PoolTimeoutError) as error:
        _tell(error)
        raise


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """A session whose changes are kept together when the block ends, and not at all if it fails.

    What it appended to the audit trail is anchored then.

    Raises
    ------
    DatabaseError
        The database cannot be reached.
    OutputError
        There is no space left.
    InputError
        The database cannot take a value.
    """
    try:
        own = engine.execution_options(writing=True)
        with Session(own, expire_on_commit=False) as session:
            with session.begin():
                yield session
                end = end_to_anchor(session)
            if end is not None:
                anchor(end)
    except (DBAPIError, PoolTimeoutError) as error:
        _tell(error)
        raise


def _tell(error: DBAPIError | PoolTimeoutError) -> None:
    """Raise what the database's state led to, in a clear line; not where the mistake is this program's."""
    if isinstance(error, PoolTimeoutError):
        raise DatabaseError("The database cannot be used: every connection is busy; try again.") from error
    if isinstance(error, IntegrityError | ProgrammingError):
        return
    if isinstance(error, DataError):  # such as U+0000 in a text, which PostgreSQL keeps in none
        raise InputError("Received a text or a number that the database cannot take.") from error
    words = _words(error)
    if ("full" in words and "disk" in words) or "No space left" in words:
        raise OutputError(f"The database cannot be written: no space left ({words}).") from error
    raise unusable(error) from error


def unusable(error: DBAPIError) -> DatabaseError:
    """The error that tells, in a line, what the database answered."""
    return DatabaseError(f"The database cannot be used: {_words(error)}.")


def _words(error: DBAPIError) -> str:
    return next(iter(str(error.orig).strip().splitlines()), type(error).__name__)


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver's own transactions begin too late to keep writers apart
    cursor = connection.cursor()
    _keep_a_log_ahead(cursor)
    for pragma in ("foreign_keys=ON", "synchronous=FULL", "cache_size=-32768"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _keep_a_log_ahead(cursor: Any) -> None:
    """Switch to WAL, where readers and a writer do not wait for each other; a new file's first users race."""
    end = time.monotonic() + PATIENCE_S
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            # The driver's patience does not cover this statement.
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def _begin_sqlite(connection: Connection) -> None:
    # A writer that began as a reader would fail, not wait, where another wrote meanwhile.
    writes = connection.get_execution_options().get("writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
