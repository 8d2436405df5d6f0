"""The worklist: which cases wait for a person, in what order, and how they are found again.

The most worrying first, unless another order is asked for: by tier, then by the probability of a malignancy
that must not wait (melanoma, which weighs double, squamous or basal cell carcinoma), then by waiting time.
What the model could not assess has a lane of its own, and so has what it has not seen yet. What was decided
is listed with the latest decision first.

A page begins after the last case of the one before, never at a count of rows: so it is as fast at the end as
at the beginning, and a case that is decided meanwhile makes none be skipped.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import (
    ColumnElement,
    Date,
    Select,
    and_,
    bindparam,
    false,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.database import find
from dermsentry.clinic.store.tables import (
    COUNTED,
    DECIDED,
    LARGEST_ID,
    OPEN,
    PART,
    PLACES,
    WITHDRAWN,
    Account,
    Case,
    Comment,
    Instant,
    Lane,
    Lock,
    Model,
    Read,
    Tag,
    cuts_of,
    now,
)
from dermsentry.clinic.store.text import folded
from dermsentry.clinic.worklist.locks import locked_by_others
from dermsentry.clinic.worklist.parts import parts_of_cases
from dermsentry.errors import InputError
from dermsentry.screening.triage import TIERS, Tier

LONGEST_PAGE = 500
MOST_WORDS = 8
MOST_COUNTED = 10_000
Order = Literal["suspicion", "longest-waiting", "latest", "patient"]
ORDERS: tuple[Order, ...] = get_args(Order)
"""Of an open lane: the most worrying first; who came first or last; each patient's lesions together."""


@dataclass(frozen=True)
class Filter:
    """Which cases are wanted.

    `lane`: `suspicion` (the model assessed it), `cannot-say` (it could not, or could not read the file),
    `waiting` (it has not seen it yet) or `withdrawn` (a person took it out of the others).
    `stage`: still open, decided, all, to be seen again (of every lane, the earliest day first), or anything
    (of every lane, withdrawn cases too, those that came last first). `tier`,
    `site`: only these, where given. `search`: words that all stand in the case's patient, lesion, site,
    accession number, file name, comments or tags, or are its number. `since`, `until`: received from then on,
    and before then. `not_read_by`: an account that has read it already is not shown it again. `tag`: only
    cases with it. `assigned_to`: only cases that this account is to read; 0, that nobody is to. `order`: of
    cases that are not decided. `blind`: a reader whom no case is found for by a comment that is hidden from
    them, see `comments_shown_to`.
    """

    lane: Lane = "suspicion"
    stage: Literal["open", "decided", "all", "follow-up", "anything"] = "open"
    tier: Tier | Literal[""] = ""
    search: str = ""
    site: str = ""
    since: datetime | None = None
    until: datetime | None = None
    not_read_by: int | None = None
    tag: str = ""
    assigned_to: int | None = None
    order: Order = "suspicion"
    blind: Person | None = None


class Listed(NamedTuple):
    """A case as lists show it, read without what they do not show.

    `assignee`, `assignee_name`: the full name and the name of the account that is to read it. `read_by`,
    `reader`: the account that has it open, and its full name. `thresholds`: as in a `Case`. All else are
    columns of a `Case`. `parts`: the numbers of its other photographs.
    """

    id: int
    state: str
    lane: str
    stage: str
    tier: str
    rank: int
    malignancy_order: float
    melanoma: float | None
    finding: dict[str, Any] | None
    patient: str
    lesion: str
    site: str
    accession: str
    file_name: str
    revision: int
    received_at: datetime
    screened_at: datetime | None
    decided_at: datetime | None
    follow_up_on: date | None
    assigned_to: int | None
    assignee: str | None
    assignee_name: str | None
    read_by: int | None
    reader: str | None
    part_of: int | None
    thresholds: Mapping[str, float]
    parts: Sequence[int]


@dataclass(frozen=True)
class Page:
    """Some cases in their order, and the cursor of the page after; None where this is the last."""

    cases: tuple[Listed, ...]
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
    if wanted.stage == "anything":  # in no order: an index has them with what is searched
        found: Sequence[int] = sorted(session.scalars(query.order_by(None)), reverse=True)[: limit + 1]
    else:
        found = session.scalars(query.limit(limit + 1)).all()
    cases = _listed(session, found[:limit])
    return Page(cases, _cursor(wanted, cases[-1]) if len(found) > limit else None)


