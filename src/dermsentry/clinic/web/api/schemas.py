"""What the API takes and gives, as its description has it."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from fastapi import Path, Query
from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from dermsentry.clinic import lengths
from dermsentry.clinic.checklists import (
    MOST_AXES,
    MOST_SEGMENTS,
    Abcd,
    Colour,
    Criterion,
    SevenPoint,
    Structure,
    Verdict,
)
from dermsentry.clinic.monitoring.outcomes import LARGEST_BRESLOW_MM, Method
from dermsentry.clinic.store.tables import (
    ASSESSED,
    LARGEST_ID,
    Action,
    Lane,
    Source,
    Stage,
    State,
    Technique,
)
from dermsentry.clinic.web.problems import Problem, problem_responses
from dermsentry.clinic.worklist.reading import DETAILS
from dermsentry.clinic.worklist.terms import Certainty, Details
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
    melanoma: float | None = Field(
        description="Calibrated probability of melanoma, 0 to 1; null where the model cannot assess the image"
    )
    patient: str
    lesion: str
    site: str
    accession: str
    received_at: datetime
    screened_at: datetime | None
    decided_at: datetime | None
    follow_up_on: date | None = Field(description="The day on which the lesion is to be seen again")
    assigned_to: str | None = Field(
        None, validation_alias="assignee_name", description="The account that is to read it"
    )
    part_of: int | None = Field(
        description="The case of which this photograph is a part, and which is decided for both; else null"
    )
    parts: list[int] = Field([], description="The case's other photographs, of the same lesion and day")

    @model_validator(mode="after")
    def _withhold(self) -> Self:
        """A small number for an image that the model cannot assess would look reassuring."""
        if self.tier not in ASSESSED:
            self.melanoma = None
        return self


class MatchFound(_Row):
    """Two cases whose photographs show the same skin."""

    id: int
    case: int = Field(validation_alias="second_id", description="The later case")
    other: int = Field(validation_alias="first_id", description="The earlier case")
    agreement: float = Field(description="Share of the skin that both show in which its detail is the same")
    in_place: bool = Field(description="In the same place of both pictures, as in a copy of another size")
    patients: bool = Field(description="Whether the cases are filed under two patients")
    at: datetime
    resolution: Literal["", "different", "same"] = Field(description="Empty until a person settles it")
    reason: str
    resolved_at: datetime | None


class CaseDetail(CaseSummary):
    """A case with the model's finding."""

    sha256: str = Field(description="SHA-256 of the photograph's file as received")
    note: str
    source: Source
    width: int | None = Field(description="Pixels")
    height: int | None = Field(description="Pixels")
    taken: str = Field(description="When, as the file says, by the camera's clock; empty if it does not say")
    technique: Technique | Literal[""] = Field(description="How it was taken; empty if nobody said")
    model_digest: str | None
    matches: list[MatchFound] = Field([], description="Other cases that show the same skin")
    finding: dict[str, Any] | None = Field(
        description="As in findings.jsonl: tier, probabilities, no_lesion, out_of_distribution, quality, "
        "reasons; without probabilities where the model cannot assess the image"
    )

    @model_validator(mode="after")
    def _withhold_all(self) -> Self:
        if self.tier not in ASSESSED and self.finding is not None:
            self.finding = {**self.finding, "melanoma": None, "probabilities": None}
        return self


class Cases(BaseModel):
    """A page of the worklist."""

    cases: list[CaseSummary]
    next: str | None = Field(description="Send as `after` to get the next page; null on the last")


class Whose(_Row):
    """Whose photograph it is said to be."""

    patient: str
    lesion: str
    site: str
    accession: str


class Told(Whose):
    """Whose photograph it is, and how it was taken, according to its sender."""

    technique: Technique | Literal[""] = ""


class HeldFile(BaseModel):
    """A photograph that is a case already, of somebody or something else: a person must decide."""

    conflict: int = Field(description="Its number among the conflicts")
    kept: Whose = Field(description="What the case says")
    told: Whose = Field(description="What was said now")
    differs: list[str] = Field(description="The fields that differ")
    withdrawn: bool = Field(description="Whether the case has been withdrawn")


class SentFile(BaseModel):
    """The result for one file."""

    file_name: str
    case: int | None = Field(description="Its case, the earlier one if uploaded before; null if refused")
    new: bool
    problem: str = Field(description="Why it was refused or held; empty if it was not")
    held: HeldFile | None = Field(None, description="Set if it is held for a person")


class SentFiles(BaseModel):
    """The result for each file of a request."""

    photographs: list[SentFile]


