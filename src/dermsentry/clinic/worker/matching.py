"""Whether the lesion on a new photograph has been here before: the audit's search for copies, as an index.

A photograph's fingerprint is kept together with its finding; here, in a process of its own, it is compared
with those of all others, after the finding is there, so that no finding waits for it. The fingerprints are in
the database, the index that finds candidates among them in memory: it is filled when the process begins, and
grows with what comes. Fingerprints that are missing, as of cases from before there were any, are made of the
photographs while nothing waits to be screened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import func, insert, literal, select

from dermsentry.audit.likeness.content import Content
from dermsentry.audit.likeness.growing import GrowingIndex, sample_size
from dermsentry.audit.likeness.judge import same_skin
from dermsentry.audit.likeness.keypoints import Keypoints
from dermsentry.clinic.clinic import Clinic
from dermsentry.clinic.store.audit_trail import hold
from dermsentry.clinic.store.database import DatabaseError, reading, writing
from dermsentry.clinic.store.tables import Case, Fingerprint, now
from dermsentry.clinic.waiting import wait_for
from dermsentry.clinic.worker.fingerprint import read_fingerprint
from dermsentry.clinic.worker.queue import length
from dermsentry.clinic.worker.screener import Screener
from dermsentry.clinic.worklist.matches import keep_match
from dermsentry.errors import OutputError

PAUSE_S = 1.0
_AT_ONCE = 256  # fingerprints that are read at once

Stopped = Callable[[], bool]
log = logging.getLogger(__name__)


@dataclass
class _Known:
    """The index of every fingerprint up to the number `last`."""

    index: GrowingIndex
    last: int = 0


@dataclass(frozen=True)
class _Found:
    """A case that shows the same skin."""

    case_id: int
    agreement: float
    in_place: bool


def match_photographs(clinic: Clinic, screener: Screener, stopped: Stopped) -> None:
    """Compare what waits to be compared until `stopped` says so; a database that is away is waited for.

    Raises
    ------
    BundleError
        The process that decodes photographs cannot be begun.
    """
    known: _Known | None = None
    asked = False
    while not stopped():
        try:
            if not asked:
                ask_for_missing(clinic)
                asked = True
            known = _catch_up(clinic, known, stopped)
            if known is not None and not (_compare_next(clinic, known) or _make_next(clinic, screener)):
                screener.close()
                wait_for(PAUSE_S, stopped)
        except (DatabaseError, OutputError) as error:
            log.error("%s Trying again in 5 s.", error)
            wait_for(5, stopped)


def ask_for_missing(clinic: Clinic) -> int:
    """Ask for the fingerprints of screened photographs that have none; how many."""
    with writing(clinic.engine) as session:
        hold(session)
        there = select(Fingerprint.case_id).where(Fingerprint.case_id == Case.id)
        missing = select(Case.id, literal(None)).where(
            Case.state == "screened", Case.width.is_not(None), ~there.exists()
        )
        count = session.scalar(select(func.count()).select_from(missing.subquery())) or 0
        if count:
            session.execute(insert(Fingerprint).from_select(["case_id", "data"], missing.order_by(Case.id)))
    return count


def _catch_up(clinic: Clinic, known: _Known | None, stopped: Stopped) -> _Known | None:
    """The index with what is new; another one where it has outgrown itself. None where told to end."""
    if known is None or known.index.outgrown:
        known = _begun(clinic)
    while not stopped():
        with reading(clinic.engine) as session:
            query = select(Fingerprint.id, Fingerprint.case_id, Fingerprint.data).where(
                Fingerprint.id > known.last, Fingerprint.data.is_not(None)
            )
            rows = session.execute(query.order_by(Fingerprint.id).limit(_AT_ONCE)).all()
        for number, case_id, data in rows:
            if known.index.outgrown:
                return _catch_up(clinic, known, stopped)
            found = _read(case_id, data)
            if found is not None:
                known.index.add(case_id, *found)
            known.last = number
        if len(rows) < _AT_ONCE:
            return known
    return None


def _begun(clinic: Clinic) -> _Known:
    """An index that has learned from some of what there is, and holds nothing yet."""
    with reading(clinic.engine) as session:
        query = select(Fingerprint.id).where(Fingerprint.data.is_not(None)).order_by(Fingerprint.id)
        numbers = session.scalars(query).all()
    places = np.linspace(0, len(numbers) - 1, sample_size(len(numbers))).astype(int)
    chosen = [numbers[place] for place in places]
    sample = [
        found
        for start in range(0, len(chosen), _AT_ONCE)
        for case_id, data in _fingerprints(clinic, Fingerprint.id, chosen[start : start + _AT_ONCE])
        if (found := _read(case_id, data)) is not None
    ]
    return _Known(GrowingIndex(sample, len(numbers)))


def _fingerprints(clinic: Clinic, column: object, of: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    with reading(clinic.engine) as session:
        query = select(Fingerprint.case_id, Fingerprint.data).where(column.in_(of))  # type: ignore[attr-defined]
        rows = session.execute(query.order_by(Fingerprint.case_id)).all()
    yield from ((case_id, data) for case_id, data in rows if data)


def _read(case_id: int, data: bytes | None) -> tuple[Keypoints, Content] | None:
    """A fingerprint; None where there is none, or what is kept is damaged, which is told."""
    if not data:
        return None
    try:
        return read_fingerprint(data)
    except ValueError:
        log.error("The fingerprint of case %d is damaged; the case is not compared with others.", case_id)
        return None


def _compare_next(clinic: Clinic, known: _Known) -> bool:
    """Compare the latest photograph that waits for it; whether there was one."""
    waiting = Fingerprint.compared_at.is_(None), Fingerprint.data.is_not(None)
    with reading(clinic.engine) as session:
        # Those that are asked for and not made come before: they must not be walked through each time.
        query = select(Fingerprint).where(*waiting).order_by(Fingerprint.id.desc()).limit(1)
        row = session.scalar(query)
    if row is None or row.id > known.last:
        return row is not None
    found = _find(clinic, known, row.case_id, row.data or b"")
    with writing(clinic.engine) as session:
        hold(session)
        fresh = session.get_one(Fingerprint, row.id)
        if fresh.compared_at is None:  # else another server was faster
            case = session.get_one(Case, row.case_id)
            for own in found:
                other = session.get_one(Case, own.case_id)
                keep_match(session, clinic, case, other, own.agreement, own.in_place)
            fresh.compared_at = now()
    return True


def _find(clinic: Clinic, known: _Known, case_id: int, data: bytes) -> list[_Found]:
    """The other cases whose photographs show the same skin."""
    mine = _read(case_id, data)
    if mine is None:
        return []
    candidates = known.index.candidates(case_id, *mine)
    others = dict(_fingerprints(clinic, Fingerprint.case_id, list({number for number, _ in candidates})))
    found: dict[int, _Found] = {}
    for number, whole in candidates:
        theirs = _read(number, others.get(number, b""))
        if theirs is None or number in found:
            continue
        first, second = (theirs, mine) if number < case_id else (mine, theirs)
        judged = same_skin(first[1], second[1], None if whole else (first[0], second[0]))
        if judged is not None:
            found[number] = _Found(number, round(judged[0], 4), judged[1])
    return list(found.values())


def _make_next(clinic: Clinic, screener: Screener) -> bool:
    """Make a fingerprint that was asked for, while nothing waits to be screened; whether there was one."""
    with reading(clinic.engine) as session:
        if length(session):
            return False
        query = (
            select(Fingerprint.id, Case.id, Case.sha256, Case.format)
            .join(Case, Case.id == Fingerprint.case_id)
            .where(Fingerprint.compared_at.is_(None), Fingerprint.data.is_(None))
        )
        row = session.execute(query.order_by(Fingerprint.id.desc()).limit(1)).first()
    if row is None:
        return False
    number, case_id, sha256, kind = row
    path = clinic.pictures.original(sha256)
    there = path.exists()  # its storage may be away: then it is asked for again when the server next begins
    data = screener.fingerprint(path, kind) if there else b""
    if not data:
        told = "cannot be read" if there else f"is not at {path}"
        log.error("The photograph of case %d %s; it is not compared with others.", case_id, told)
    with writing(clinic.engine) as session:
        hold(session)
        asked = session.get(Fingerprint, number)
        if asked is not None:  # else another server was faster
            session.delete(asked)
            session.flush()
            if there:
                session.add(Fingerprint(case_id=case_id, data=data))
    return True
