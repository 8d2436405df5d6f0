from __future__ import annotations

import csv
import io
import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert, select, text, update

from clinic.database_writers import append_for_ever
from clinic.trail_events import Made
from dermsentry.clinic.store.audit_trail import (
    COLUMNS,
    FIRST,
    Trail,
    append,
    as_csv,
    open_trail,
    remember,
    verify,
)
from dermsentry.clinic.store.database import migrate, open_database, reading, writing
from dermsentry.clinic.store.tables import Event
from dermsentry.errors import InputError


def fill(engine: Engine, trail: Trail, number: int = 6) -> None:
    for i in range(number):
        with writing(engine) as session:
            append(session, trail, "anna", Made("read", f"case {i}", {"n": i, "word": "Müller"}))


def problems(engine: Engine, trail: Trail) -> tuple[str, ...]:
    with reading(engine) as session:
        return verify(session, trail).problems


def rows(engine: Engine) -> list[dict[str, Any]]:
    with reading(engine) as session:
        found = session.execute(select(*Event.__table__.c).order_by(Event.id))
        return [dict(row) for row in found.mappings()]


def test_a_chain_that_nobody_touched_holds(engine: Engine, trail: Trail) -> None:
    fill(engine, trail)
    with reading(engine) as session:
        verdict = verify(session, trail)
    assert (verdict.events, verdict.problems) == (6, ())


def test_an_empty_chain_holds(engine: Engine, trail: Trail) -> None:
    assert problems(engine, trail) == ()


def test_an_event_goes_with_what_it_tells(engine: Engine, trail: Trail) -> None:
    fill(engine, trail, 2)
    with suppress(ZeroDivisionError), writing(engine) as session:
        append(session, trail, "anna", Made("read", "case 9"))
        raise ZeroDivisionError
    assert len(rows(engine)) == 2
    fill(engine, trail, 1)
    assert problems(engine, trail) == ()


# One database serves all examples: each puts the chain back as it was.
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    what=st.sampled_from(["change", "remove", "insert", "cut", "swap", "renumber"]),
    at=st.integers(1, 6),
    column=st.sampled_from([name for name in COLUMNS if name != "id"]),
    value=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40),
)
def test_any_single_change_is_found(
    engine: Engine, trail: Trail, what: str, at: int, column: str, value: str
) -> None:
    if not rows(engine):
        fill(engine, trail)
    whole = rows(engine)
    with writing(engine) as session:
        own = Event.id == at
        if what == "change":
            if whole[at - 1][column] == value:
                return
            session.execute(update(Event).where(own).values({column: value}))
        elif what == "remove":
            session.execute(delete(Event).where(own))
        elif what == "cut":
            session.execute(delete(Event).where(Event.id >= at))
        elif what == "renumber":
            session.execute(update(Event).where(Event.id == 6).values(id=6 + at))
        elif what == "swap":
            other = at % 6 + 1
            session.execute(update(Event).where(own).values(detail=whole[other - 1]["detail"]))
        else:  # at the end, by who knows the hash before it but not the key
            session.execute(
                insert(Event).values(
                    whole[at - 1] | {"id": 7, "previous": whole[-1]["hash"], column: value or "x"}
                )
            )
    try:
        assert problems(engine, trail)
    finally:
        with writing(engine) as session:
            session.execute(delete(Event))
            session.execute(insert(Event), whole)
    assert problems(engine, trail) == ()


def test_what_was_cut_off_stays_missed_however_many_events_follow(engine: Engine, trail: Trail) -> None:
    fill(engine, trail, 6)
    with writing(engine) as session:
        session.execute(delete(Event).where(Event.id > 3))
    fill(engine, trail, 8)
    found = problems(engine, trail)
    assert found == ("event 6 is not the one that the anchor remembers",)


def test_a_chain_that_was_emptied_is_found(engine: Engine, trail: Trail) -> None:
    fill(engine, trail, 3)
    with writing(engine) as session:
        session.execute(delete(Event))
    assert problems(engine, trail) == ("the last events are missing: there were 3, there are 0",)


def test_an_anchor_that_was_taken_away_is_found(engine: Engine, trail: Trail) -> None:
    fill(engine, trail, 3)
    trail.anchor.unlink()
    assert "is missing" in problems(engine, trail)[0]
    fill(engine, trail, 1)  # goes on, and does not make a new one
    assert "is missing" in problems(engine, trail)[0]
    assert not open_trail(trail.anchor.parent).anchor.exists()


