"""What the clinic keeps, as tables. Times are in UTC; nothing here knows of web pages or networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, date, datetime
from typing import Any, ClassVar, Literal, get_args

from sqlalchemy import (
    JSON,
    Date,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    event,
    literal_column,
    text,
)
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, Mapper, mapped_column, relationship

from dermsentry.clinic import lengths
from dermsentry.clinic.checklists import Abcd, SevenPoint
from dermsentry.clinic.store.text import folded, spelling_key
from dermsentry.files import plain
from dermsentry.screening.triage import Tier

Source = Literal["page", "api", "folder", "dicom"]
State = Literal["waiting", "screened"]
"""Of a case: its photograph waits for the model, or has a finding."""
Stage = Literal["unread", "second-read", "adjudication", "decided"]
"""Of a case's reading: whom it waits for."""
Lane = Literal["suspicion", "cannot-say", "waiting", "part", "withdrawn"]
"""Of the worklist: the model assessed the case; could not, or not read the file; has not seen it yet; it is
a photograph of another case, in no list of its own and no figure; a person withdrew it, so that it is in
none either."""
PART: Lane = "part"
WITHDRAWN: Lane = "withdrawn"
LARGEST_ID = 2**31 - 1
"""Of a row, as PostgreSQL's integer is."""
ADJUDICATOR = 3
"""The position of the read that settles where two differ."""
AMENDMENT = 4
"""The position of reads that change the decision on a case; the latest counts."""
IDENTIFYING = ("patient", "lesion", "site", "accession")
"""What says whose photograph it is: where a repeat differs in one of these, a person must look."""
SEARCHED_FIELDS = (*IDENTIFYING, "file_name")
SEARCHED = 400
"""Characters, of four bytes at most: with the other columns they must fit a third of PostgreSQL's page."""
_ORDER = ("lane", "rank", "malignancy_order", "received_at")
_FILTERED = ("site", "received_by", "search")
PLACES: dict[Tier, tuple[Lane, int]] = {
    "alert": ("suspicion", 0),
    "refer": ("suspicion", 1),
    "routine": ("suspicion", 2),
    "cannot-say": ("cannot-say", 0),
    "unreadable": ("cannot-say", 1),
}
"""Of a tier: its lane of the worklist, and its rank there."""
WAITING_RANK = 9
SILENT = "silent"
"""The tier of a case that was screened in silent mode: its finding is recorded, and shown nowhere."""
SILENT_PLACE: tuple[Lane, int] = ("suspicion", 3)
"""Its place in the worklist, which tells nothing of the finding."""
MALIGNANT = {"MEL": 2.0, "SCC": 1.0, "BCC": 1.0}
"""Diagnoses that must not wait, and what the probability of each weighs within a tier: melanoma first."""
ASSESSED = tuple(tier for tier, (lane, _) in PLACES.items() if lane == "suspicion")
Action = Literal["biopsy", "follow-up", "discharge", "retake"]
ACTIONS: tuple[Action, ...] = get_args(Action)

Technique = Literal["overview", "close-up", "dermoscopic", "polarised", "unpolarised"]
TECHNIQUES: tuple[Technique, ...] = get_args(Technique)
"""How a photograph was taken: of a region, of a lesion, or through a dermatoscope, with which light."""
NOT_DERMOSCOPIC: tuple[Technique, ...] = ("overview", "close-up")
"""What the model does not assess, since it learned from dermoscopic photographs."""


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class Instant(TypeDecorator[datetime]):
    """A time in UTC, in databases that know zones and in those that do not."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"Received a time without a zone, {value}; expected one in UTC.")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        return None if value is None else value.replace(tzinfo=UTC)


class Checklist(TypeDecorator[Abcd | SevenPoint]):
    """A checklist as JSON, with the score that its criteria gave when it was kept."""

    impl = JSON
    cache_ok = True

    def __init__(self, kind: type[Abcd] | type[SevenPoint]) -> None:
        super().__init__(none_as_null=True)
        self.kind = kind

    def process_bind_param(self, value: Abcd | SevenPoint | None, dialect: Dialect) -> dict[str, Any] | None:
        """To the database."""
        return None if value is None else plain(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Abcd | SevenPoint | None:
        """From the database; the score is recomputed."""
        if value is None:
            return None
        told: dict[str, Any] = {}
        for own in fields(self.kind):
            given = value[own.name]
            told[own.name] = tuple(given) if isinstance(given, list) else given
        return self.kind(**told)


class Base(DeclarativeBase):
    """All tables; constraints have names, so that a migration can change them on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: Instant,
        date: Date,
        dict[str, Any]: JSON,
        list[str]: JSON,
    }


