"""What must be put right: photographs held for a person, and reports that were exported before a change."""

from __future__ import annotations

from fastapi import APIRouter, Request

from dermsentry.clinic.store.database import reading
from dermsentry.clinic.web.api.schemas import ALWAYS, ConflictOpen, ReportOutdated
from dermsentry.clinic.web.security import TokenReads, clinic_of
from dermsentry.clinic.worklist.corrections import open_conflicts, outdated_exports

router = APIRouter(prefix="/api", responses=ALWAYS)


@router.get("/conflicts", summary="List conflicts", tags=["corrections"])
def conflicts(request: Request, _: TokenReads) -> list[ConflictOpen]:
    """Photographs that came again for somebody or something else, the oldest first; up to 200."""
    with reading(clinic_of(request).engine) as session:
        return [ConflictOpen.model_validate(own) for own in open_conflicts(session)]


@router.get("/exports/outdated", summary="List outdated reports", tags=["exports"])
def outdated(request: Request, _: TokenReads) -> list[ReportOutdated]:
    """Reports to fetch again: their case was decided, corrected or withdrawn since. Up to 200."""
    with reading(clinic_of(request).engine) as session:
        return [
            ReportOutdated(case=own.case_id, form=own.form, exported_at=own.exported.at)
            for own in outdated_exports(session)
        ]
