"""A PostgreSQL of the tests' own, and new databases in it."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from clinic.waiting import free_port
from dermsentry.clinic.store.database import migrate, open_database
from dermsentry.clinic.store.tables import Base


@dataclass
class Cluster:
    """A running PostgreSQL on a loopback port, with a password."""

    programs: Path
    folder: Path
    port: int
    password: str
    emptied: list[str] = field(default_factory=list)

    def database(self) -> str:
        """The address of a new, empty database."""
        return self._create("template1")

    def migrated(self) -> str:
        """The address of an empty database with the clinic's tables: an emptied one where there is one."""
        return self.emptied.pop() if self.emptied else self._create(self._migrated)

    def give_back(self, url: str) -> None:
        """Empty a migrated database for the next test, which is many times as fast as making one.

        One that a test filled with many rows, or whose version it changed, goes.
        """
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            others = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            )
            connection.execute(f"{others} AND pid <> pg_backend_pid()")
            state = "SELECT (SELECT version_num FROM alembic_version), (SELECT count(*) FROM cases)"
            version, cases = connection.execute(state).fetchone() or ("", 0)
            kept = version == self.version and cases < 1000
            if kept:
                for table in reversed(Base.metadata.sorted_tables):
                    connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table.name)))
                connection.execute("SELECT setval(sequencename::regclass, 1, false) FROM pg_sequences")
        if kept:
            self.emptied.append(url)
        else:
            self.drop(url)

    def drop(self, url: str) -> None:
        self._control(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(_name_in(url)))

    @cached_property
    def _migrated(self) -> str:
        # Copying is several times as fast as migrating each.
        url = self.database()
        engine = open_database(url)
        migrate(engine)
        with engine.connect() as connection:
            self.version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        engine.dispose()
        return url.rpartition("/")[2]

    def _create(self, template: str) -> str:
        url = self._address(f"clinic_{secrets.token_hex(6)}")
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self._control(create.format(_name_in(url), sql.Identifier(template)))
        return url.replace("postgresql://", "postgresql+psycopg://")

    def _control(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def _address(self, database: str) -> str:
        return f"postgresql://clinic:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self._call("-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self._call("-m", "immediate", "stop")

    def _call(self, *arguments: str) -> None:
        _as_postgres(self.programs / "pg_ctl", "-D", str(self.folder / "data"), "-w", *arguments)


def _name_in(url: str) -> sql.Identifier:
    return sql.Identifier(url.rpartition("/")[2])


def _as_postgres(program: Path, *arguments: str) -> None:
    # PostgreSQL refuses to run as root. Its output goes nowhere: a daemon would keep a pipe open.
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    command = [*prefix, str(program), *arguments]
    subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _programs() -> Path:
    """The folder of PostgreSQL's programs, the newest where there are several; skips where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    initdb = str(found[-1]) if found else shutil.which("initdb")
    if initdb is None:
        pytest.skip("PostgreSQL is not installed")
    return Path(initdb).parent


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A new PostgreSQL, gone at the end; skips where none can run."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="dermsentry-postgresql-"))
    try:
        cluster = Cluster(programs, folder, free_port(), secrets.token_urlsafe(12))
        password = folder / "password"
        password.write_text(cluster.password)
        if os.geteuid() == 0:
            try:
                who = pwd.getpwnam("postgres")
            except KeyError:
                pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
            for path in (folder, password):
                os.chown(path, who.pw_uid, who.pw_gid)
        plain = ("-U", "clinic", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        secret = ("--auth=scram-sha-256", f"--pwfile={password}")
        _as_postgres(programs / "initdb", "-D", str(folder / "data"), *plain, *secret)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder)