def malignancy_order(probabilities: Mapping[str, float] | None) -> float:
    """The place of a case within its tier: the more malignant, the smaller; 0 where nothing is known.

    The sum of the probabilities of melanoma, squamous and basal cell carcinoma, melanoma's twice.
    """
    shares = probabilities or {}
    return -sum(weight * shares.get(code, 0.0) for code, weight in MALIGNANT.items())


class Account(Base):
    """A person who may sign in. `name` is lower case.

    `language` is that of the pages; empty for the browser's. `password_hash` is empty for who signs in
    through an OpenID provider: there the person is `openid_subject` of `openid_issuer`, whatever their name
    or mail address. `password_given`: an administrator chose the password, so it must be changed first.
    `totp_secret` is encrypted; `totp_step` is that of its last code.
    """

    __tablename__ = "accounts"
    __table_args__ = (Index("uq_accounts_openid", "openid_issuer", "openid_subject", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(lengths.ACCOUNT), unique=True)
    full_name: Mapped[str] = mapped_column(String(lengths.FULL_NAME))
    role: Mapped[str] = mapped_column(String(lengths.CODE))
    password_hash: Mapped[str] = mapped_column(String(200))
    password_given: Mapped[bool] = mapped_column(default=False)
    totp_secret: Mapped[str | None] = mapped_column(String(300))
    totp_step: Mapped[int | None]
    openid_issuer: Mapped[str | None] = mapped_column(String(lengths.ADDRESS))
    openid_subject: Mapped[str | None] = mapped_column(String(lengths.OPENID_SUBJECT))
    active: Mapped[bool] = mapped_column(default=True)
    language: Mapped[str] = mapped_column(String(lengths.CODE), default="")
    created_at: Mapped[datetime] = mapped_column(default=now)


class RecoveryCode(Base):
    """A code that stands in for an account's second factor once, kept as its SHA-256."""

    __tablename__ = "recovery_codes"
    __table_args__ = (UniqueConstraint("account_id", "hash"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    hash: Mapped[str] = mapped_column(String(64))
    used_at: Mapped[datetime | None]


class SignIn(Base):
    """A session of a browser. `id` is the SHA-256 of the cookie: who reads the table cannot sign in."""

    __tablename__ = "sign_ins"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    csrf: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=now)
    seen_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    account: Mapped[Account] = relationship(lazy="joined")


class Token(Base):
    """A program's key to the API, kept as its SHA-256."""

    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    label: Mapped[str] = mapped_column(String(lengths.TOKEN_LABEL))
    secret_hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]
    account: Mapped[Account] = relationship(lazy="joined")


class Model(Base):
    """A model that screened something, by the digest of its card."""

    __tablename__ = "models"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    card: Mapped[dict[str, Any]]
    first_used_at: Mapped[datetime] = mapped_column(default=now)


class ModelChoice(Base):
    """Which model an administrator chose; the latest choice of a `base` is in force.

    `base`: the digest of the model that the clinic is served with. `digest`: of the site bundle made from it,
    or the same where that was withdrawn.
    """

    __tablename__ = "model_choices"
    __table_args__ = (Index("ix_model_choices_base", "base", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    base: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(ForeignKey("models.digest"))
    at: Mapped[datetime] = mapped_column(default=now)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    account: Mapped[Account] = relationship(lazy="joined")
    model: Mapped[Model] = relationship(lazy="joined")


def _searched(context: Any) -> str:
    given = context.get_current_parameters()
    return searched(*(given.get(name) or "" for name in SEARCHED_FIELDS))


def _patient_key(context: Any) -> str:
    return spelling_key(context.get_current_parameters().get("patient") or "")


def searched(*texts: str) -> str:
    """Texts as they are searched: one line, letters in one case, cut to what an index holds."""
    return folded(" ".join(texts))[:SEARCHED]


class Case(Base):
    """One photograph, what it shows according to the model, and whose eyes it waits for.

    Of the photographs of one lesion and day one leads, and is the case; the others are its parts, in the lane
    `part` with its number as `part_of` (see `worklist.parts`). `alone`: a person said that it is no part.

    `sha256` is of the file as it came: the same photograph sent twice is one case. So is the same DICOM image
    in another file, by its `instance` (see `dicom.Header.identity`); `pixels` is the SHA-256 of a DICOM
    image's pixel data as encoded, by which the same image of another patient is noticed. `revision` counts
    what changed that a report tells of. `rank` is the tier's place in the worklist, `malignancy_order` that
    within the tier. `finding` is what `findings.jsonl` would hold, less the path; `silent` the same of a case
    that was screened in silent mode, which has no `finding`, so that nothing can show it. `search` is what a
    case is searched by, in one case of letters; `patient_key` what spellings of its patient's reference
    share. `taken`: when the photograph was taken, as its file says, `2025-03-04T10:20:30` or `2025-03-04` by
    the camera's clock; empty where it does not. `technique`: one of `TECHNIQUES`, empty where nobody said.
    `assigned_to`: the account that is to read it. `follow_up_on`: the day on which the lesion is to be seen
    again, until a person has said that it was.
    """

    __tablename__ = "cases"
    __table_args__ = (
        # One for each order of the worklist: what was decided over the years must not be walked through. What
        # is filtered by is in them too, so that no case is opened to look into it.
        Index("ix_cases_worklist", *_ORDER, "id", *_FILTERED),
        Index(
            "ix_cases_open",
            *_ORDER,
            "id",
            *_FILTERED,
            "stage",  # SQLite would open a case to see what the index says already
            sqlite_where=text("stage <> 'decided'"),
            postgresql_where=text("stage <> 'decided'"),
        ),
        Index(
            "ix_cases_decided",
            "lane",
            "decided_at",
            "id",
            "rank",
            "received_at",
            *_FILTERED,
            "stage",
            sqlite_where=text("stage = 'decided'"),
            postgresql_where=text("stage = 'decided'"),
        ),
        # The other orders of an open lane.
        *(
            Index(
                name,
                "lane",
                *order,
                "id",
                "rank",
                *(column for column in (*_FILTERED, "stage") if column not in order),
                sqlite_where=text("stage <> 'decided'"),
                postgresql_where=text("stage <> 'decided'"),
            )
            for name, order in (
                ("ix_cases_open_received", ("received_at",)),
                ("ix_cases_open_patient", ("patient", "lesion", "received_at")),
            )
        ),
        Index(
            "ix_cases_assigned",
            "assigned_to",
            sqlite_where=text("assigned_to IS NOT NULL"),
            postgresql_where=text("assigned_to IS NOT NULL"),
        ),
        Index(
            "ix_cases_follow_up",
            "follow_up_on",
            "id",
            sqlite_where=text("follow_up_on IS NOT NULL"),
            postgresql_where=text("follow_up_on IS NOT NULL"),
        ),
        Index(
            "ix_cases_part_of",
            "part_of",
            sqlite_where=text("part_of IS NOT NULL"),
            postgresql_where=text("part_of IS NOT NULL"),
        ),
        Index("ix_cases_own", "received_by", "received_at"),
        Index("ix_cases_patient", "patient", "lesion", "received_at"),
        Index("ix_cases_accession", "accession"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    file_name: Mapped[str] = mapped_column(String(lengths.FILE_NAME), default="")
    format: Mapped[str] = mapped_column(String(10), default="")
    width: Mapped[int | None]
    height: Mapped[int | None]
    patient: Mapped[str] = mapped_column(String(lengths.PATIENT), default="")
    lesion: Mapped[str] = mapped_column(String(lengths.LESION), default="")
    site: Mapped[str] = mapped_column(String(lengths.SITE), default="")
    accession: Mapped[str] = mapped_column(String(lengths.ACCESSION), default="")
    note: Mapped[str] = mapped_column(Text, default="")
    search: Mapped[str] = mapped_column(String(SEARCHED), default=_searched)
    source: Mapped[str] = mapped_column(String(10))
    dicom: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    instance: Mapped[str | None] = mapped_column(String(64), unique=True)
    pixels: Mapped[str | None] = mapped_column(String(64), index=True)
    revision: Mapped[int] = mapped_column(default=0)
    received_at: Mapped[datetime] = mapped_column(default=now, index=True)
    received_by: Mapped[int | None] = mapped_column(ForeignKey("accounts.id"))
    state: Mapped[str] = mapped_column(String(10), default="waiting")
    screened_at: Mapped[datetime | None] = mapped_column(index=True)
    model_digest: Mapped[str | None] = mapped_column(ForeignKey("models.digest"))
    tier: Mapped[str] = mapped_column(String(12), default="")
    lane: Mapped[str] = mapped_column(String(12), default="waiting")
    rank: Mapped[int] = mapped_column(default=WAITING_RANK)
    melanoma: Mapped[float | None]
    malignancy_order: Mapped[float] = mapped_column(default=0.0)
    finding: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    silent: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    stage: Mapped[str] = mapped_column(String(12), default="unread")
    taken: Mapped[str] = mapped_column(String(19), default="")
    technique: Mapped[str] = mapped_column(String(lengths.CODE), default="")
    patient_key: Mapped[str] = mapped_column(String(lengths.PATIENT), default=_patient_key, index=True)
    decided_at: Mapped[datetime | None]
    assigned_to: Mapped[int | None] = mapped_column(ForeignKey("accounts.id"))
    follow_up_on: Mapped[date | None]
    part_of: Mapped[int | None] = mapped_column(ForeignKey("cases.id"))
    alone: Mapped[bool] = mapped_column(default=False)
    model: Mapped[Model | None] = relationship()
    assignee: Mapped[Account | None] = relationship(foreign_keys=[assigned_to])

    @property
    def assignee_name(self) -> str | None:
        """The name of the account that is to read it."""
        return self.assignee.name if self.assignee is not None else None

    @property
    def thresholds(self) -> Mapping[str, float]:
        """The thresholds of the model that screened it, by tier; none while it waits."""
        return cuts_of(self.model.card) if self.model is not None else {}


def place_of(case: Case) -> tuple[Lane, int]:
    """The lane and the rank that a case has by its tier, where it is neither withdrawn nor a part."""
    if case.state == "waiting":
        return "waiting", WAITING_RANK
    return SILENT_PLACE if case.tier == SILENT else PLACES[case.tier]  # type: ignore[index]


def cuts_of(card: Mapping[str, Any]) -> Mapping[str, float]:
    """The thresholds of a model's card, by tier."""
    return {name: cut["value"] for name, cut in card["thresholds"].items()}


COUNTED = Case.lane.not_in((PART, WITHDRAWN))
"""That a case is in lists and figures: neither withdrawn nor a photograph of another."""
OPEN = Case.stage != literal_column("'decided'")
"""That a case is not decided; written out, since a partial index is not used for a parameter."""
DECIDED = Case.stage == literal_column("'decided'")


@event.listens_for(Case, "before_update")
def _search_anew(mapper: Mapper[Case], connection: Connection, case: Case) -> None:
    case.search = searched(*(getattr(case, name) for name in SEARCHED_FIELDS))
    case.patient_key = spelling_key(case.patient)


class Join(Base):
    """What a person said of two spellings: `same`, or not. It counts until it is undone.

    `kind`: `patient` or `lesion`. Of a lesion, `patient` is the reference of the patient whose lesion it is.
    """

    __tablename__ = "joins"
    __table_args__ = (Index("ix_joins_key", "key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(lengths.CODE))
    key: Mapped[str] = mapped_column(String(lengths.PATIENT))
    patient: Mapped[str] = mapped_column(String(lengths.PATIENT))
    first: Mapped[str] = mapped_column(String(lengths.PATIENT))
    second: Mapped[str] = mapped_column(String(lengths.PATIENT))
    same: Mapped[bool]
    at: Mapped[datetime] = mapped_column(default=now)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    undone_at: Mapped[datetime | None]
    undone_by: Mapped[int | None] = mapped_column(ForeignKey("accounts.id"))
    account: Mapped[Account] = relationship(lazy="joined", foreign_keys=[account_id])


class BodySite(Base):
    """Where on the body a person filed a lesion: a point of a view of the body map; filing again moves it.

    `key` is that of the patient's reference. `view` is empty where it was taken off the map again.
    """

    __tablename__ = "body_sites"
    __table_args__ = (UniqueConstraint("patient", "lesion"), Index("ix_body_sites_key", "key"))

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(lengths.PATIENT))
    patient: Mapped[str] = mapped_column(String(lengths.PATIENT))
    lesion: Mapped[str] = mapped_column(String(lengths.LESION))
    view: Mapped[str] = mapped_column(String(lengths.CODE))
    region: Mapped[str] = mapped_column(String(40))
    x: Mapped[float]
    y: Mapped[float]
    at: Mapped[datetime] = mapped_column(default=now)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    account: Mapped[Account] = relationship(lazy="joined")


class Embedding(Base):
    """What a model (its card's digest) made of a photograph before it gave probabilities: float16 values."""

    __tablename__ = "embeddings"

    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), primary_key=True)
    model_digest: Mapped[str] = mapped_column(String(64))
    vector: Mapped[bytes] = mapped_column(LargeBinary)


class Fingerprint(Base):
    """What a case's photograph is recognised by (see `worker.fingerprint`), and when it was compared.

    `data`: None where it is still to be made of the photograph, empty where it cannot be. Numbers are given
    in the order in which fingerprints are kept, and none twice, so that what is new is what has a larger one.
    """

    __tablename__ = "fingerprints"
    __table_args__ = (
        Index(
            "ix_fingerprints_waiting",
            "id",
            sqlite_where=text("compared_at IS NULL"),
            postgresql_where=text("compared_at IS NULL"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), unique=True)
    data: Mapped[bytes | None] = mapped_column(LargeBinary)
    compared_at: Mapped[datetime | None]


class Match(Base):
    """Two cases, the `first` received before the `second`, whose photographs show the same skin.

    `agreement`: the share of the skin that both show in which its detail is the same. `in_place`: it is in
    the same place of both, as in a copy of another size. `patients`: whether the two are filed under two
    patients; a person must look at it then. `resolution`: `different` (not the same skin after all) or `same`
    (it is, and nothing is left to be put right).
    """

    __tablename__ = "matches"
    __table_args__ = (
        UniqueConstraint("second_id", "first_id"),
        Index(
            "ix_matches_open",
            "id",
            sqlite_where=text("resolved_at IS NULL AND patients"),
            postgresql_where=text("resolved_at IS NULL AND patients"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    first_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), index=True)
    second_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"))
    agreement: Mapped[float]
    in_place: Mapped[bool]
    patients: Mapped[bool]
    at: Mapped[datetime] = mapped_column(default=now)
    resolved_at: Mapped[datetime | None]
    resolved_by: Mapped[int | None] = mapped_column(ForeignKey("accounts.id"))
    resolution: Mapped[str] = mapped_column(String(lengths.CODE), default="")
    reason: Mapped[str] = mapped_column(Text, default="")
    first: Mapped[Case] = relationship(foreign_keys=[first_id])
    second: Mapped[Case] = relationship(foreign_keys=[second_id])
    account: Mapped[Account | None] = relationship(lazy="joined")


class Conflict(Base):
    """A case's photograph that came again for another patient, lesion, site or accession.

    `told`: what came with it, its technique too. `sha256`: of the file that came, which may be another one of
    the same DICOM image. `resolution`: `kept` (the case stays as it is) or `corrected` (it takes on what was
    told).
    """

    __tablename__ = "conflicts"
    __table_args__ = (
        Index(
            "ix_conflicts_open",
            "id",
            sqlite_where=text("resolved_at IS NULL"),
            postgresql_where=text("resolved_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), index=True)
    sha256: Mapped[str] = mapped_column(String(64))
    source: Mapped[str] = mapped_column(String(10))
    sender: Mapped[str] = mapped_column(String(lengths.SUBJECT))
    told: Mapped[dict[str, Any]]
    at: Mapped[datetime] = mapped_column(default=now)
    resolved_at: Mapped[datetime | None]
    resolved_by: Mapped[int | None] = mapped_column(ForeignKey("accounts.id"))
    resolution: Mapped[str] = mapped_column(String(lengths.CODE), default="")
    reason: Mapped[str] = mapped_column(Text, default="")
    case: Mapped[Case] = relationship()


class Correction(Base):
    """What a person put right about a case, and why: `corrected`, `withdrawn` or `restored`.

    `before` and `after`: the fields that changed, of a correction.
    """

    __tablename__ = "corrections"

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), index=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    kind: Mapped[str] = mapped_column(String(lengths.CODE))
    reason: Mapped[str] = mapped_column(Text)
    before: Mapped[dict[str, Any]]
    after: Mapped[dict[str, Any]]
    at: Mapped[datetime] = mapped_column(default=now)
    account: Mapped[Account] = relationship(lazy="joined")


class Export(Base):
    """A report of a case that left the clinic, as it was at that `revision` of the case.

    Whoever has it must be sent the case again once it has changed. `reference`: the UIDs of a DICOM report's
    study, series and instance, by which a later one names it as its predecessor.
    """

    __tablename__ = "exports"
    __table_args__ = (UniqueConstraint("case_id", "form", "revision"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"))
    form: Mapped[str] = mapped_column(String(lengths.CODE))
    revision: Mapped[int]
    reference: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    at: Mapped[datetime] = mapped_column(default=now)


class Job(Base):
    """A photograph that waits to be screened. A worker leases it; a lease that ran out is another's.

    What was screened has no job any more, so that the queue is as short as what waits.
    """

    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), unique=True)
    state: Mapped[str] = mapped_column(String(10), default="queued")
    attempts: Mapped[int] = mapped_column(default=0)
    lease: Mapped[str] = mapped_column(String(32), default="")
    lease_until: Mapped[datetime] = mapped_column(default=now)


class Read(Base):
    """What a person decided on a case.

    `position`: 1 and 2 the readers, 3 the adjudicator, 4 who amended the decision later, for a `reason`.
    `batch`: of the routine cases that were discharged together; empty otherwise.
    The others are as `worklist.terms.Details` has them.
    """

    __tablename__ = "reads"
    __table_args__ = (Index("ix_reads_case", "case_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"))
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    position: Mapped[int]
    agrees: Mapped[bool | None]
    diagnosis: Mapped[str] = mapped_column(String(lengths.CODE))
    action: Mapped[str] = mapped_column(String(lengths.CODE))
    note: Mapped[str] = mapped_column(Text, default="")
    reason: Mapped[str] = mapped_column(Text, default="")
    batch: Mapped[str] = mapped_column(String(32), default="", index=True)
    finer: Mapped[str] = mapped_column(String(lengths.CODE), default="")
    other: Mapped[str] = mapped_column(String(lengths.OTHER_DIAGNOSIS), default="")
    other_code: Mapped[str] = mapped_column(String(40), default="")
    certainty: Mapped[str] = mapped_column(String(lengths.CODE), default="")
    follow_up_on: Mapped[date | None]
    abcd: Mapped[Abcd | None] = mapped_column(Checklist(Abcd))
    seven_point: Mapped[SevenPoint | None] = mapped_column(Checklist(SevenPoint))
    at: Mapped[datetime] = mapped_column(default=now)
    undone_at: Mapped[datetime | None]
    account: Mapped[Account] = relationship(lazy="joined")


class Draft(Base):
    """What a person has begun on a case and not saved: `decision`, `amendment`, or `comment` alone."""

    __tablename__ = "drafts"
    __table_args__ = (UniqueConstraint("case_id", "account_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"))
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    form: Mapped[str] = mapped_column(String(lengths.CODE))
    fields: Mapped[dict[str, Any]]
    at: Mapped[datetime] = mapped_column(default=now)


class Lock(Base):
    """Who has a case open to read it, until when; one who takes it over puts themselves in their place.

    `key`: of the page that holds it, so that another page of the same person does not give it up.
    """

    __tablename__ = "locks"

    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(String(32))
    since: Mapped[datetime] = mapped_column(default=now)
    until: Mapped[datetime]
    account: Mapped[Account] = relationship(lazy="joined")


def _folded(context: Any) -> str:
    return str(context.get_current_parameters()["text"]).casefold()


class Comment(Base):
    """What a person said about a case, beside any decision; `search` is it in one case of letters."""

    __tablename__ = "comments"

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), index=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    text: Mapped[str] = mapped_column(Text)
    search: Mapped[str] = mapped_column(Text, default=_folded)
    at: Mapped[datetime] = mapped_column(default=now)
    account: Mapped[Account] = relationship(lazy="joined")


class Tag(Base):
    """A word that people gave a case, to find it again; `key` is it in one case of letters."""

    __tablename__ = "tags"

    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(2 * lengths.TAG), primary_key=True, index=True)
    name: Mapped[str] = mapped_column(String(lengths.TAG))


class Outcome(Base):
    """What a case turned out to be, by histology or follow-up; the latest counts.

    `breslow_mm`: of a melanoma, its Breslow thickness in millimetres.
    """

    __tablename__ = "outcomes"

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), index=True)
    diagnosis: Mapped[str] = mapped_column(String(lengths.CODE))
    method: Mapped[str] = mapped_column(String(lengths.CODE))
    breslow_mm: Mapped[float | None]
    note: Mapped[str] = mapped_column(Text, default="")
    at: Mapped[datetime] = mapped_column(default=now)
    account_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id"))
    account: Mapped[Account | None] = relationship(lazy="joined")


class Alert(Base):
    """A rule that a case met; open until a person acknowledges it."""

    __tablename__ = "alerts"
    __table_args__ = (
        UniqueConstraint("case_id", "rule"),
        Index(
            "ix_alerts_open",
            "raised_at",
            sqlite_where=text("acknowledged_at IS NULL"),
            postgresql_where=text("acknowledged_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"))
    rule: Mapped[str] = mapped_column(String(lengths.RULE))
    raised_at: Mapped[datetime] = mapped_column(default=now, index=True)
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by: Mapped[int | None] = mapped_column(ForeignKey("accounts.id"))
    escalated_at: Mapped[datetime | None]
    case: Mapped[Case] = relationship()


class Delivery(Base):
    """A message about an alert to one address; tried again with growing pauses until sent or dead.

    `change`: what happened to the case since a message about it was sent there; empty for the first.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("ix_deliveries_next", "state", "next_at"),
        Index("ix_deliveries_sent", "address", "sent_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    alert_id: Mapped[int] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"), index=True)
    channel: Mapped[str] = mapped_column(String(10))
    address: Mapped[str] = mapped_column(String(lengths.ADDRESS))
    escalation: Mapped[bool] = mapped_column(default=False)
    change: Mapped[str] = mapped_column(String(lengths.CODE), default="", server_default="")
    state: Mapped[str] = mapped_column(String(10), default="pending")
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime] = mapped_column(default=now)
    sent_at: Mapped[datetime | None]
    error: Mapped[str] = mapped_column(Text, default="")
    alert: Mapped[Alert] = relationship()


class Event(Base):
    """Who did what, when. Rows are only ever added; each holds the hash of the one before."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(40))
    actor: Mapped[str] = mapped_column(String(lengths.SUBJECT))
    action: Mapped[str] = mapped_column(String(lengths.ACTION), index=True)
    subject: Mapped[str] = mapped_column(String(lengths.SUBJECT), index=True)
    detail: Mapped[str] = mapped_column(Text)
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))