def search_cases(
    session: Session, search: str, *, limit: int = 50, blind: Person | None = None
) -> tuple[tuple[Listed, ...], int]:
    """The cases of every lane that contain every word, decided and withdrawn ones too; how many there are.

    Up to `limit` of them, those that came last first; of more than 10,000 so many are counted. `blind`: as in
    a `Filter`.

    Raises
    ------
    InputError
        There are too many words, or one holds a control character.
    """
    if not search.strip():
        return (), 0
    # Numbers alone, in no order: an index has them with what is searched, so that no case is read in vain.
    found = sorted(session.scalars(select(Case.id).where(_found(search, blind)).limit(MOST_COUNTED)))
    return _listed(session, found[: -limit - 1 : -1]), len(found)


def next_case(session: Session, wanted: Filter, case_id: int, reader: int | None = None) -> int | None:
    """The number of the case after this one, which need not be among the wanted any more; None at the end.

    `reader`: an account that is not sent to a case which another has open.
    """
    case = find(session, Case, case_id)
    if case is None:
        return None
    query = _query(wanted).limit(1)
    place = [getattr(case, column.key) for column in _order(wanted)]
    if None not in place:  # a case that is not decided comes before all that are
        query = query.where(_beyond(wanted, place))
    if reader is not None and wanted.stage == "open":
        query = query.where(Case.id.not_in(locked_by_others(reader)))
    return session.scalar(query)


def counts(session: Session, zone: tzinfo = UTC) -> Mapping[str, int]:
    """How many cases are open, by lane (`suspicion`, `cannot-say`, `waiting`) and by tier.

    `cannot-say` is the lane, with the `unreadable` ones in it. `follow-up`: how many are due for it by the
    day that it is in a time zone.
    """
    found = dict.fromkeys((*(lane for lane in get_args(Lane) if lane not in (PART, WITHDRAWN)), *TIERS), 0)
    found["follow-up"] = session.scalar(_DUE, {"today": now().astimezone(zone).date()}) or 0
    tiers: dict[tuple[str, int], str] = {place: tier for tier, place in PLACES.items()}
    for lane, rank, number in session.execute(_OPEN_BY_PLACE):
        found[lane] += number
        tier = tiers.get((lane, rank), lane)
        if tier != lane:
            found[tier] += number
    return found


# Made once, of the table: each page asks them, and no object is made of a row.
_CASES, _ASSIGNEES, _READERS = Case.__table__, Account.__table__.alias(), Account.__table__.alias()
_OPEN_BY_PLACE = (
    select(_CASES.c.lane, _CASES.c.rank, func.count())
    .where(OPEN, COUNTED)
    .group_by(_CASES.c.lane, _CASES.c.rank)
)
_DUE = select(func.count()).select_from(_CASES).where(_CASES.c.follow_up_on <= bindparam("today"), COUNTED)
_OTHERS = {
    "assignee": _ASSIGNEES.c.full_name,
    "assignee_name": _ASSIGNEES.c.name,
    "read_by": Lock.__table__.c.account_id,
    "reader": _READERS.c.full_name,
}
_LISTED = (
    select(
        *((_OTHERS[name] if name in _OTHERS else _CASES.c[name]).label(name) for name in Listed._fields[:-2]),
        _CASES.c.model_digest,
    )
    .outerjoin_from(_CASES, _ASSIGNEES, _ASSIGNEES.c.id == _CASES.c.assigned_to)
    .outerjoin(
        Lock.__table__,
        and_(Lock.__table__.c.case_id == _CASES.c.id, Lock.__table__.c.until > bindparam("moment")),
    )
    .outerjoin(_READERS, _READERS.c.id == Lock.__table__.c.account_id)
    .where(_CASES.c.id.in_(bindparam("cases", expanding=True)))
)
_CARDS = select(Model.__table__.c.digest, Model.__table__.c.card).where(
    Model.__table__.c.digest.in_(bindparam("digests", expanding=True))
)


def _listed(session: Session, wanted: Sequence[int]) -> tuple[Listed, ...]:
    """The cases of these numbers, in their order."""
    if not wanted:
        return ()
    opened = {row.id: row for row in session.execute(_LISTED, {"cases": list(wanted), "moment": now()})}
    digests = {row.model_digest for row in opened.values() if row.model_digest}
    cards = session.execute(_CARDS, {"digests": list(digests)}) if digests else ()
    cuts = {digest: cuts_of(card) for digest, card in cards}
    parts = parts_of_cases(session, opened)
    found = (opened[number] for number in wanted)
    return tuple(
        Listed._make((*row[:-1], cuts.get(row.model_digest, {}), parts.get(row.id, ()))) for row in found
    )


def _order(wanted: Filter) -> tuple[InstrumentedAttribute[Any], ...]:
    if wanted.stage == "decided":
        return (Case.decided_at, Case.id)
    if wanted.stage == "follow-up":
        return (Case.follow_up_on, Case.id)
    if wanted.stage == "anything":
        return (Case.id,)
    return {
        "suspicion": (Case.rank, Case.malignancy_order, Case.received_at, Case.id),
        "longest-waiting": (Case.received_at, Case.id),
        "latest": (Case.received_at, Case.id),
        "patient": (Case.patient, Case.lesion, Case.received_at, Case.id),
    }[wanted.order]


