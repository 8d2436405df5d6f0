"""Whether tables and files are what the audit trail tells: a row that was changed behind its back is found.

The chain of events says only that nobody changed the events. Here they are gone through once, for what each
case, read, outcome, alert and account must be by now, and the tables are compared with that; photographs with
the SHA-256 that they were received with. What events of earlier versions did not tell is not compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import JSON, select, type_coerce
from sqlalchemy.orm import Session

from dermsentry.clinic.store.events import (
    AccountAddedEvent,
    AccountClosedEvent,
    AccountOpenedEvent,
    AlertAcknowledgedEvent,
    AlertRaisedEvent,
    AlertReopenedEvent,
    AssignedEvent,
    CaseCorrectedEvent,
    CaseRestoredEvent,
    CaseWithdrawnEvent,
    CommentedEvent,
    LesionFiledEvent,
    MatchFoundEvent,
    MatchSettledEvent,
    OutcomeRecordedEvent,
    ReadAmendedEvent,
    ReadEvent,
    ReadUndoneEvent,
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
    IDENTIFYING,
    WITHDRAWN,
    Account,
    Alert,
    BodySite,
    Case,
    Comment,
    Event,
    Join,
    Match,
    Outcome,
    Read,
    Tag,
)
from dermsentry.clinic.store.text import digest_of, written
from dermsentry.errors import InputError

MOST_TOLD = 1000
_AT_ONCE = 1000
_SECOND_FACTOR = (
    SecondFactorSetEvent.action,
    SecondFactorRemovedEvent.action,
    SecondFactorResetEvent.action,
)

_DETAILS = ("finer", "certainty", "follow_up_on", "abcd", "seven_point")

_Told = dict[str, Any]


@dataclass
class _Expected:
    """What the events tell: by number or name, the values that a row must have by now."""

    cases: dict[int, _Told] = field(default_factory=dict)
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
    query = select(Event.id, Event.action, Event.subject, Event.detail).order_by(Event.id)
    for number, action, subject, detail in _stream(session, query):
        kind, _, name = (
            subject.rpartition(" ") if subject.startswith("body site ") else subject.partition(" ")
        )
        try:
            told = json.loads(detail)
            if kind == "account":
                _of_account(made.accounts, name, action, told)
            elif kind == "case" and name.isdecimal():
                _of_case(made, int(name), action, told)
            elif kind == "spelling" and name.isdecimal():
                _of_spelling(made.joins, int(name), action, told)
            elif action == LesionFiledEvent.action and name.isdecimal():
                made.body_sites[int(name)] = told
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


def _of_spelling(joins: dict[int, _Told], number: int, action: str, told: _Told) -> None:
    if action in (SpellingsJoinedEvent.action, SpellingsKeptApartEvent.action):
        joins[number] = {**told, "same": action == SpellingsJoinedEvent.action, "undone": False}
    elif action == SpellingsUndoneEvent.action and number in joins:
        joins[number]["undone"] = True


def _of_case(made: _Expected, case_id: int, action: str, told: _Told) -> None:
    case = made.cases.get(case_id, {})
    if action == ReceivedEvent.action:
        whose = {name: told[name] for name in IDENTIFYING if name in told}
        start: _Told = {"sha256": told["sha256"], "withdrawn": False, "assigned": ""}
        start["technique"] = told.get("technique", "")
        made.cases[case_id] = start | whose
    elif action == CaseCorrectedEvent.action:
        case |= told["after"]
    elif action == MatchFoundEvent.action:
        own = {name: told[name] for name in ("other", "agreement", "in_place")}
        made.matches[told["match"]] = {"case": case_id, **own, "resolution": "", "reason": ""}
    elif action == MatchSettledEvent.action and told["match"] in made.matches:
        made.matches[told["match"]] |= {name: told[name] for name in ("resolution", "reason")}
    elif action == TechniqueSetEvent.action:
        case["technique"] = told["after"]
    elif action in (CaseWithdrawnEvent.action, CaseRestoredEvent.action):
        case["withdrawn"] = action == CaseWithdrawnEvent.action
    elif action in (ScreenedEvent.action, ScreenedSilentlyEvent.action):
        case |= {"tier": told["tier"], "melanoma": told["melanoma"], "model": told["model"]}
        case |= {"finding": told["finding"]} if "finding" in told else {}
    elif action in (ReadEvent.action, ReadAmendedEvent.action):
        own = {name: told[name] for name in ("position", "agrees", "diagnosis", "action")}
        own |= {"note": told["note_sha256"]} if "note_sha256" in told else {}
        own |= {name: told[name] for name in _DETAILS if name in told}
        made.reads[told["read"]] = {"case": case_id, **own, "undone": False}
    elif action == ReadUndoneEvent.action and told["read"] in made.reads:
        made.reads[told["read"]]["undone"] = True
    elif action == OutcomeRecordedEvent.action:
        own = {name: told[name] for name in ("diagnosis", "method")}
        own |= {"note": told["note_sha256"]} if "note_sha256" in told else {}
        own |= {"breslow_mm": told["breslow_mm"]} if "breslow_mm" in told else {}
        made.outcomes[told["outcome"]] = {"case": case_id, **own}
    elif action == AssignedEvent.action:
        case["assigned"] = told["to"]
    elif action == CommentedEvent.action:
        made.comments[told["comment"]] = {"case": case_id, "text": told["text_sha256"]}
    elif action == TaggedEvent.action:
        made.tags[case_id, told["tag"]] = {}
    elif action == UntaggedEvent.action:
        made.tags.pop((case_id, told["tag"]), None)
    elif action == AlertRaisedEvent.action:
        made.alerts[case_id, told["rule"]] = {"acknowledged": False}
    elif action in (AlertAcknowledgedEvent.action, AlertReopenedEvent.action):
        alert = made.alerts.get((case_id, told["rule"]))
        if alert is not None:
            alert["acknowledged"] = action == AlertAcknowledgedEvent.action


def _compare(kind: str, expected: dict[Any, _Told], rows: Iterator[tuple[Any, _Told]]) -> Iterator[str]:
    """What differs between rows and events; a name that the events did not tell is not compared."""
    seen = set()
    for key, row in rows:
        seen.add(key)
        told = expected.get(key)
        if told is None:
            yield f"{_named(kind, key)} is in no event"
            continue
        changed = [own for own, value in told.items() if own not in row or row[own] != value]
        if changed:
            yield f"{_named(kind, key)} is not as the events tell: {', '.join(changed)}"
    for key in expected.keys() - seen:
        yield f"{_named(kind, key)} is missing"


def _named(kind: str, key: Any) -> str:
    return f"{kind} {key[1]!r} of case {key[0]}" if isinstance(key, tuple) else f"{kind} {key}"


def _cases(session: Session) -> Iterator[tuple[int, _Told]]:
    names = (*IDENTIFYING, "technique")
    columns = [getattr(Case, name) for name in names]
    own = (Case.id, Case.sha256, Case.lane, Case.model_digest, Case.finding, Case.silent, Account.name)
    query = select(*own, *columns).outerjoin(Account, Account.id == Case.assigned_to).order_by(Case.id)
    for case_id, sha256, lane, model, shown, hidden, assigned, *whose in _stream(session, query):
        found = shown if shown is not None else hidden
        screened: _Told = {"tier": None, "melanoma": None, "model": None, "finding": None}
        if found is not None:
            screened |= {"tier": found["tier"], "melanoma": found["melanoma"], "model": model}
            screened |= {"finding": finding_digest(found)}
        row = {"sha256": sha256, "withdrawn": lane == WITHDRAWN, "assigned": assigned or "", **screened}
        yield case_id, row | dict(zip(names, whose, strict=True))


def _reads(session: Session) -> Iterator[tuple[int, _Told]]:
    names = (
        *("case_id", "position", "agrees", "diagnosis", "action", "finer", "certainty"),
        *("follow_up_on", "note", "reason", "other", "other_code", "undone_at"),
    )
    # As they are kept: a checklist that was bent is told, and not read.
    filled = (type_coerce(Read.abcd, JSON), type_coerce(Read.seven_point, JSON))
    query = select(Read.id, *filled, *(getattr(Read, name) for name in names)).order_by(Read.id)
    for read_id, abcd, seven, *own, day, note, reason, other, code, undone in _stream(session, query):
        told = dict(zip(("case", *names[1:7]), own, strict=True))
        told |= {"follow_up_on": day.isoformat() if day else None, "undone": undone is not None}
        told |= {"note": digest_of(*written(note, reason, other, code)), "abcd": abcd, "seven_point": seven}
        yield read_id, told


def _outcomes(session: Session) -> Iterator[tuple[int, _Told]]:
    names = (Outcome.id, Outcome.case_id, Outcome.diagnosis, Outcome.method, Outcome.breslow_mm, Outcome.note)
    query = select(*names)
    for outcome_id, case_id, diagnosis, method, breslow, note in _stream(session, query.order_by(Outcome.id)):
        told = {"case": case_id, "diagnosis": diagnosis, "method": method, "note": digest_of(note)}
        told |= {"breslow_mm": breslow}
        yield outcome_id, told


def _comments(session: Session) -> Iterator[tuple[int, _Told]]:
    query = select(Comment.id, Comment.case_id, Comment.text).order_by(Comment.id)
    for comment_id, case_id, said in _stream(session, query):
        yield comment_id, {"case": case_id, "text": digest_of(said)}


def _tags(session: Session) -> Iterator[tuple[tuple[int, str], _Told]]:
    for case_id, name in _stream(session, select(Tag.case_id, Tag.name)):
        yield (case_id, name), {}


def _alerts(session: Session) -> Iterator[tuple[tuple[int, str], _Told]]:
    query = select(Alert.case_id, Alert.rule, Alert.acknowledged_at).order_by(Alert.id)
    for case_id, rule, acknowledged in _stream(session, query):
        yield (case_id, rule), {"acknowledged": acknowledged is not None}


def _accounts(session: Session) -> Iterator[tuple[str, _Told]]:
    columns = (Account.openid_issuer, Account.openid_subject, Account.totp_secret)
    query = select(Account.name, Account.role, Account.active, *columns)
    for name, role, active, issuer, person, secret in _stream(session, query):
        told = {"role": role, "active": active, "person": (issuer or "", person or "")}
        yield name, told | {"second factor": secret is not None}


def _joins(session: Session) -> Iterator[tuple[int, _Told]]:
    names = ("kind", "patient", "first", "second", "same")
    query = select(Join.id, Join.undone_at, *(getattr(Join, name) for name in names)).order_by(Join.id)
    for number, undone, *own in _stream(session, query):
        yield number, {**dict(zip(names, own, strict=True)), "undone": undone is not None}


def _body_sites(session: Session) -> Iterator[tuple[int, _Told]]:
    names = ("patient", "lesion", "view", "region", "x", "y")
    query = select(BodySite.id, *(getattr(BodySite, name) for name in names)).order_by(BodySite.id)
    for number, *own in _stream(session, query):
        yield number, dict(zip(names, own, strict=True))


def _matches(session: Session) -> Iterator[tuple[int, _Told]]:
    names = ("agreement", "in_place", "resolution", "reason")
    query = select(Match.id, Match.second_id, Match.first_id, *(getattr(Match, name) for name in names))
    for number, *own in _stream(session, query.order_by(Match.id)):
        yield number, dict(zip(("case", "other", *names), own, strict=True))


def _stream(session: Session, query: Any) -> Iterator[Any]:
    yield from session.execute(query.execution_options(yield_per=_AT_ONCE))
