"""What a new photograph shows of skin that was here before is found, once, and told to who must know."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import delete, select, update

from benchmarks.edits import crop, flip, turn
from bundles import tiny_bundle
from clinic.cases import reread
from dermsentry.clinic.clinic import Clinic, open_clinic
from dermsentry.clinic.intake.admission import About, receive
from dermsentry.clinic.server.processes import Part, run_part
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.audit_trail import verify
from dermsentry.clinic.store.database import migrate, open_database, reading, writing
from dermsentry.clinic.store.records import verify_records
from dermsentry.clinic.store.tables import Case, Event, Fingerprint, Job, Match
from dermsentry.clinic.worker import matching
from dermsentry.clinic.worker.fingerprint import kept, take_fingerprint
from dermsentry.clinic.worker.matching import ask_for_missing, match_photographs
from dermsentry.clinic.worker.screener import Screener
from dermsentry.clinic.worker.worker import run_matching, work
from dermsentry.clinic.worklist.matches import open_matches, waiting_to_be_compared
from dermsentry.model import read_network
from pictures import skin


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model's folder."""
    own = tmp_path_factory.mktemp("bundle") / "tiny"
    tiny_bundle(own)
    return own


@pytest.fixture(scope="module")
def screener(folder: Path) -> Iterator[Screener]:
    with Screener(folder) as own:
        yield own