class Refused(Problem):
    """The error if no file could be used, or all that could are held."""

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
    accession: str = Field(
        "", max_length=lengths.ACCESSION, description="Of the request; otherwise as in the DICOM header"
    )
    note: str = Field("", max_length=lengths.NOTE)
    technique: Technique | Literal[""] = Field(
        "", description="How the photographs were taken; kept unless the case has another already"
    )


class AbcdRule(BaseModel):
    """The ABCD rule of dermatoscopy (Stolz 1994, Nachbar 1994), whole."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    asymmetry: int = Field(ge=0, le=MOST_AXES, strict=True, description="Asymmetric axes, of two")
    border: int = Field(ge=0, le=MOST_SEGMENTS, strict=True, description="Abrupt segments, of eight")
    colours: tuple[Colour, ...] = Field(min_length=1)
    structures: tuple[Structure, ...] = Field(min_length=1)


class SevenPointChecklist(BaseModel):
    """The 7-point checklist (Argenziano 1998); without criteria none of the seven was found."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    criteria: tuple[Criterion, ...] = Field(
        description="The first three are major, 2 points each; the others minor, 1 each"
    )


class AbcdScored(AbcdRule):
    """The ABCD rule with its score."""

    score: float = Field(description="1.3 A + 0.1 B + 0.5 C + 0.5 D, 1.0 to 8.9")
    verdict: Verdict = Field(description="benign below 4.75, suspicious up to 5.45, else highly-suspicious")


class SevenPointScored(SevenPointChecklist):
    """The 7-point checklist with its score."""

    score: int = Field(description="0 to 10")
    verdict: Verdict = Field(description="suspicious from 3 points, else not-suspicious")


class _Decided(BaseModel):
    """What a dermatologist decides on a case, first or later."""

    model_config = ConfigDict(extra="forbid")

    agrees: bool | None = Field(
        None, description="With the tier, such as the alert; null if the model could not say"
    )
    diagnosis: Code | Literal[""] = Field(description="Empty if none of these, or uncertain")
    action: Action
    note: str = Field("", max_length=lengths.NOTE)
    finer: Literal["MIS", "LM", "SPITZ", "DYS", "SL", ""] = Field(
        "", description="Melanoma in situ, lentigo maligna, Spitz nevus, dysplastic nevus, solar lentigo"
    )
    other: str = Field(
        "", max_length=lengths.OTHER_DIAGNOSIS, description="A diagnosis in words, without `diagnosis`"
    )
    other_code: str = Field("", max_length=40, description="Its code, such as `ICD-O 9140/3`")
    certainty: Certainty = ""
    follow_up_on: Day | None = Field(None, description="The day on which the lesion is to be seen again")
    abcd: AbcdRule | None = None
    seven_point: SevenPointChecklist | None = None
    confirmed: bool = Field(
        False, description="That it is meant although it contradicts itself, such as melanoma and discharge"
    )

    def values_given(self) -> dict[str, Any]:
        """As `decide` and `amend` take them."""
        values = self.model_dump()
        if self.abcd is not None:
            values["abcd"] = Abcd(**values["abcd"])
        if self.seven_point is not None:
            values["seven_point"] = SevenPoint(**values["seven_point"])
        details = Details(**{name: values.pop(name) for name in DETAILS})
        return {**values, "details": details}


class Decision(_Decided):
    """A dermatologist's decision on a case, of all of its photographs."""

    parts: list[int] = Field(
        [],
        max_length=1000,
        description="The case's other photographs that the reader has seen; 409 where it has one more",
    )


class Amendment(_Decided):
    """A later decision on a case that is decided already."""

    instead_of: int = Field(
        ge=1, le=LARGEST_ID, description="The number of the decision that it replaces, the last one you saw"
    )
    reason: str = Field(min_length=1, max_length=lengths.REASON)


class DecisionMade(_Row):
    """A decision; of several the last counts. Undone decisions are in the audit trail only."""

    id: int
    case_id: int
    reader: str = Field(validation_alias=AliasPath("account", "name"))
    position: int = Field(description="1 and 2: readers; 3: adjudicator; 4: amended later")
    agrees: bool | None
    diagnosis: str
    action: str
    note: str
    reason: str = Field(description="Why the decision was amended; otherwise empty")
    finer: str
    other: str
    other_code: str
    certainty: str
    follow_up_on: date | None
    abcd: AbcdScored | None
    seven_point: SevenPointScored | None
    at: datetime


class DecisionReplaced(Problem):
    """Another decision counts than the one that was to be amended: look at it first."""

    seen: DecisionMade | None = Field(
        description="The decision that `instead_of` names; null if it was undone or is none of the case"
    )
    current: DecisionMade | None = Field(
        description="The one that counts; null if there is none, or the token may not read cases"
    )


