"""Cases with what the model found, what was decided and what it turned out to be, as CSV, line by line.

What identifies a patient is in columns of its own, which are left out unless asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from dermsentry.clinic.checklists import NONE
from dermsentry.clinic.export.decisions import SettledDecision, settle
from dermsentry.clinic.store.tables import ASSESSED, PART, WITHDRAWN, Case, Correction, Outcome, Read
from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError
from dermsentry.files import csv_line

PERSONAL = ("patient", "lesion", "accession", "file_name", "note")
COLUMNS = (
    "case",
    "site",
    "source",
    "technique",
    "part_of",
    "received_at",
    "sha256",
    "screened_at",
    "tier",
    *(f"p_{code}" for code in CODES),
    "no_lesion",
    "out_of_distribution",
    "acceptable",
    "reasons",
    "model",
    "model_digest",
    "stage",
    "decision",
    "diagnosis",
    "action",
    "agrees",
    "finer_diagnosis",
    "other_diagnosis",
    "other_code",
    "certainty",
    "follow_up_on",
    "abcd_score",
    "abcd_asymmetry",
    "abcd_border",
    "abcd_colours",
    "abcd_structures",
    "seven_point_score",
    "seven_point_criteria",
    "decided_at",
    "decided_by",
    "outcome",
    "outcome_method",
    "breslow_mm",
    "outcome_at",
)
_BATCH = 500


def case_table(
    session: Session,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    columns: Sequence[str] = COLUMNS,
) -> Iterator[str]:
    """The cases received from `since` until before `until`, oldest first; the header first, then a line each.

    `columns` are some of `COLUMNS` and `PERSONAL`. A decision is told once the case is decided; of
    a withdrawn case only that it was; of a photograph that is part of a case, of which. Text that a
    spreadsheet would run as a formula has an apostrophe before it.

    Raises
    ------
    InputError
        A column is unknown or named twice; before the first line.
    """
    unknown = [name for name in columns if name not in (*COLUMNS, *PERSONAL)]
    if unknown:
        raise InputError(
            f"Received the column {unknown[0]!r}; expected some of {', '.join((*COLUMNS, *PERSONAL))}."
        )
    if not columns or len(set(columns)) < len(columns):
        raise InputError("Received no column, or one twice; expected each once.")
    return _lines(session, since, until, tuple(columns))


def _lines(
    session: Session, since: datetime | None, until: datetime | None, columns: tuple[str, ...]
) -> Iterator[str]:
    yield csv_line(columns)
    last = 0
    while True:
        # By number, not by OFFSET: the hundred-thousandth line costs no more than the first.
        wanted = select(Case).where(Case.id > last).order_by(Case.id).limit(_BATCH)
        if since is not None:
            wanted = wanted.where(Case.received_at >= since)
        if until is not None:
            wanted = wanted.where(Case.received_at < until)
        cases = session.scalars(wanted.options(joinedload(Case.model))).all()
        if not cases:
            return
        last = cases[-1].id
        numbers = [case.id for case in cases]
        reads: dict[int, list[Read]] = {number: [] for number in numbers}
        for read in session.scalars(select(Read).where(Read.case_id.in_(numbers)).order_by(Read.id)):
            reads[read.case_id].append(read)
        outcomes = {  # the latest counts
            outcome.case_id: outcome
            for outcome in session.scalars(
                select(Outcome).where(Outcome.case_id.in_(numbers)).order_by(Outcome.id)
            )
        }
        corrections: dict[int, list[Correction]] = {number: [] for number in numbers}
        for own in session.scalars(select(Correction).where(Correction.case_id.in_(numbers))):
            corrections[own.case_id].append(own)
        for case in cases:
            settled = settle(case, reads[case.id], corrections[case.id], outcomes.get(case.id))
            row = _row(case, settled)
            yield csv_line([_safe(row[name]) for name in columns])
        # A session remembers what it read; of a hundred thousand cases that is too much.
        session.expunge_all()


def _row(case: Case, decision: SettledDecision) -> dict[str, Any]:
    if case.lane == WITHDRAWN:  # what it says may be of somebody else
        told = {name: getattr(case, name) for name in (*PERSONAL, "received_at", "sha256", "source")}
        return {**dict.fromkeys(COLUMNS), **told, "case": case.id, "stage": "withdrawn"}
    found = case.finding or {}
    # A small number for an image that the model cannot assess would look reassuring.
    shares = found.get("probabilities") or {} if case.tier in ASSESSED else {}
    read, outcome = decision.read, decision.outcome
    return {
        "case": case.id,
        "patient": case.patient,
        "lesion": case.lesion,
        "accession": case.accession,
        "site": case.site,
        "file_name": case.file_name,
        "note": case.note,
        "source": case.source,
        "technique": case.technique,
        "part_of": case.part_of,
        "received_at": case.received_at,
        "sha256": case.sha256,
        "screened_at": case.screened_at,
        "tier": case.tier,
        **{f"p_{code}": shares.get(code) for code in CODES},
        "no_lesion": found.get("no_lesion"),
        "out_of_distribution": found.get("out_of_distribution"),
        "acceptable": (found.get("quality") or {}).get("acceptable"),
        "reasons": "; ".join(found.get("reasons", ())),
        "model": case.model.name if case.model is not None else "",
        "model_digest": case.model_digest,
        "stage": PART if case.lane == PART else case.stage,
        "decision": decision.status if read is not None else "",
        "diagnosis": read.diagnosis if read is not None else "",
        "action": read.action if read is not None else "",
        "agrees": read.agrees if read is not None else None,
        "finer_diagnosis": read.finer if read is not None else "",
        "other_diagnosis": read.other if read is not None else "",
        "other_code": read.other_code if read is not None else "",
        "certainty": read.certainty if read is not None else "",
        "follow_up_on": read.follow_up_on if read is not None else None,
        **_checklists(read),
        "decided_at": case.decided_at,
        "decided_by": read.account.name if read is not None else "",
        "outcome": outcome.diagnosis if outcome is not None else "",
        "outcome_method": outcome.method if outcome is not None else "",
        "breslow_mm": outcome.breslow_mm if outcome is not None else None,
        "outcome_at": outcome.at if outcome is not None else None,
    }


def _checklists(read: Read | None) -> dict[str, Any]:
    """The columns of the checklists that a reader filled in; `none` where no criterion was found."""
    abcd, seven_point = (read.abcd, read.seven_point) if read is not None else (None, None)
    return {
        "abcd_score": f"{abcd.score:.1f}" if abcd else None,
        "abcd_asymmetry": abcd.asymmetry if abcd else None,
        "abcd_border": abcd.border if abcd else None,
        "abcd_colours": "; ".join(abcd.colours) if abcd else None,
        "abcd_structures": "; ".join(abcd.structures) if abcd else None,
        "seven_point_score": seven_point.score if seven_point else None,
        "seven_point_criteria": "; ".join(seven_point.criteria) or NONE if seven_point else None,
    }


def _safe(value: Any) -> str:
    """A value as a field: times as ISO 8601 in UTC, yes and no in words, nothing as nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, float):
        return f"{value:.6f}"
    text = str(value).replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.lstrip()[:1] in tuple("=+-@") or text[:1] in ("\t", "\n") else text
