"""What the audit trail tells of: a dataclass for each kind of event.

Its fields are the event's detail, but for those that name the subject. Actions, subjects and the names in the
detail are what old trails hold already, so that whoever searches by them finds old and new events alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar


@dataclass(frozen=True)
class TrailEvent:
    """Something that happened; `action` says what, `subject` to what."""

    action: ClassVar[str]
    subject: ClassVar[str]

    def detail(self) -> dict[str, Any]:
        """What else is told: plain values, and nothing among them a secret."""
        named = [(own.metadata.get("json", own.name), own.name) for own in fields(self)]
        return {told: getattr(self, name) for told, name in named if told is not None}


@dataclass(frozen=True)
class CaseEvent(TrailEvent):
    """Something that happened to a case."""

    case: int = field(metadata={"json": None})

    @property
    def subject(self) -> str:  # type: ignore[override]
        """`case 12`."""
        return f"case {self.case}"


@dataclass(frozen=True)
class AccountEvent(TrailEvent):
    """Something that happened to an account, by its name."""

    account: str = field(metadata={"json": None})

    @property
    def subject(self) -> str:  # type: ignore[override]
        """`account anna`."""
        return f"account {self.account}"


@dataclass(frozen=True)
class ServerEvent(TrailEvent):
    """Something that happened to the server, of this version of Dermsentry."""

    subject = "server"
    version: str


@dataclass(frozen=True)
class ServerStartedEvent(ServerEvent):
    """The server began, with a model (its card's digest) and so many workers, in silent mode or not."""

    action = "server started"
    model: str
    workers: int
    silent: bool


@dataclass(frozen=True)
class ServerStoppedEvent(ServerEvent):
    """The server ended."""

    action = "server stopped"


@dataclass(frozen=True)
class ReceivedEvent(CaseEvent):
    """A photograph became a case; what was told with it, of the note its `note_sha256`."""

    action = "received"
    sha256: str
    source: str
    patient: str
    lesion: str
    site: str
    accession: str
    technique: str
    note_sha256: str


@dataclass(frozen=True)
class ReceivedAgainEvent(CaseEvent):
    """A case's photograph came another time, with nothing told that differs from the case.

    `note_sha256`: of the note that the case has by then.
    """

    action = "received again"
    source: str
    patient: str
    lesion: str
    site: str
    accession: str
    note: str
    technique: str
    note_sha256: str


@dataclass(frozen=True)
class HeldEvent(ReceivedAgainEvent):
    """A case's photograph came for another patient, lesion, site or accession: a person must settle it."""

    action = "held"
    conflict: int
    differs: Sequence[str]


@dataclass(frozen=True)
class ConflictSettledEvent(CaseEvent):
    """A person settled such a conflict: the case was `kept` as it is, or `corrected` to what was told.

    `note_sha256`: of the note that the case has by then.
    """

    action = "conflict settled"
    conflict: int
    resolution: str
    reason: str
    note_sha256: str


@dataclass(frozen=True)
class MatchFoundEvent(CaseEvent):
    """A case's photograph shows the same skin as that of an earlier case, `other`.

    `patients`: whether the two are filed under two patients.
    """

    action = "match found"
    match: int
    other: int
    agreement: float
    in_place: bool
    patients: bool


@dataclass(frozen=True)
class MatchSettledEvent(CaseEvent):
    """A person said that it is `different` skin after all, or the `same` with nothing to be put right."""

    action = "match settled"
    match: int
    other: int
    resolution: str
    reason: str


@dataclass(frozen=True)
class CaseCorrectedEvent(CaseEvent):
    """A person put right whose photograph it is."""

    action = "corrected"
    before: Mapping[str, str]
    after: Mapping[str, str]
    reason: str


@dataclass(frozen=True)
class CaseWithdrawnEvent(CaseEvent):
    """A person took a case out of every list and figure."""

    action = "withdrawn"
    reason: str


@dataclass(frozen=True)
class CaseRestoredEvent(CaseEvent):
    """A person put a withdrawn case back."""

    action = "restored"
    reason: str


@dataclass(frozen=True)
class ScreenedEvent(CaseEvent):
    """The model (its card's digest) gave a finding (its SHA-256); `threshold` is that of its alerts."""

    action = "screened"
    tier: str
    melanoma: float | None
    model: str
    threshold: float
    finding: str


@dataclass(frozen=True)
class ScreenedSilentlyEvent(ScreenedEvent):
    """The same in silent mode: the finding is recorded, and shown nowhere."""

    action = "screened silently"


@dataclass(frozen=True)
class FindingShownEvent(CaseEvent):
    """Silent mode ended while nobody had read the case: it has its finding now."""

    action = "finding shown"


@dataclass(frozen=True)
class ModelEvent(TrailEvent):
    """A person chose the model (its card's digest) that screens from then on, in place of another."""

    subject = "model"
    model: str
    instead_of: str


@dataclass(frozen=True)
class ModelAdoptedEvent(ModelEvent):
    """A site bundle: what its alerts promise, on so many melanomas, and from which probability they come."""

    action = "model adopted"
    sensitivity: float
    confidence: float
    melanomas: int
    threshold: float


@dataclass(frozen=True)
class ModelWithdrawnEvent(ModelEvent):
    """The model that the clinic is served with, as it came."""

    action = "site model withdrawn"


@dataclass(frozen=True)
class AlertEvent(CaseEvent):
    """Something that happened to the alert of a rule."""

    rule: str


@dataclass(frozen=True)
class AlertRaisedEvent(AlertEvent):
    """A case met a rule."""

    action = "alert raised"


@dataclass(frozen=True)
class AlertMovedEvent(AlertEvent):
    """A photograph with an open alert became part of a case, which has the alert now."""

    action = "alert moved"
    to: int


@dataclass(frozen=True)
class AlertEscalatedEvent(AlertEvent):
    """Nobody acknowledged an alert in time."""

    action = "alert escalated"


@dataclass(frozen=True)
class AlertAcknowledgedEvent(AlertEvent):
    """A person has seen an alert."""

    action = "alert acknowledged"


@dataclass(frozen=True)
class AlertReopenedEvent(AlertEvent):
    """The acknowledgement of an alert was undone, or the read that acknowledged it."""

    action = "alert opened again"


@dataclass(frozen=True)
class MessageEvent(CaseEvent):
    """An attempt to send a message about an alert."""

    delivery: int
    channel: str
    attempt: int


@dataclass(frozen=True)
class MessageSentEvent(MessageEvent):
    """It was sent."""

    action = "message sent"


@dataclass(frozen=True)
class MessageNotSentEvent(MessageEvent):
    """It could not be sent, and will be tried again."""

    action = "message not sent"
    problem: str


@dataclass(frozen=True)
class MessageGivenUpEvent(MessageEvent):
    """It could not be sent, and will not be tried again."""

    action = "message given up"
    problem: str


@dataclass(frozen=True)
class MessageQueuedAgainEvent(CaseEvent):
    """A person queued a message that was given up again."""

    action = "message queued again"
    delivery: int


@dataclass(frozen=True)
class ReadEvent(CaseEvent):
    """A person read a case; `stage` is where that left it, `note_sha256` of what they wrote.

    `batch`: of routine cases that were discharged together; empty otherwise.
    """

    action = "read"
    read: int
    position: int
    agrees: bool | None
    diagnosis: str
    # What was decided on: the event's own action is that it was read.
    decided: str = field(metadata={"json": "action"})
    stage: str
    model: str | None
    tier: str
    note_sha256: str
    batch: str
    finer: str
    certainty: str
    follow_up_on: str | None
    abcd: Mapping[str, Any] | None
    seven_point: Mapping[str, Any] | None


@dataclass(frozen=True)
class ReadAmendedEvent(ReadEvent):
    """A person changed the decision on a case; the one before stays among its reads."""

    action = "read amended"
    reason: str


@dataclass(frozen=True)
class ReadUndoneEvent(ReadEvent):
    """A person took a read back."""

    action = "read undone"


@dataclass(frozen=True)
class OutcomeRecordedEvent(CaseEvent):
    """A person entered what a case turned out to be; `note_sha256` of what they wrote."""

    action = "outcome recorded"
    outcome: int
    diagnosis: str
    method: str
    note_sha256: str
    breslow_mm: float | None


@dataclass(frozen=True)
class FollowUpDoneEvent(CaseEvent):
    """A person said that a lesion was seen again, as was planned for a day."""

    action = "follow-up done"
    planned: str


@dataclass(frozen=True)
class AssignedEvent(CaseEvent):
    """A person said who is to read a case, by the account's name; empty for nobody."""

    action = "assigned"
    before: str = field(metadata={"json": "from"})
    after: str = field(metadata={"json": "to"})


@dataclass(frozen=True)
class LockTakenOverEvent(CaseEvent):
    """A person took over a case that another, an account's name, had open to read it."""

    action = "taken over"
    before: str = field(metadata={"json": "from"})


@dataclass(frozen=True)
class CommentedEvent(CaseEvent):
    """A person said something about a case; `text_sha256` of what."""

    action = "commented"
    comment: int
    text_sha256: str


@dataclass(frozen=True)
class TaggedEvent(CaseEvent):
    """A person gave a case a tag."""

    action = "tagged"
    tag: str


@dataclass(frozen=True)
class UntaggedEvent(TaggedEvent):
    """A person took a tag from a case."""

    action = "tag removed"


@dataclass(frozen=True)
class CaseViewedEvent(CaseEvent):
    """A person or a program looked at a case; once in a quarter of an hour."""

    action = "viewed"


@dataclass(frozen=True)
class CasesListedEvent(TrailEvent):
    """A program was given a list of cases or alerts, by a filter; the same once in a quarter of an hour."""

    action = "listed"
    subject = "cases"
    what: str
    asked: Mapping[str, str] = field(metadata={"json": "filter"})


@dataclass(frozen=True)
class CaseExportedEvent(CaseEvent):
    """A person took a case away, in a form such as `FHIR`."""

    action = "exported"
    form: str = field(metadata={"json": "as"})


@dataclass(frozen=True)
class CasesExportedEvent(TrailEvent):
    """A person took the table of cases away; with `personal`, who they are of too."""

    action = "exported"
    subject = "cases"
    form: str = field(metadata={"json": "as"})
    personal: bool
    since: str | None
    until: str | None


@dataclass(frozen=True)
class TrailExportedEvent(TrailEvent):
    """A person took the audit trail away."""

    action = "exported"
    subject = "audit trail"
    form: str = field(metadata={"json": "as"})


@dataclass(frozen=True)
class SignedInEvent(AccountEvent):
    """A session of a browser began, from a network address; by which means it was opened."""

    action = "signed in"
    address: str
    means: str


@dataclass(frozen=True)
class SignInRefusedEvent(AccountEvent):
    """Somebody had the name of an account and not its password."""

    action = "sign-in refused"
    address: str


@dataclass(frozen=True)
class CodeRefusedEvent(AccountEvent):
    """Somebody had the password of an account and not its second factor."""

    action = "second factor refused"
    address: str


@dataclass(frozen=True)
class OpenIdRefusedEvent(TrailEvent):
    """Somebody came from the OpenID provider and was not let in; `person`: its `sub` of them, if it says."""

    action = "sign-in refused"
    subject = "OpenID Connect"
    address: str
    problem: str
    person: str


@dataclass(frozen=True)
class SignedOutEvent(AccountEvent):
    """A session of a browser was ended."""

    action = "signed out"


@dataclass(frozen=True)
class AccountAddedEvent(AccountEvent):
    """An account was made; `issuer` and `person` of one that signs in through an OpenID provider."""

    action = "account added"
    role: str
    issuer: str = ""
    person: str = ""


@dataclass(frozen=True)
class RoleChangedEvent(AccountEvent):
    """An account has another role."""

    action = "role changed"
    before: str = field(metadata={"json": "from"})
    after: str = field(metadata={"json": "to"})


@dataclass(frozen=True)
class AccountOpenedEvent(AccountEvent):
    """A closed account may sign in again."""

    action = "account opened"


@dataclass(frozen=True)
class AccountClosedEvent(AccountEvent):
    """An account may not sign in any more."""

    action = "account closed"


@dataclass(frozen=True)
class PasswordChangedEvent(AccountEvent):
    """An account has a new password."""

    action = "password changed"


@dataclass(frozen=True)
class PasswordGivenEvent(AccountEvent):
    """An account has a new password that its owner did not choose and must change at the next sign-in."""

    action = "password given"


@dataclass(frozen=True)
class SecondFactorSetEvent(AccountEvent):
    """A phone became an account's second factor, or another one did."""

    action = "second factor set up"


@dataclass(frozen=True)
class SecondFactorRemovedEvent(AccountEvent):
    """An account's owner removed its second factor."""

    action = "second factor removed"


@dataclass(frozen=True)
class SecondFactorResetEvent(AccountEvent):
    """An administrator removed an account's second factor."""

    action = "second factor reset"


@dataclass(frozen=True)
class RecoveryCodesMadeEvent(AccountEvent):
    """An account has new recovery codes in place of its old ones."""

    action = "recovery codes made"


@dataclass(frozen=True)
class RecoveryCodeUsedEvent(AccountEvent):
    """A recovery code stood in for an account's second factor; so many are left."""

    action = "recovery code used"
    left: int


@dataclass(frozen=True)
class TokenMadeEvent(AccountEvent):
    """A program's token was made."""

    action = "token made"
    token: int
    scopes: Sequence[str]


@dataclass(frozen=True)
class TokenRevokedEvent(AccountEvent):
    """A program's token counts no longer."""

    action = "token revoked"
    token: int


@dataclass(frozen=True)
class SpellingEvent(TrailEvent):
    """Something that happened to two spellings of a patient's reference, or of a lesion's name."""

    spelling: int = field(metadata={"json": None})
    kind: str
    patient: str
    first: str
    second: str

    @property
    def subject(self) -> str:  # type: ignore[override]
        """`spelling 12`."""
        return f"spelling {self.spelling}"


@dataclass(frozen=True)
class SpellingsJoinedEvent(SpellingEvent):
    """A person said that two spellings are one patient's, or one lesion's."""

    action = "spellings joined"


@dataclass(frozen=True)
class SpellingsKeptApartEvent(SpellingEvent):
    """A person said that they are not."""

    action = "spellings kept apart"


@dataclass(frozen=True)
class SpellingsUndoneEvent(SpellingEvent):
    """A person took back what was said of two spellings."""

    action = "spellings undone"


@dataclass(frozen=True)
class LesionFiledEvent(TrailEvent):
    """A person filed a lesion on the body map, at a point of a view; `view` is empty: took it off again."""

    action = "lesion filed"
    body_site: int = field(metadata={"json": None})
    patient: str
    lesion: str
    view: str
    region: str
    x: float
    y: float

    @property
    def subject(self) -> str:  # type: ignore[override]
        """`body site 12`."""
        return f"body site {self.body_site}"


@dataclass(frozen=True)
class PatientViewedEvent(CaseEvent):
    """A person was shown these cases on the page of a case's patient; once in a quarter of an hour."""

    action = "patient viewed"
    shown: Sequence[int]


@dataclass(frozen=True)
class TechniqueSetEvent(CaseEvent):
    """A person said how a photograph was taken."""

    action = "technique set"
    before: str
    after: str


@dataclass(frozen=True)
class PartJoinedEvent(CaseEvent):
    """A photograph became part of the case of its lesion and day."""

    action = "part joined"
    part_of: int


@dataclass(frozen=True)
class PartSeparatedEvent(CaseEvent):
    """A photograph became a case of its own again; `alone` where a person said that it is one."""

    action = "part separated"
    part_of: int
    alone: bool


ACTIONS = tuple(
    dict.fromkeys(
        own.action
        for own in list(globals().values())
        if isinstance(own, type) and issubclass(own, TrailEvent) and "action" in vars(own)
    )
)
"""Everything that an event may tell of."""
