from __future__ import annotations

import multiprocessing
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError

from clinic.cases import screened
from clinic.database_writers import begin
from clinic.postgresql import Cluster
from clinic.trail_events import Made
from dermsentry.clinic.store.audit_trail import Trail, append
from dermsentry.clinic.store.database import DatabaseError, migrate, open_database, reading, writing
from dermsentry.clinic.store.tables import Account, Base, Case, Event, Instant, Model, now
from dermsentry.errors import InputError, OutputError


def test_the_migrations_make_the_tables_that_the_code_knows(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    found = inspect(engine)
    for name, table in Base.metadata.tables.items():
        indices = {index["name"] for index in found.get_indexes(name) if "uq_" not in str(index["name"])}
        assert indices == {index.name for index in table.indexes if "uq_" not in str(index.name)}


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    with writing(engine) as session:
        session.add(screened(""))
    migrate(engine)
    with reading(engine) as session:
        assert session.scalar(select(Case.id)) is not None


def test_servers_that_start_at_once_share_one_database(database_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    starting = [spawn.Process(target=begin, args=(database_url,)) for _ in range(4)]
    for process in starting:
        process.start()
    for process in starting:
        process.join()
    assert [process.exitcode for process in starting] == [0, 0, 0, 0]
    engine = open_database(database_url)
    with reading(engine) as session:
        assert len(session.scalars(select(Case.id)).all()) == 4
    engine.dispose()


def test_a_later_versions_database_is_refused(engine: Engine) -> None:
    with writing(engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match="later version"):
        migrate(engine)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://host/clinic",
        "nonsense",
        "",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql+nodriver://host/clinic",
    ],
)
def test_an_address_of_no_use_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        open_database(url)


def test_a_database_that_is_away_is_told_without_its_password(tmp_path: Path) -> None:
    engine = open_database("postgresql+psycopg://clinic:hunter2secret@127.0.0.1:1/clinic")
    for use in (reading, writing):
        with pytest.raises(DatabaseError) as told, use(engine) as session:
            session.execute(text("SELECT 1"))
        assert "hunter2secret" not in str(told.value)
        assert "\n" not in str(told.value)
    with pytest.raises(DatabaseError):
        migrate(engine)
    with pytest.raises(DatabaseError):
        migrate(open_database(f"sqlite:///{tmp_path}/missing/clinic.sqlite"))


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "clinic.sqlite").write_bytes(b"something else entirely" * 100)
    with pytest.raises(DatabaseError, match="not a database"):
        migrate(open_database(f"sqlite:///{tmp_path}/clinic.sqlite"))


def test_what_fails_leaves_nothing(engine: Engine) -> None:
    with suppress(ZeroDivisionError), writing(engine) as session:
        session.add(screened(""))
        session.flush()
        raise ZeroDivisionError
    with reading(engine) as session:
        assert session.scalars(select(Case)).all() == []


def test_a_mistake_of_ours_is_not_called_the_databases(engine: Engine) -> None:
    with pytest.raises(IntegrityError), writing(engine) as session:
        session.add_all([screened("", sha256="1" * 64), screened("", sha256="1" * 64)])


def test_a_reader_sees_one_moment(engine: Engine) -> None:
    with reading(engine) as session:
        assert session.scalars(select(Case.id)).all() == []
        with writing(engine) as other:
            other.add(screened(""))
        assert session.scalars(select(Case.id)).all() == []
    with reading(engine) as session:
        assert len(session.scalars(select(Case.id)).all()) == 1


def test_writers_wait_for_each_other_and_lose_nothing(engine: Engine, trail: Trail) -> None:
    def write() -> None:
        for _ in range(8):
            with writing(engine) as session:
                append(session, trail, "anna", Made("read", "case 1"))

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine) as session:
        assert list(session.scalars(select(Event.id).order_by(Event.id))) == list(range(1, 49))


def test_a_writer_that_waits_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dermsentry.clinic.store.database.PATIENCE_S", 0.2)
    engine = open_database(f"sqlite:///{tmp_path}/clinic.sqlite")
    migrate(engine)
    with writing(engine) as first:
        first.add(screened(""))
        first.flush()
        with pytest.raises(DatabaseError, match="locked"), writing(engine) as second:
            second.execute(text("SELECT 1"))
        with reading(engine) as reader:  # who reads need not wait
            assert reader.scalars(select(Case.id)).all() == []


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/clinic.sqlite")
    migrate(engine)
    with pytest.raises(OutputError, match="no space left"):
        _fill(engine)
    with reading(engine) as session:
        assert session.scalars(select(Case.id)).all() == []


def test_a_connection_that_was_cut_is_made_anew(engine: Engine) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("a file has no connection to cut")
    with pytest.raises(DatabaseError):
        _write_over_a_cut_connection(engine)
    with writing(engine) as session:
        session.add(screened(""))


def test_sqlite_keeps_foreign_keys_and_a_log_ahead(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/clinic.sqlite")
    with engine.connect() as connection:
        for pragma, value in (("foreign_keys", 1), ("journal_mode", "wal"), ("synchronous", 2)):
            assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value
    engine.dispose()


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        Instant().process_bind_param(now().replace(tzinfo=None), None)  # type: ignore[arg-type]


def _fill(engine: Engine) -> None:
    with writing(engine) as session:
        pages = session.execute(text("PRAGMA page_count")).scalar_one()
        session.execute(text(f"PRAGMA max_page_count = {pages}"))
        for _ in range(200):
            session.add(screened("", note="x" * 4000))
            session.flush()


def _write_over_a_cut_connection(engine: Engine) -> None:
    with writing(engine) as session:
        own = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
            other.execute(text(f"SELECT pg_terminate_backend({own})"))
        time.sleep(0.2)
        session.add(screened(""))
        session.flush()


def test_a_text_that_the_database_cannot_take_is_refused(engine: Engine) -> None:
    with suppress(InputError), reading(engine) as session:  # SQLite takes it
        assert session.get(Model, "a\0b") is None


def test_an_error_does_not_tell_what_was_to_be_kept(engine: Engine) -> None:
    own = {"id": 1, "name": "anna", "full_name": "P-0042", "role": "uploader", "password_hash": ""}
    with writing(engine) as session:
        session.execute(insert(Account).values(own))
    with pytest.raises(IntegrityError) as told, writing(engine) as session:
        session.execute(insert(Account).values(own))
    assert "P-0042" not in str(told.value)


def test_a_database_in_which_no_table_may_be_made_is_told(postgresql: Cluster) -> None:
    own = postgresql.database()
    control = open_database(own).execution_options(isolation_level="AUTOCOMMIT")
    with control.connect() as connection:
        connection.execute(text(f"CREATE ROLE stranger LOGIN PASSWORD '{postgresql.password}'"))
    control.dispose()
    for address, words in (
        (own.replace("clinic:", "stranger:"), "permission denied"),
        (f"{own}?nonsense=1", "nonsense"),
    ):
        refused = open_database(address)
        with pytest.raises(DatabaseError, match=words) as told:
            migrate(refused)
        assert "\n" not in str(told.value)
        refused.dispose()
