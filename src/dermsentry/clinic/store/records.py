"""Whether tables and files are what the audit trail tells: a row that was changed behind its back is found.

The chain of events says only that nobody changed the events. Here they are gone through once, for what each
case, read, outcome, alert and account must be by now, and the tables are compared with that; photographs with
the SHA-256 that they were received with. What no event tells, or none of an earlier version, is not compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import JSON, select, type_coerce
from sqlalchemy.orm import Session

from dermsentry.clinic.store.events import (
    AccountAddedEvent,
    AccountClosedEvent,
    AccountOpenedEvent,
    AlertAcknowledgedEvent,
    AlertEscalatedEvent,
    AlertMovedEvent,
    AlertRaisedEvent,
    AlertReopenedEvent,
    AssignedEvent,
    CaseCorrectedEvent,
    CaseRestoredEvent,
    CaseWithdrawnEvent,
    CommentedEvent,
    ConflictSettledEvent,
    FindingShownEvent,
    FollowUpDoneEvent,
    HeldEvent,
    LesionFiledEvent,
    MatchFoundEvent,
    MatchSettledEvent,
    OutcomeRecordedEvent,
    PartJoinedEvent,
    PartSeparatedEvent,
    ReadAmendedEvent,
    ReadEvent,
    ReadUndoneEvent,
    ReceivedAgainEvent,
    ReceivedEvent,
    RoleChangedEvent,
    ScreenedEvent,
    ScreenedSilentlyEvent,
    SecondFactorRemovedEvent,
    SecondFactorResetEvent,
    SecondFactorSetEvent,
    SpellingsJoinedEvent,
    SpellingsKeptApartEvent,
    SpellingsUndoneEvent,
    TaggedEvent,
    TechniqueSetEvent,
    UntaggedEvent,
)
from dermsentry.clinic.store.pictures import Pictures
from dermsentry.clinic.store.tables import (
    AMENDMENT,
    IDENTIFYING,
    PART,
    PLACES,
    SEARCHED_FIELDS,
    SILENT,
    SILENT_PLACE,
    WAITING_RANK,
    WITHDRAWN,
    Account,
    Alert,
    BodySite,
    Case,
    Comment,
    Conflict,
    Event,
    Join,
    Match,
    Outcome,
    Read,
    Tag,
    malignancy_order,
    searched,
)
from dermsentry.clinic.store.text import digest_of, spelling_key, written
from dermsentry.errors import InputError

MOST_TOLD = 1000
_AT_ONCE = 1000
_SECOND_FACTOR = (
    SecondFactorSetEvent.action,
    SecondFactorRemovedEvent.action,
    SecondFactorResetEvent.action,
)

_DETAILS = ("finer", "certainty", "follow_up_on", "abcd", "seven_point")

_SAME_TIME = timedelta(minutes=10)
"""A row and its event are of one transaction; each took the time for itself, before or after a wait."""

_Told = dict[str, Any]


@dataclass(frozen=True)
class _Happened:
    """An event: what, by whom and when, and what it tells."""

    action: str
    actor: str
    at: datetime
    told: _Told


@dataclass
class _Expected:
    """What the events tell: by number or name, the values that a row must have by now."""

    cases: dict[int, _Told] = field(default_factory=dict)
    reads_of: dict[int, set[int]] = field(default_factory=dict)
    """Of a case, those that were not undone."""
    conflicts: dict[int, _Told] = field(default_factory=dict)
    reads: dict[int, _Told] = field(default_factory=dict)
    outcomes: dict[int, _Told] = field(default_factory=dict)
    comments: dict[int, _Told] = field(default_factory=dict)
    tags: dict[tuple[int, str], _Told] = field(default_factory=dict)
    alerts: dict[tuple[int, str], _Told] = field(default_factory=dict)
    accounts: dict[str, _Told] = field(default_factory=dict)
    joins: dict[int, _Told] = field(default_factory=dict)
    body_sites: dict[int, _Told] = field(default_factory=dict)
    matches: dict[int, _Told] = field(default_factory=dict)
    unclear: list[str] = field(default_factory=list)


def verify_records(session: Session, pictures: Pictures | None) -> Iterator[str]:
    """What in the tables is not as the events tell, a sentence each; and in the photographs, where given.

    The events themselves are verified by `audit_trail.verify`. Every photograph is read: with many thousands
    that takes a while.
    """
    expected = _expected(session)
    yield from expected.unclear
    yield from _compare("case", expected.cases, _cases(session))
    yield from _compare("read", expected.reads, _reads(session))
    yield from _compare("outcome", expected.outcomes, _outcomes(session))
    yield from _compare("comment", expected.comments, _comments(session))
    yield from _compare("tag", expected.tags, _tags(session))
    yield from _compare("alert", expected.alerts, _alerts(session))
    yield from _compare("account", expected.accounts, _accounts(session))
    yield from _compare("spelling", expected.joins, _joins(session))
    yield from _compare("conflict", expected.conflicts, _conflicts(session))
    yield from _compare("match", expected.matches, _matches(session))
    yield from _compare("body site", expected.body_sites, _body_sites(session))
    if pictures is not None:
        for case_id, sha256 in _stream(session, select(Case.id, Case.sha256).order_by(Case.id)):
            try:
                pictures.read_original(sha256)
            except InputError as error:
                yield f"case {case_id}: {error}"


def finding_digest(found: _Told | None) -> str:
    """SHA-256 of a finding, which is the same however a database keeps it."""
    return digest_of(json.dumps(found, sort_keys=True, ensure_ascii=False))


def _expected(session: Session) -> _Expected:
    made = _Expected()
    query = select(Event.id, Event.at, Event.actor, Event.action, Event.subject, Event.detail)
    for number, at, actor, action, subject, detail in _stream(session, query.order_by(Event.id)):
        kind, _, name = (
            subject.rpartition(" ") if subject.startswith("body site ") else subject.partition(" ")
        )
        try:
            told = dict(json.loads(detail))
            happened = _Happened(action, actor, datetime.fromisoformat(at), told)
            if kind == "account":
                _of_account(made.accounts, name, action, told)
            elif kind == "case" and name.isdecimal():
                _of_case(made, int(name), happened)
            elif kind == "spelling" and name.isdecimal():
                _of_spelling(made.joins, int(name), happened)
            elif action == LesionFiledEvent.action and name.isdecimal():
                made.body_sites[int(name)] = told | _whose(happened)
        except (ValueError, KeyError, TypeError):
            made.unclear.append(f"event {number} does not tell what one of its kind tells")
    return made


def _of_account(accounts: dict[str, _Told], name: str, action: str, told: _Told) -> None:
    if action == AccountAddedEvent.action:
        person = (told.get("issuer", ""), told.get("person", ""))
        accounts[name] = {"role": told["role"], "active": True, "person": person, "second factor": False}
    elif name in accounts and action == RoleChangedEvent.action:
        accounts[name]["role"] = told["to"]
    elif name in accounts and action in (AccountOpenedEvent.action, AccountClosedEvent.action):
        accounts[name]["active"] = action == AccountOpenedEvent.action
    elif name in accounts and action in _SECOND_FACTOR:
        accounts[name]["second factor"] = action == SecondFactorSetEvent.action


def _of_spelling(joins: dict[int, _Told], number: int, happened: _Happened) -> None:
    action, told = happened.action, happened.told
    if action in (SpellingsJoinedEvent.action, SpellingsKeptApartEvent.action):
        same = action == SpellingsJoinedEvent.action
        joins[number] = {**told, "same": same, "undone": False} | _whose(happened)
    elif action == SpellingsUndoneEvent.action and number in joins:
        joins[number]["undone"] = True


def _of_case(made: _Expected, case_id: int, happened: _Happened) -> None:
    action, told = happened.action, happened.told
    case = made.cases.get(case_id, {})
    if action == ReceivedEvent.action:
        whose = {name: told[name] for name in IDENTIFYING if name in told}
        start = {"sha256": told["sha256"], "source": told["source"], "received_at": happened.at}
        start |= {"technique": told.get("technique", ""), "assigned": "", "part_of": None, "alone": False}
        made.cases[case_id] = case = whose | start | _UNREAD
    elif action == CaseCorrectedEvent.action:
        case |= told["after"]
    elif action == HeldEvent.action:
        given = {name: told.get(name, "") for name in (*IDENTIFYING, "note")}
        opened = {"case": case_id, **given, "resolution": "", "reason": ""}
        made.conflicts.setdefault(told["conflict"], opened)
    elif action == ConflictSettledEvent.action and told["conflict"] in made.conflicts:
        made.conflicts[told["conflict"]] |= {name: told[name] for name in ("resolution", "reason")}
    elif action == MatchFoundEvent.action:
        own = {name: told[name] for name in ("other", "agreement", "in_place")}
        made.matches[told["match"]] = {"case": case_id, **own, "resolution": "", "reason": ""}
    elif action == MatchSettledEvent.action and told["match"] in made.matches:
        made.matches[told["match"]] |= {name: told[name] for name in ("resolution", "reason")}
    elif action == TechniqueSetEvent.action:
        case["technique"] = told["after"]
    elif case and action == PartJoinedEvent.action:
        case |= {"lane": PART, "part_of": told["part_of"], "alone": False}
        made.cases[told["part_of"]]["alone"] = False  # who puts it back may have put it at the head
    elif case and action == PartSeparatedEvent.action:
        case |= {"part_of": None, "alone": told["alone"]}
        case["lane"], case["rank"] = _place(case)
    elif case and action in (CaseWithdrawnEvent.action, CaseRestoredEvent.action):
        case["lane"] = WITHDRAWN if action == CaseWithdrawnEvent.action else _place(case)[0]
    elif case and action in (ScreenedEvent.action, ScreenedSilentlyEvent.action, FindingShownEvent.action):
        _of_finding(case, happened)
    elif action in (ReadEvent.action, ReadAmendedEvent.action, ReadUndoneEvent.action):
        _of_read(made, case_id, happened)
    elif action == FollowUpDoneEvent.action:
        case["follow_up_on"] = None
    elif action == OutcomeRecordedEvent.action:
        own = {name: told[name] for name in ("diagnosis", "method")}
        own |= {"note": told["note_sha256"]} if "note_sha256" in told else {}
        own |= {"breslow_mm": told["breslow_mm"]} if "breslow_mm" in told else {}
        made.outcomes[told["outcome"]] = {"case": case_id, **own} | _whose(happened)
    elif action == AssignedEvent.action:
        case["assigned"] = told["to"]
    elif action == CommentedEvent.action:
        own = {"case": case_id, "text": told["text_sha256"]}
        made.comments[told["comment"]] = own | _whose(happened)
    elif action == TaggedEvent.action:
        made.tags[case_id, told["tag"]] = {}
    elif action == UntaggedEvent.action:
        made.tags.pop((case_id, told["tag"]), None)
    elif action == AlertRaisedEvent.action:
        made.alerts[case_id, told["rule"]] = {"raised_at": happened.at, "escalated_at": None, **_OPEN}
    elif action == AlertMovedEvent.action:
        made.alerts[told["to"], told["rule"]] = made.alerts.pop((case_id, told["rule"]))
    elif (case_id, told.get("rule")) in made.alerts:
        _of_alert(made.alerts[case_id, told["rule"]], happened)
    if action in _NOTED and "note_sha256" in told:
        case["note"] = told["note_sha256"]


_UNREAD: _Told = {
    **{"state": "waiting", "tier": "", "lane": "waiting", "rank": WAITING_RANK, "melanoma": None},
    **{"screened_at": None, "silent": False, "stage": "unread", "decided_at": None, "follow_up_on": None},
    # What the database keeps twice, to find and sort by it.
    **{"malignancy_order": True, "search": True, "patient_key": True},
}
_OPEN: _Told = {"acknowledged_at": None, "acknowledged_by": ""}
_NOTED = (ReceivedEvent.action, ReceivedAgainEvent.action, HeldEvent.action, ConflictSettledEvent.action)
"""Events after which a case has the note of which they tell the digest."""


def _of_finding(case: _Told, happened: _Happened) -> None:
    told, silent = happened.told, happened.action == ScreenedSilentlyEvent.action
    if happened.action != FindingShownEvent.action:
        case |= {"state": "screened", "screened_at": happened.at, "model": told["model"]}
        case |= {"finding's tier": told["tier"], "finding's melanoma": told["melanoma"]}
        case |= {"finding": told["finding"]} if "finding" in told else {}
    case |= {"silent": silent, "tier": SILENT if silent else case["finding's tier"]}
    case["melanoma"] = None if silent else case["finding's melanoma"]
    lane, case["rank"] = _place(case)
    if case["lane"] not in (PART, WITHDRAWN):
        case["lane"] = lane


def _place(case: _Told) -> tuple[str, int]:
    """The lane and the rank that a case has by its tier where it is neither withdrawn nor a part."""
    if case["state"] == "waiting":
        return "waiting", case["rank"]
    return SILENT_PLACE if case["silent"] else PLACES[case["tier"]]


def _of_read(made: _Expected, case_id: int, happened: _Happened) -> None:
    told, case = happened.told, made.cases.get(case_id, {})
    number, undone = told["read"], happened.action == ReadUndoneEvent.action
    left = made.reads_of.setdefault(case_id, set())
    if not undone:
        own = {name: told[name] for name in ("position", "agrees", "diagnosis", "action")}
        own |= {"note": told["note_sha256"]} if "note_sha256" in told else {}
        own |= {name: told[name] for name in _DETAILS if name in told}
        made.reads[number] = {"case": case_id, **own, "undone": False} | _whose(happened)
        left.add(number)
    elif number in made.reads:
        made.reads[number]["undone"] = True
        left.discard(number)
    decided = told["stage"] == "decided"
    case["stage"] = told["stage"]
    if not (undone and told["position"] == AMENDMENT):
        case["decided_at"] = happened.at if decided else None
    last = max(left, key=lambda own: (made.reads[own]["position"], own), default=None)
    day = made.reads[last].get("follow_up_on") if last is not None else None
    case["follow_up_on"] = day if decided else None


def _of_alert(alert: _Told, happened: _Happened) -> None:
    if happened.action == AlertAcknowledgedEvent.action:
        alert |= {"acknowledged_at": happened.at, "acknowledged_by": happened.actor}
    elif happened.action == AlertReopenedEvent.action:
        alert |= _OPEN
    elif happened.action == AlertEscalatedEvent.action:
        alert["escalated_at"] = happened.at


def _whose(happened: _Happened) -> _Told:
    return {"author": happened.actor, "at": happened.at}


def _compare(kind: str, expected: dict[Any, _Told], rows: Iterator[tuple[Any, _Told]]) -> Iterator[str]:
    """What differs between rows and events; a name that the events did not tell is not compared."""
    seen = set()
    for key, row in rows:
        seen.add(key)
        told = expected.get(key)
        if told is None:
            yield f"{_named(kind, key)} is in no event"
            continue
        changed = [own for own, value in told.items() if own not in row or _differ(row[own], value)]
        if changed:
            yield f"{_named(kind, key)} is not as the events tell: {', '.join(changed)}"
    for key in expected.keys() - seen:
        yield f"{_named(kind, key)} is missing"


def _differ(own: Any, told: Any) -> bool:
    if isinstance(own, datetime) and isinstance(told, datetime):
        return abs(own - told) > _SAME_TIME
    return bool(own != told)


def _named(kind: str, key: Any) -> str:
    return f"{kind} {key[1]!r} of case {key[0]}" if isinstance(key, tuple) else f"{kind} {key}"


def _cases(session: Session) -> Iterator[tuple[int, _Told]]:
    names = (
        *(
            "id",
            "sha256",
            "source",
            "received_at",
            "state",
            "screened_at",
            "tier",
            "lane",
            "rank",
            "melanoma",
        ),
        *("stage", "decided_at", "follow_up_on", "note", "technique", "part_of", "alone", *IDENTIFYING),
        *("finding", "silent", "model_digest", "malignancy_order", "file_name", "search", "patient_key"),
    )
    columns = (getattr(Case, name) for name in names)
    query = select(*columns, Account.name).outerjoin(Account, Account.id == Case.assigned_to)
    for *own, assigned in _stream(session, query.order_by(Case.id)):
        row = dict(zip(names, own, strict=True))
        shown, hidden, day, model = (
            row.pop(name) for name in ("finding", "silent", "follow_up_on", "model_digest")
        )
        row |= {"assigned": assigned or "", "note": digest_of(row["note"])}
        row |= {"follow_up_on": day.isoformat() if day else None}
        row |= {"silent": shown is None and hidden is not None}
        row["malignancy_order"] = _is_ordered(row["malignancy_order"], shown)
        row["search"] = row["search"] == searched(*(row[name] for name in SEARCHED_FIELDS))
        row["patient_key"] = row["patient_key"] == spelling_key(row["patient"])
        found = shown if shown is not None else hidden
        if found is not None:
            row |= {"model": model, "finding": finding_digest(found)}
            own = found if isinstance(found, dict) else {}  # whatever it was bent into
            row |= {"finding's tier": own.get("tier"), "finding's melanoma": own.get("melanoma")}
        yield row["id"], row


def _is_ordered(order: float, shown: Any) -> bool:
    """Whether a case has the place in its tier that its finding gives it."""
    try:
        return abs(order - malignancy_order((shown or {}).get("probabilities"))) < 1e-9
    except (AttributeError, TypeError):  # no finding of ours
        return False


def _reads(session: Session) -> Iterator[tuple[int, _Told]]:
    names = (
        *("case_id", "position", "agrees", "diagnosis", "action", "finer", "certainty", "at"),
        *("follow_up_on", "note", "reason", "other", "other_code", "undone_at"),
    )
    # As they are kept: a checklist that was bent is told, and not read.
    filled = (type_coerce(Read.abcd, JSON), type_coerce(Read.seven_point, JSON), Account.name)
    query = select(Read.id, *filled, *(getattr(Read, name) for name in names)).join(Read.account)
    for read_id, abcd, seven, name, *own, day, note, reason, other, code, undone in _stream(
        session, query.order_by(Read.id)
    ):
        told = dict(zip(("case", *names[1:8]), own, strict=True)) | {"author": name}
        told |= {"follow_up_on": day.isoformat() if day else None, "undone": undone is not None}
        told |= {"note": digest_of(*written(note, reason, other, code)), "abcd": abcd, "seven_point": seven}
        yield read_id, told


def _outcomes(session: Session) -> Iterator[tuple[int, _Told]]:
    names = ("diagnosis", "method", "breslow_mm", "at")
    columns = (getattr(Outcome, name) for name in names)
    query = select(Outcome.id, Outcome.case_id, Outcome.note, Account.name, *columns)
    query = query.outerjoin(Outcome.account).order_by(Outcome.id)
    for outcome_id, case_id, note, name, *own in _stream(session, query):
        told = dict(zip(names, own, strict=True))
        yield outcome_id, told | {"case": case_id, "note": digest_of(note), "author": name or ""}


def _comments(session: Session) -> Iterator[tuple[int, _Told]]:
    query = select(Comment.id, Comment.case_id, Comment.text, Comment.at, Account.name).join(Comment.account)
    for comment_id, case_id, said, at, name in _stream(session, query.order_by(Comment.id)):
        yield comment_id, {"case": case_id, "text": digest_of(said), "author": name, "at": at}


def _tags(session: Session) -> Iterator[tuple[tuple[int, str], _Told]]:
    for case_id, name in _stream(session, select(Tag.case_id, Tag.name)):
        yield (case_id, name), {}


def _alerts(session: Session) -> Iterator[tuple[tuple[int, str], _Told]]:
    names = ("raised_at", "escalated_at", "acknowledged_at")
    query = select(Alert.case_id, Alert.rule, Account.name, *(getattr(Alert, name) for name in names))
    query = query.outerjoin(Account, Account.id == Alert.acknowledged_by).order_by(Alert.id)
    for case_id, rule, name, *own in _stream(session, query):
        yield (case_id, rule), dict(zip(names, own, strict=True)) | {"acknowledged_by": name or ""}


def _accounts(session: Session) -> Iterator[tuple[str, _Told]]:
    columns = (Account.openid_issuer, Account.openid_subject, Account.totp_secret)
    query = select(Account.name, Account.role, Account.active, *columns)
    for name, role, active, issuer, person, secret in _stream(session, query):
        told = {"role": role, "active": active, "person": (issuer or "", person or "")}
        yield name, told | {"second factor": secret is not None}


def _joins(session: Session) -> Iterator[tuple[int, _Told]]:
    names = ("kind", "patient", "first", "second", "same", "at")
    query = select(Join.id, Join.undone_at, Account.name, *(getattr(Join, name) for name in names))
    for number, undone, name, *own in _stream(session, query.join(Join.account).order_by(Join.id)):
        yield number, {**dict(zip(names, own, strict=True)), "undone": undone is not None, "author": name}


def _body_sites(session: Session) -> Iterator[tuple[int, _Told]]:
    names = ("patient", "lesion", "view", "region", "x", "y", "at")
    query = select(BodySite.id, Account.name, *(getattr(BodySite, name) for name in names))
    for number, name, *own in _stream(session, query.join(BodySite.account).order_by(BodySite.id)):
        yield number, dict(zip(names, own, strict=True)) | {"author": name}


def _conflicts(session: Session) -> Iterator[tuple[int, _Told]]:
    names = ("resolution", "reason")
    query = select(Conflict.id, Conflict.case_id, Conflict.told, *(getattr(Conflict, name) for name in names))
    for number, case_id, told, *own in _stream(session, query.order_by(Conflict.id)):
        kept = told if isinstance(told, dict) else {}
        given = {name: kept.get(name, "") for name in (*IDENTIFYING, "note")}
        yield number, {"case": case_id, **given, **dict(zip(names, own, strict=True))}


def _matches(session: Session) -> Iterator[tuple[int, _Told]]:
    names = ("agreement", "in_place", "resolution", "reason")
    query = select(Match.id, Match.second_id, Match.first_id, *(getattr(Match, name) for name in names))
    for number, *own in _stream(session, query.order_by(Match.id)):
        yield number, dict(zip(("case", "other", *names), own, strict=True))


def _stream(session: Session, query: Any) -> Iterator[Any]:
    yield from session.execute(query.execution_options(yield_per=_AT_ONCE))