def _is_descending(wanted: Filter) -> bool:
    return wanted.stage in ("decided", "anything") or (
        wanted.stage != "follow-up" and wanted.order == "latest"
    )


def _query(wanted: Filter) -> Select[int]:
    """The numbers of the cases that are wanted, in their order."""
    if wanted.tier and wanted.tier not in TIERS:
        raise InputError(f"Received the tier {wanted.tier!r}; expected one of {', '.join(TIERS)}.")
    if wanted.order not in ORDERS:
        raise InputError(f"Received the order {wanted.order!r}; expected one of {', '.join(ORDERS)}.")
    asked: list[ColumnElement[bool]] = [Case.lane == wanted.lane]
    if wanted.stage == "follow-up":
        asked = [Case.follow_up_on.is_not(None), COUNTED]
    elif wanted.stage == "anything":
        asked = []
    elif wanted.stage != "all":
        asked.append(DECIDED if wanted.stage == "decided" else OPEN)
    if wanted.tier and wanted.stage == "anything":
        asked.append(Case.tier == wanted.tier)
    elif wanted.tier:
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
        asked.append(_found(wanted.search, wanted.blind))
    if wanted.tag:
        key = folded(wanted.tag)
        asked.append(Case.id.in_(select(Tag.case_id).where(Tag.key == key)))
    if wanted.assigned_to is not None:
        asked.append(
            Case.assigned_to == wanted.assigned_to if wanted.assigned_to else Case.assigned_to.is_(None)
        )
    order = [column.desc() if _is_descending(wanted) else column for column in _order(wanted)]
    return select(Case.id).where(*asked).order_by(*order)


def comments_shown_to(person: Person) -> ColumnElement[bool]:
    """Of the comments of a clinic in which two people read each case, those that a person may see.

    Their own; those of people who have not read the case; all once it is decided, or once the person is to
    settle where the two readers differ.
    """

    def read_by(account: Any) -> ColumnElement[bool]:
        own = and_(Read.case_id == Comment.case_id, Read.account_id == account, Read.undone_at.is_(None))
        return select(Read.id).where(own).exists()

    def case_is(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
        return select(Case.id).where(Case.id == Comment.case_id, *conditions).exists()

    shown = [
        Comment.account_id == person.account_id,
        ~read_by(Comment.account_id),
        case_is(Case.stage == "decided"),
    ]
    if "reads:write" in person.may:
        settled = case_is(Case.stage == "adjudication", Case.lane != WITHDRAWN)
        shown.append(and_(settled, ~read_by(person.account_id)))
    return or_(*shown)


def _found(search: str, blind: Person | None) -> ColumnElement[bool]:
    """Cases that contain every word."""
    comments = select(Comment.case_id)
    if blind is not None:
        comments = comments.where(comments_shown_to(blind))
    words = search.casefold().split()
    if len(words) > MOST_WORDS:
        raise InputError(f"Received {len(words)} words to search; expected up to {MOST_WORDS}.")
    each = []
    for word in words:
        if "\0" in word:
            raise InputError("Received a search that holds a control character.")
        here = or_(
            Case.search.contains(word, autoescape=True),
            # Not asked of each case: there are far fewer comments and tags than cases.
            Case.id.in_(comments.where(Comment.search.contains(word, autoescape=True))),
            Case.id.in_(select(Tag.case_id).where(Tag.key.contains(word, autoescape=True))),
        )
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
    beyond: ColumnElement[bool] = here < there if _is_descending(wanted) else here > there
    return beyond


def _cursor(wanted: Filter, case: Listed) -> str:
    values = [getattr(case, column.key) for column in _order(wanted)]
    plain = [value.isoformat() if isinstance(value, date) else value for value in values]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def _read_cursor(wanted: Filter, cursor: str) -> list[Any]:
    columns = _order(wanted)
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        return [_place(column.type, value) for column, value in zip(columns, values, strict=True)]
    except (ValueError, TypeError, RecursionError, OverflowError):
        raise InputError("Received a page that is none; begin at the first page.") from None


def _place(kind: Any, value: Any) -> Any:
    """A value of a cursor, as its column has it. Raises ValueError, TypeError."""
    if isinstance(kind, Instant):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError
        return moment
    if isinstance(kind, Date):
        return date.fromisoformat(value)
    if type(value) is not kind.python_type:
        raise ValueError
    if isinstance(value, int) and abs(value) > LARGEST_ID:
        raise ValueError
    if isinstance(value, str) and not value.isprintable():
        raise ValueError
    return value