def test_an_anchor_that_makes_no_sense_is_found_and_stops_nobody(engine: Engine, trail: Trail) -> None:
    fill(engine, trail, 3)
    trail.anchor.write_text("nonsense")
    fill(engine, trail, 1)
    assert "cannot be read" in problems(engine, trail)[0]


def test_what_a_crash_kept_from_being_anchored_is_anchored_later(engine: Engine, trail: Trail) -> None:
    fill(engine, trail, 2)
    before = trail.anchor.read_bytes()
    fill(engine, trail, 1)
    trail.anchor.write_bytes(before)
    assert problems(engine, trail) == ()
    with reading(engine) as session:
        remember(session, trail)
    assert trail.anchor.read_text().split()[0].lstrip("0") == "3"
    trail.anchor.write_bytes(before)
    fill(engine, trail, 1)
    assert trail.anchor.read_text().split()[0].lstrip("0") == "4"


def test_another_key_does_not_verify(engine: Engine, trail: Trail, tmp_path: Path) -> None:
    fill(engine, trail, 2)
    other = open_trail(tmp_path / "other")
    assert "event 1 was changed" in problems(engine, other)


def test_the_key_is_the_owners_alone_and_made_once(tmp_path: Path) -> None:
    first, second = open_trail(tmp_path / "new"), open_trail(tmp_path / "new")
    assert first == second
    assert len(first.key) == 32
    assert (tmp_path / "new" / "audit.key").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["audit.anchor", "audit.key"]


def test_many_that_open_it_at_once_get_one_key(tmp_path: Path) -> None:
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(open_trail(tmp_path / "new").key)) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert len(set(found)) == 1


@pytest.mark.parametrize("content", ["", "abcd", "zz" * 32])
def test_a_key_that_is_not_whole_is_refused(tmp_path: Path, content: str) -> None:
    open_trail(tmp_path)
    (tmp_path / "audit.key").write_text(content)
    with pytest.raises(InputError, match="key"):
        open_trail(tmp_path)


@pytest.mark.parametrize("actor", ["a" * 500, "AE\x00TITLE", "line\nbreak", "lone \udcff surrogate"])
def test_whatever_a_sender_calls_itself_is_kept(engine: Engine, trail: Trail, actor: str) -> None:
    with writing(engine) as session:
        append(session, trail, actor, Made("received", actor, {"name": actor}))
    assert problems(engine, trail) == ()
    assert rows(engine)[0]["actor"].isprintable()


def test_as_csv_it_has_every_column_of_every_event(engine: Engine, trail: Trail) -> None:
    fill(engine, trail, 3)
    with reading(engine) as session:
        read = list(csv.DictReader(io.StringIO("".join(as_csv(session)))))
    assert [{**row, "id": int(row["id"])} for row in read] == rows(engine)
    assert read[0]["previous"] == FIRST


def test_writers_killed_at_any_line_leave_a_whole_chain(database_url: str, tmp_path: Path) -> None:
    engine, trail = open_database(database_url), open_trail(tmp_path)
    migrate(engine)
    spawn = multiprocessing.get_context("spawn")
    for round_ in range(3):
        writers = [
            spawn.Process(target=append_for_ever, args=(database_url, tmp_path, f"w{round_}{i}"))
            for i in range(3)
        ]
        for writer in writers:
            writer.start()
        count = len(rows(engine))
        for _ in range(2000):
            if len(rows(engine)) > count + 20:
                break
            threading.Event().wait(0.02)
        for writer in writers:
            assert writer.pid is not None
            os.kill(writer.pid, signal.SIGKILL)
        for writer in writers:
            writer.join()
        with reading(engine) as session:
            verdict = verify(session, trail)
        assert verdict.problems == ()
        assert verdict.events > count + 20
    number = int(trail.anchor.read_text().split()[0])
    assert verdict.events - 3 <= number <= verdict.events
    engine.dispose()


def test_events_are_not_mixed_up_with_statements_beside_them(engine: Engine, trail: Trail) -> None:
    with writing(engine) as session:
        append(session, trail, "anna", Made("a", "case 1"))
        with suppress(ZeroDivisionError), session.begin_nested():
            append(session, trail, "anna", Made("b", "case 2"))
            raise ZeroDivisionError
        session.execute(text("SELECT 1"))
    assert [row["action"] for row in rows(engine)] == ["a"]
    assert problems(engine, trail) == ()
    assert trail.anchor.read_text().split()[0].lstrip("0") == "1"