_CASES_OWN = "The case's own; where it has a patient or an accession number, one of them is needed"


class NewOutcome(BaseModel):
    """The final diagnosis of a case."""

    model_config = ConfigDict(extra="forbid")

    diagnosis: Code
    method: Method
    breslow_mm: float | None = Field(
        None, gt=0, le=LARGEST_BRESLOW_MM, description="Breslow thickness of a melanoma by histology"
    )
    note: str = Field("", max_length=lengths.NOTE)
    patient: str = Field("", max_length=lengths.PATIENT, description=_CASES_OWN)
    lesion: str = Field("", max_length=lengths.LESION, description="If given, it must be the case's")
    accession: str = Field("", max_length=lengths.ACCESSION, description=_CASES_OWN)


class OutcomeKept(_Row):
    """An outcome; the most recent one of a case counts."""

    id: int
    case_id: int
    diagnosis: str
    method: str
    breslow_mm: float | None
    note: str
    at: datetime


class NewComment(BaseModel):
    """What a person says about a case."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=lengths.NOTE)


class CommentMade(_Row):
    """A comment on a case, as it was written."""

    id: int
    case_id: int
    person: str = Field(validation_alias=AliasPath("account", "name"))
    text: str
    at: datetime


class NewTag(BaseModel):
    """A word to find a case again by."""

    model_config = ConfigDict(extra="forbid")

    tag: str = Field(min_length=1, max_length=lengths.TAG)


class Assignment(BaseModel):
    """Who is to read a case."""

    model_config = ConfigDict(extra="forbid")

    assigned_to: str | None = Field(max_length=lengths.ACCOUNT, description="An account's name; null: nobody")


class LockHeld(_Row):
    """Who has a case open to read it."""

    person: str = Field(validation_alias=AliasPath("account", "name"))
    since: datetime
    until: datetime = Field(description="When it runs out, unless it is renewed")


class TechniqueGiven(BaseModel):
    """How a photograph was taken."""

    model_config = ConfigDict(extra="forbid")

    technique: Technique | Literal[""]


class Alone(BaseModel):
    """Whether a photograph is a case of its own."""

    model_config = ConfigDict(extra="forbid")

    alone: bool = Field(
        description="true: a case of its own, whatever else is of its lesion and day; false: with those"
    )


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


class ConflictOpen(_Row):
    """A photograph that came again for another patient, lesion, site or accession."""

    id: int
    case_id: int
    at: datetime
    source: Source
    kept: Whose = Field(validation_alias="case", description="What the case says")
    told: Told = Field(description="What was said")


_Reason = Annotated[str, Field(min_length=1, max_length=lengths.REASON, description="Shown in the history")]


class Why(BaseModel):
    """Why a case is withdrawn or restored."""

    model_config = ConfigDict(extra="forbid")

    reason: _Reason


class CorrectedCase(Why):
    """Whose photograph a case is; what is left out stays as it is."""

    patient: str | None = Field(None, max_length=lengths.PATIENT)
    lesion: str | None = Field(None, max_length=lengths.LESION)
    site: str | None = Field(None, max_length=lengths.SITE)
    accession: str | None = Field(None, max_length=lengths.ACCESSION)


class Resolution(Why):
    """How a conflict is settled."""

    resolution: Literal["kept", "corrected"] = Field(
        description="kept: the case stays as it is; corrected: it takes on what was told"
    )


class MatchResolution(BaseModel):
    """How a match is settled."""

    model_config = ConfigDict(extra="forbid")

    resolution: Literal["different", "same"] = Field(
        description="different: not the same skin after all; same: it is, and both cases are filed rightly"
    )
    reason: str = Field("", max_length=lengths.REASON, description="Shown on both cases")


class CorrectionMade(_Row):
    """What a person put right about a case."""

    id: int
    case_id: int
    kind: Literal["corrected", "withdrawn", "restored"]
    person: str = Field(validation_alias=AliasPath("account", "name"))
    reason: str
    before: dict[str, str] = Field(description="The fields that changed, as they were")
    after: dict[str, str]
    at: datetime


class ConflictSettled(_Row):
    """A conflict that a person settled."""

    id: int
    case_id: int
    resolution: str
    reason: str
    resolved_at: datetime


class ReportOutdated(BaseModel):
    """A report that left the clinic before its case changed: fetch it again."""

    case: int
    form: str = Field(description="FHIR, DICOM SR or print")
    exported_at: datetime


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