def data(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def screen(clinic: Clinic, image: Image.Image, patient: str, lesion: str = "", *, known: bool = True) -> int:
    """A case as the worker leaves it; not `known`: as one of before there were fingerprints."""
    got = receive(clinic, data(image), About(patient=patient, lesion=lesion), source="api", actor="uli")
    with writing(clinic.engine) as session:
        case = session.get_one(Case, got.case_id)
        case.state, (case.width, case.height) = "screened", image.size
        case.tier = case.lane = "cannot-say"
        session.execute(delete(Job).where(Job.case_id == case.id))
        if known:
            found = kept(take_fingerprint(np.asarray(image)))
            session.add(Fingerprint(case_id=case.id, data=found))
    return got.case_id


def compare(clinic: Clinic, screener: Screener) -> None:
    """Match until nothing waits for it."""
    turns = iter(range(2000))

    def stopped() -> bool:
        with reading(clinic.engine) as session:
            return next(turns, None) is None or not waiting_to_be_compared(session)

    match_photographs(clinic, screener, stopped)


def matches(clinic: Clinic) -> list[tuple[int, int, bool, bool]]:
    """Earlier case, later case, whether of two patients, whether in place."""
    with reading(clinic.engine) as session:
        assert not waiting_to_be_compared(session)
        assert verify(session, clinic.trail).problems == ()
        assert [told for told in verify_records(session, None) if told.startswith("match")] == []
        found = session.scalars(select(Match).order_by(Match.second_id, Match.first_id)).all()
        return [(own.first_id, own.second_id, own.patients, own.in_place) for own in found]


def test_the_same_skin_is_found_at_another_size_turned_mirrored_and_cut(
    clinic: Clinic, screener: Screener
) -> None:
    for seed in range(3):
        screen(clinic, skin(seed), f"P-{seed}", "A")
    compare(clinic, screener)
    assert matches(clinic) == []
    screen(clinic, skin(0).resize((90, 68)), "P-9", "A")
    screen(clinic, turn(flip(skin(1)), 40, 0.1), "p-1 ", "B")
    screen(clinic, crop(skin(2), 0.1, 0.15, 0, 0), "")
    compare(clinic, screener)
    assert matches(clinic) == [(1, 4, True, True), (2, 5, False, False), (3, 6, False, False)]
    with reading(clinic.engine) as session:
        events = session.scalars(select(Event).where(Event.action == "match found")).all()
        assert sorted(own.subject for own in events) == ["case 4", "case 5", "case 6"]
        [doubt] = open_matches(session)
        assert (doubt.case.id, doubt.patient) == (4, "P-0")
    compare(clinic, screener)
    assert len(matches(clinic)) == 3


def test_the_index_grows_and_is_learned_anew(clinic: Clinic, screener: Screener) -> None:
    for seed in range(70):  # past the 32 that are all compared, and twice as many
        screen(clinic, skin(seed), f"P-{seed}")
    for seed in range(0, 70, 7):
        screen(clinic, turn(skin(seed), 25, 0.12), f"Q-{seed}")
        compare(clinic, screener)
    assert [(own[0], own[2]) for own in matches(clinic)] == [(seed + 1, True) for seed in range(0, 70, 7)]


def test_a_process_that_begins_anew_knows_what_came_before(clinic: Clinic, screener: Screener) -> None:
    screen(clinic, skin(0), "P-1")
    compare(clinic, screener)
    screen(clinic, skin(0).resize((80, 60)), "P-2")
    compare(clinic, screener)  # an index of its own each time
    assert matches(clinic) == [(1, 2, True, True)]


def test_what_is_missing_is_made_of_the_photographs(clinic: Clinic, screener: Screener) -> None:
    for seed in range(4):
        screen(clinic, skin(seed), f"P-{seed}", known=seed == 1)
    lost, broken = (screen(clinic, skin(seed), "P-5", known=False) for seed in (5, 6))
    original = clinic.pictures.original(reread(clinic.engine, lost).sha256)
    away = original.rename(original.with_name("away"))
    clinic.pictures.original(reread(clinic.engine, broken).sha256).write_bytes(b"no photograph")
    screen(clinic, skin(2).resize((100, 75)), "P-8")
    assert ask_for_missing(clinic) == 5
    assert ask_for_missing(clinic) == 0
    compare(clinic, screener)
    assert matches(clinic) == [(3, 7, True, True)]
    with reading(clinic.engine) as session:
        empty = session.scalars(select(Fingerprint.case_id).where(Fingerprint.data == b"")).all()
        assert list(empty) == [broken]
    away.rename(original)  # what was away only is there when the server begins again
    assert ask_for_missing(clinic) == 1
    compare(clinic, screener)
    with writing(clinic.engine) as session:  # all is lost but the photographs
        session.execute(delete(Match))
        session.execute(delete(Fingerprint))
        session.execute(delete(Event).where(Event.action == "match found"))
    assert ask_for_missing(clinic) == 7


def test_what_waits_to_be_screened_comes_before_what_is_missing(clinic: Clinic, screener: Screener) -> None:
    screen(clinic, skin(0), "P-1", known=False)
    receive(clinic, data(skin(1)), About(), source="api", actor="uli")
    ask_for_missing(clinic)
    assert not matching._make_next(clinic, screener)
    with writing(clinic.engine) as session:
        session.execute(delete(Job))
    assert matching._make_next(clinic, screener)
    assert not matching._make_next(clinic, screener)


def test_a_damaged_fingerprint_is_passed_over_and_told(
    clinic: Clinic, screener: Screener, caplog: pytest.LogCaptureFixture
) -> None:
    screen(clinic, skin(0), "P-1")
    bent = screen(clinic, skin(1), "P-2")
    with writing(clinic.engine) as session:
        session.execute(update(Fingerprint).where(Fingerprint.case_id == bent).values(data=b"nonsense"))
    screen(clinic, skin(0).resize((80, 60)), "P-3")
    compare(clinic, screener)
    assert matches(clinic) == [(1, 3, True, True)]
    assert f"case {bent} is damaged" in caplog.text


def test_two_servers_keep_each_match_once(clinic: Clinic, screener: Screener) -> None:
    screen(clinic, skin(0), "P-1")
    screen(clinic, skin(0).resize((80, 60)), "P-2")
    one, other = (matching._catch_up(clinic, None, lambda: False) for _ in range(2))
    assert one is not None
    assert other is not None
    while matching._compare_next(clinic, one) or matching._compare_next(clinic, other):
        pass
    assert matches(clinic) == [(1, 2, True, True)]


def test_a_worker_keeps_what_a_photograph_is_recognised_by(
    clinic: Clinic, screener: Screener, folder: Path
) -> None:
    card, _ = read_network(folder)
    received = [
        receive(clinic, sent, About(patient=patient), source="api", actor="uli").case_id
        for sent, patient in (
            (data(skin(3, (320, 240))), "P-1"),
            (data(skin(3, (320, 240)).resize((240, 180)), "JPEG"), "P-2"),
            (b"\x89PNG\r\n\x1a\n" + b"nothing", "P-3"),
        )
    ]
    turns = iter(range(4))
    work(clinic, screener, card, lambda: next(turns, None) is None)
    compare(clinic, screener)
    assert matches(clinic) == [(*received[:2], True, True)]
    with reading(clinic.engine) as session:
        assert sorted(session.scalars(select(Fingerprint.case_id))) == received[:2]


@pytest.mark.slow
def test_killed_at_any_time_it_loses_and_doubles_nothing(
    database_url: str, tmp_path: Path, folder: Path
) -> None:
    spawn = multiprocessing.get_context("spawn")
    opened = open_database(database_url)
    migrate(opened)
    clinic = open_clinic(database_url, tmp_path)
    for seed in range(60):
        screen(clinic, skin(seed), f"P-{seed}", known=seed % 3 > 0)
    for seed in range(60):
        screen(clinic, skin(seed).resize((120, 90)), f"Q-{seed}", known=seed % 3 > 0)
    rng = np.random.default_rng(0)
    for killed in range(12):
        part = Part("matching", run_matching, (database_url, tmp_path, Settings(), folder))
        process = spawn.Process(target=run_part, args=(part, os.getpid(), spawn.Value("d", 0.0, lock=False)))
        process.start()
        time.sleep(0.5 + 3 * rng.random() if killed < 11 else 0)
        end = time.monotonic() + 120
        while killed == 11 and time.monotonic() < end:
            with reading(clinic.engine) as session:
                waits = waiting_to_be_compared(session)
                begun = session.scalars(select(Fingerprint.id)).all()
            if not waits and len(begun) == 120:
                break
            time.sleep(0.1)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert matches(clinic) == [(seed + 1, seed + 61, True, True) for seed in range(60)]
    clinic.close()
    opened.dispose()


@pytest.mark.real
def test_real_lesions_are_found_under_another_patient(
    clinic: Clinic, screener: Screener, real_data: Path
) -> None:
    paths = sorted((real_data / "ham10000" / "images").glob("*.jpg"))[:40]
    for number, path in enumerate(paths):
        with Image.open(path) as image:
            screen(clinic, image.convert("RGB"), f"P-{number}")
    for number in range(0, 40, 4):
        with Image.open(paths[number]) as image:
            edited = turn(image.convert("RGB"), 90 * (number % 8) + 10, 0.12)
            screen(clinic, edited.resize((edited.width * 2 // 3, edited.height * 2 // 3)), f"Q-{number}")
    compare(clinic, screener)
    found = {own[:2] for own in matches(clinic)}
    copies = {(number + 1, 41 + number // 4) for number in range(0, 40, 4)}
    assert len(copies & found) >= 9
    assert len(found - copies) <= 2
