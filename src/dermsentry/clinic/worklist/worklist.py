"""The worklist: which cases wait for a person, in what order, and how they are found again.

The most worrying first: by tier, then by the probability of a malignancy that must not wait (melanoma, which
weighs double, squamous or basal cell carcinoma), then by waiting time. What
the model could not assess has a lane of its own, and so has what it has not seen yet. What was decided is
listed with the latest decision first.

A page begins after the last case of the one before, never at a count of rows: so it is as fast at the end as
at the beginning, and a case that is decided meanwhile makes none be skipped.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Select, and_, false, func, literal, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from dermsentry.clinic.store.database import find
from dermsentry.clinic.store.tables import DECIDED, LARGEST_ID, OPEN, PLACES, WITHDRAWN, Case, Lane, Read
from dermsentry.errors import InputError
from dermsentry.screening.triage import TIERS, Tier

LONGEST_PAGE = 500
MOST_WORDS = 8
MOST_COUNTED = 10_000


@dataclass(frozen=True)
class Filter:
    """Which cases are wanted.

    `lane`: `suspicion` (the model assessed it), `cannot-say` (it could not, or could not read the file),
    `waiting` (it has not seen it yet) or `withdrawn` (a person took it out of the others).
    `stage`: still open, decided, or all. `tier`, `site`: only these, where given. `search`: words that all
    stand in the case's patient, lesion, site, accession number or file name, or are its number. `since`,
    `until`: received from then on, and before then.
    `not_read_by`: an account that has read it already is not shown it again.
    """

    lane: Lane = "suspicion"
    stage: Literal["open", "decided", "all"] = "open"
    tier: Tier | Literal[""] = ""
    search: str = ""
    site: str = ""
    since: datetime | None = None
    until: datetime | None = None
    not_read_by: int | None = None


@dataclass(frozen=True)
class Page:
    """Some cases in their order, and the cursor of the page after; None where this is the last."""

    cases: tuple[Case, ...]
    next: str | None


def list_cases(session: Session, wanted: Filter, *, after: str | None = None, limit: int = 50) -> Page:
    """A page of the cases that are wanted.

    Parameters
    ----------
    after
        The cursor that the page before came with; None for the first page.
    limit
        The most cases of a page, 1 to 500.

    Raises
    ------
    InputError
        The cursor is none, or of another order; the limit or the filter makes no sense.
    """
    if not 1 <= limit <= LONGEST_PAGE:
        raise InputError(f"Received a limit of {limit} cases; expected 1 to {LONGEST_PAGE}.")
    query = _query(wanted)
    if after is not None:
        query = query.where(_beyond(wanted, _read_cursor(wanted, after)))
    # Numbers first: the order's own index has whatever is filtered by, so that no case is read in vain.
    found = session.scalars(query.limit(limit + 1)).all()
    opened = {case.id: case for case in session.scalars(select(Case).where(Case.id.in_(found[:limit]))).all()}
    cases = tuple(opened[case_id] for case_id in found[:limit])
    return Page(cases, _cursor(wanted, cases[-1]) if len(found) > limit else None)


def search_cases(session: Session, search: str, *, limit: int = 50) -> tuple[tuple[Case, ...], int]:
    """The cases of every lane that contain every word, decided and withdrawn ones too; how many there are.

    Up to `limit` of them, those that came last first; of more than 10,000 so many are counted.

    Raises
    ------
    InputError
        There are too many words, or one holds a control character.
    """
    if not search.strip():
        return (), 0
    # Numbers alone, in no order: an index has them with what is searched, so that no case is read in vain.
    found = sorted(session.scalars(select(Case.id).where(_found(search)).limit(MOST_COUNTED)))
    wanted = found[: -limit - 1 : -1]
    opened = {case.id: case for case in session.scalars(select(Case).where(Case.id.in_(wanted)))}
    return tuple(opened[case_id] for case_id in wanted), len(found)


def next_case(session: Session, wanted: Filter, case_id: int) -> int | None:
    """The number of the case after this one, which need not be among the wanted any more; None at the end."""
    case = find(session, Case, case_id)
    if case is None:
        return None
    query = _query(wanted).limit(1)
    place = [getattr(case, column.key) for column in _order(wanted)]
    if None not in place:  # a case that is not decided comes before all that are
        query = query.where(_beyond(wanted, place))
    return session.scalar(query)


def counts(session: Session) -> Mapping[str, int]:
    """How many cases are open, by lane (`suspicion`, `cannot-say`, `waiting`) and by tier.

    `cannot-say` is the lane, with the `unreadable` ones in it.
    """
    found = dict.fromkeys((*(lane for lane in get_args(Lane) if lane != WITHDRAWN), *TIERS), 0)
    rows = session.execute(
        select(Case.lane, Case.rank, func.count())
        .where(OPEN, Case.lane != WITHDRAWN)
        .group_by(Case.lane, Case.rank)
    )
    tiers: dict[tuple[str, int], str] = {place: tier for tier, place in PLACES.items()}
    for lane, rank, number in rows:
        found[lane] += number
        tier = tiers.get((lane, rank), lane)
        if tier != lane:
            found[tier] += number
    return found


def _order(wanted: Filter) -> tuple[InstrumentedAttribute[Any], ...]:
    if wanted.stage == "decided":
        return (Case.decided_at, Case.id)
    return (Case.rank, Case.malignancy_order, Case.received_at, Case.id)


def _query(wanted: Filter) -> Select[int]:
    """The numbers of the cases that are wanted, in their order."""
    if wanted.tier and wanted.tier not in TIERS:
        raise InputError(f"Received the tier {wanted.tier!r}; expected one of {', '.join(TIERS)}.")
    asked: list[ColumnElement[bool]] = [Case.lane == wanted.lane]
    if wanted.stage != "all":
        asked.append(DECIDED if wanted.stage == "decided" else OPEN)
    if wanted.tier:
        # The index knows a lane's tiers by their rank.
        lane, rank = PLACES[wanted.tier]
        asked.append(Case.rank == rank if lane == wanted.lane else false())
    if wanted.site:
        asked.append(Case.site == wanted.site)
    if wanted.since is not None:
        asked.append(Case.received_at >= wanted.since)
    if wanted.until is not None:
        asked.append(Case.received_at < wanted.until)
    if wanted.not_read_by is not None:
        own = and_(Read.case_id == Case.id, Read.account_id == wanted.not_read_by, Read.undone_at.is_(None))
        asked.append(~select(Read.id).where(own).exists())
    if wanted.search.strip():
        asked.append(_found(wanted.search))
    order = [column.desc() if wanted.stage == "decided" else column for column in _order(wanted)]
    return select(Case.id).where(*asked).order_by(*order)


def _found(search: str) -> ColumnElement[bool]:
    """Cases that contain every word."""
    words = search.casefold().split()
    if len(words) > MOST_WORDS:
        raise InputError(f"Received {len(words)} words to search; expected up to {MOST_WORDS}.")
    each = []
    for word in words:
        if "\0" in word:
            raise InputError("Received a search that holds a control character.")
        here: ColumnElement[bool] = Case.search.contains(word, autoescape=True)
        number = word.removeprefix("#")
        # A case's number is written without zeros before it, unlike those in patients' and files' names.
        if re.fullmatch(r"[1-9][0-9]{0,9}", number) and int(number) <= LARGEST_ID:
            here = or_(here, Case.id == int(number))
        each.append(here)
    return and_(*each)


def _values(columns: tuple[InstrumentedAttribute[Any], ...], values: list[Any]) -> Any:
    return tuple_(*(literal(value, column.type) for column, value in zip(columns, values, strict=True)))


def _beyond(wanted: Filter, place: list[Any]) -> ColumnElement[bool]:
    columns = _order(wanted)
    here, there = tuple_(*columns), _values(columns, place)
    beyond: ColumnElement[bool] = here < there if wanted.stage == "decided" else here > there
    return beyond


def _cursor(wanted: Filter, case: Case) -> str:
    values = [getattr(case, column.key) for column in _order(wanted)]
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def _read_cursor(wanted: Filter, cursor: str) -> list[Any]:
    kinds: tuple[type, ...] = (str, int) if wanted.stage == "decided" else (int, float, str, int)
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if [type(value) for value in values] != list(kinds):
            raise ValueError
        read = [datetime.fromisoformat(v) if isinstance(v, str) else v for v in values]
        if any(isinstance(v, datetime) and v.tzinfo is None for v in read):
            raise ValueError
        if any(isinstance(v, int) and abs(v) > LARGEST_ID for v in read):
            raise ValueError
    except (ValueError, TypeError, RecursionError, OverflowError):
        raise InputError("Received a page that is none; begin at the first page.") from None
    return read
