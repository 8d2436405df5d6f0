"""What the API takes and gives, as its description has it."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field

from dermsentry.clinic import lengths
from dermsentry.clinic.monitoring.outcomes import Method
from dermsentry.clinic.store.tables import LARGEST_ID, Action, Lane, Source, Stage, State
from dermsentry.clinic.web.problems import Problem, problem_responses
from dermsentry.diagnoses import CODES

ALWAYS = problem_responses(401, 403, 422, 500, 503)
"""Errors of every call."""

Number = Annotated[int, Path(ge=1, le=LARGEST_ID, description="Case number")]
Code = Literal["AK", "BCC", "DF", "MEL", "NV", "PBK", "SCC", "SK", "VASC"]
assert set(Code.__args__) == set(CODES)  # type: ignore[attr-defined]


def _is_day(given: Any) -> Any:
    """Refuse a number, which Pydantic would take for seconds since 1970."""
    if isinstance(given, str) and not re.fullmatch(r"\d{4}-\d\d-\d\d", given):
        raise ValueError("expected a day such as 2026-01-31")
    return given


Day = Annotated[date, BeforeValidator(_is_day)]
Since = Annotated[Day | None, Query(description="Received on this day or later (UTC)")]
Until = Annotated[Day | None, Query(description="Received on this day or earlier (UTC)")]


class _Row(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class CaseSummary(_Row):
    """A case as listed in the worklist."""

    id: int
    state: State
    lane: Lane
    stage: Stage
    tier: str = Field(
        description="alert, refer, routine, cannot-say, unreadable; silent if screened in silent mode; "
        "empty until screened"
    )
    melanoma: float | None = Field(description="Calibrated probability of melanoma, 0 to 1")
    patient: str
    lesion: str
    site: str
    received_at: datetime
    screened_at: datetime | None
    decided_at: datetime | None


class CaseDetail(CaseSummary):
    """A case with the model's finding."""

    sha256: str = Field(description="SHA-256 of the photograph's file as received")
    note: str
    source: Source
    width: int | None = Field(description="Pixels")
    height: int | None = Field(description="Pixels")
    model_digest: str | None
    finding: dict[str, Any] | None = Field(
        description="As in findings.jsonl: tier, probabilities, no_lesion, out_of_distribution, quality, "
        "reasons"
    )


class Cases(BaseModel):
    """A page of the worklist."""

    cases: list[CaseSummary]
    next: str | None = Field(description="Send as `after` to get the next page; null on the last")


class SentFile(BaseModel):
    """The result for one file."""

    file_name: str
    case: int | None = Field(description="Its case, the earlier one if uploaded before; null if refused")
    new: bool
    problem: str = Field(description="Why it was refused; empty if it was not")


class SentFiles(BaseModel):
    """The result for each file of a request."""

    photographs: list[SentFile]


class Refused(Problem):
    """The error if no file could be used."""

    photographs: list[SentFile] = Field(default_factory=list)


class Upload(BaseModel):
    """A form with photographs and details that apply to all of them."""

    photographs: list[bytes] = Field(
        description="One or more files: JPEG, PNG, BMP, TIFF, WebP, HEIC, AVIF or DICOM", min_length=1
    )
    patient: str = Field(
        "", max_length=lengths.PATIENT, description="The clinic's patient number, not a name"
    )
    lesion: str = Field("", max_length=lengths.LESION)
    site: str = Field("", max_length=lengths.SITE)
    note: str = Field("", max_length=lengths.NOTE)


class Decision(BaseModel):
    """A dermatologist's decision on a case."""

    model_config = ConfigDict(extra="forbid")

    agrees: bool | None = Field(None, description="With the model; null if the model could not say")
    diagnosis: Code | Literal[""] = Field(description="Empty if none of these, or uncertain")
    action: Action
    note: str = Field("", max_length=lengths.NOTE)


class DecisionMade(_Row):
    """A decision. Undone decisions are in the audit trail only."""

    id: int
    case_id: int
    reader: str = Field(validation_alias=AliasPath("account", "name"))
    position: int = Field(description="1 and 2: readers; 3: adjudicator")
    agrees: bool | None
    diagnosis: str
    action: str
    note: str
    at: datetime


class NewOutcome(BaseModel):
    """The final diagnosis of a case."""

    model_config = ConfigDict(extra="forbid")

    diagnosis: Code
    method: Method
    note: str = Field("", max_length=lengths.NOTE)


class OutcomeKept(_Row):
    """An outcome; the most recent one of a case counts."""

    id: int
    case_id: int
    diagnosis: str
    method: str
    note: str
    at: datetime


class AlertRaised(_Row):
    """A rule that a case met; open until someone acknowledges it."""

    id: int
    case_id: int
    rule: str
    raised_at: datetime
    acknowledged_at: datetime | None
    escalated_at: datetime | None


class Alerts(BaseModel):
    """A page of alerts, the newest first."""

    alerts: list[AlertRaised]
    next: int | None = Field(description="Send as `before` to get the next page; null on the last")


class AuditEvent(_Row):
    """An event of the audit trail."""

    id: int
    at: str
    actor: str
    action: str
    subject: str
    detail: str = Field(description="JSON as text; the hash covers exactly this text")
    previous: str
    hash: str


class AuditEvents(BaseModel):
    """A page of the audit trail, the oldest first."""

    events: list[AuditEvent]
    next: int | None = Field(description="Send as `after` to get the next page; null on the last")


class AuditVerdict(BaseModel):
    """The result of verifying the audit trail."""

    events: int
    problems: list[str]
