"""The health check: for monitoring as JSON, for a person as a page."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from dermsentry._version import __version__
from dermsentry.clinic.clinic import Pulse, ServedClinic
from dermsentry.clinic.store.database import DatabaseError, reading
from dermsentry.clinic.store.tables import Alert, Case, Delivery, Job, now
from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import Open, SignedIn, clinic_of
from dermsentry.clinic.web.wording import age, sentence
from dermsentry.clinic.worker.queue import length
from dermsentry.clinic.worklist.matches import waiting_to_be_compared

router = APIRouter()

LEAST_SPACE = 512 * 1024 * 1024
LONGEST_WAIT = timedelta(minutes=5)
LATELY = timedelta(days=1)
LONGEST_SILENCE_S = 180.0
"""A worker may be busy with one file for a minute, and its model may take another to open."""
TRIED_EVERY_S = 5.0


class ProcessHealth(BaseModel):
    """A process beside the web server."""

    name: str
    seconds: float | None = Field(description="Since it was last heard of; null if never")
    well: bool


class Health(BaseModel):
    """Whether the service is well."""

    status: str = Field(description="`well`, or `unwell` if a check failed")
    version: str
    processes: list[ProcessHealth] = Field(description="Screening, housekeeping and whatever else runs")


@dataclass(frozen=True)
class Check:
    """A check: whether it passed, and in words."""

    name: str
    well: bool
    words: str


@router.get(
    "/health",
    summary="Health check",
    tags=["health"],
    responses={200: {"model": Health}, 503: {"model": Health, "description": "A check failed"}},
)
def health(request: Request, _: Open) -> Response:
    """For monitoring: 200 if every check passes, 503 if one fails; no details without signing in."""
    clinic = clinic_of(request)
    well = all(check.well for check in checks(clinic))
    processes = [
        ProcessHealth(
            name=own.name, seconds=None if own.age_s is None else round(own.age_s, 1), well=_lives(own)
        )
        for own in pulses(clinic)
    ]
    told = Health(status="well" if well else "unwell", version=__version__, processes=processes)
    return JSONResponse(told.model_dump(), 200 if well else 503)


@router.get("/status", include_in_schema=False)
def status(request: Request, person: SignedIn) -> Response:
    """For a person: each check in words."""
    clinic = clinic_of(request)
    found = checks(clinic)
    return page(
        request,
        "status.html",
        person=person,
        checks=found,
        card=clinic.card,
        database=clinic.engine.dialect.name,
    )


def checks(clinic: ServedClinic) -> list[Check]:
    """Check the database, the folder, the queue, the notifications and the model."""
    try:
        with reading(clinic.engine) as session:
            session.execute(text("SELECT 1"))
            found = [
                Check("Database", True, f"{clinic.engine.dialect.name} responds."),
                _queue(session),
                _matching(session),
                _messages(session),
            ]
    except DatabaseError:
        found = [Check("Database", False, "The database does not respond.")]
    return [*found, _folder(clinic), _model(clinic), *(_process(own) for own in pulses(clinic))]


def pulses(clinic: ServedClinic) -> list[Pulse]:
    """How each process beside the web server is."""
    return [pulse() for pulse in clinic.pulses]


def _lives(pulse: Pulse) -> bool:
    if pulse.problem or pulse.age_s is None:
        return pulse.starting and not pulse.problem
    return pulse.age_s < LONGEST_SILENCE_S


def _process(pulse: Pulse) -> Check:
    name = pulse.name[:1].upper() + pulse.name[1:]
    never = "starting" if pulse.starting else "not heard of yet"
    heard = never if pulse.age_s is None else f"last heard of {pulse.age_s:.0f} s ago"
    return Check(name, _lives(pulse), sentence(f"{pulse.problem}; {heard}" if pulse.problem else heard))


def _queue(session: Session) -> Check:
    waiting = length(session)
    oldest = session.scalar(
        select(func.min(Case.received_at)).join(Job, Job.case_id == Case.id).where(Job.state != "done")
    )
    if oldest is None:
        return Check("Screening", True, "No photographs are waiting.")
    waits = now() - oldest
    many = "photograph is" if waiting == 1 else "photographs are"
    came = age(waits) + (" ago" if waits >= timedelta(minutes=1) else "")
    said = f"{waiting} {many} waiting, the oldest received {came}."
    return Check("Screening", waits < LONGEST_WAIT, said)


def _matching(session: Session) -> Check:
    waiting = waiting_to_be_compared(session)
    if not waiting:
        return Check("Comparison", True, "Every photograph was compared with the others.")
    many = "photograph is" if waiting == 1 else "photographs are"
    return Check("Comparison", True, f"{waiting} {many} still to be compared with the others.")


def _messages(session: Session) -> Check:
    given_up = select(func.count(Delivery.id)).join(Alert).where(Delivery.state == "dead")
    lately = given_up.where(Alert.raised_at >= now() - LATELY)
    dead = session.scalar(lately) or 0
    if dead:
        return Check("Notifications", False, f"{dead} of the last day could not be delivered; see Alerts.")
    return Check("Notifications", True, "None undelivered in the last day.")


def _folder(clinic: ServedClinic) -> Check:
    folder = clinic.pictures.folder
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return Check("Storage", False, "The data folder does not exist.")
    if not _written(folder):
        return Check("Storage", False, "Photographs cannot be written: the folder or its disk refuses.")
    return Check("Storage", free >= LEAST_SPACE, f"{free / 1024**3:.1f} GiB free.")


_tried: dict[Path, tuple[float, bool]] = {}
"""When a folder was last tried, and whether it could be written."""


def _written(folder: Path) -> bool:
    """Whether a photograph could be kept there: tried, and not more often than every few seconds."""
    moment = time.monotonic()
    before = _tried.get(folder)
    if before is not None and moment - before[0] < TRIED_EVERY_S:
        return before[1]
    try:
        place = folder / "photographs"
        place.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"\0" * 4096)
            file.flush()
        well = True
    except OSError:
        well = False
    _tried[folder] = (moment, well)
    return well


def _model(clinic: ServedClinic) -> Check:
    there = all((clinic.bundle / name).is_file() for name in ("card.json", "model.onnx"))
    words = f"{clinic.card.name} is present." if there else "The model's files are missing."
    return Check("Model", there, words)
