"""What a clinic needs done regularly: findings after silent mode, late alerts, escalation, old sessions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from dermsentry.clinic.alerts.alerting import escalate, raise_late_alerts
from dermsentry.clinic.clinic import Clinic, open_clinic
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.store.accounts import forget_old_sessions
from dermsentry.clinic.store.audit_trail import remember
from dermsentry.clinic.store.database import DatabaseError, reading, writing
from dermsentry.clinic.waiting import wait_for
from dermsentry.clinic.worker.looking import forget_old_looks
from dermsentry.clinic.worker.silent_mode import show_silent_findings
from dermsentry.errors import OutputError

EVERY_S = 30.0
_LOCK = 1296387157  # PostgreSQL's advisory lock of who keeps house

log = logging.getLogger(__name__)


def keep_house(clinic: Clinic) -> None:
    """Do all of it once. Two servers of one database may; one waits for the other.

    Raises
    ------
    DatabaseError, OutputError
        The database is away, or there is no space left.
    """
    shown = 1
    while shown:
        with writing(clinic.engine) as session:
            _alone(session)
            shown = show_silent_findings(session, clinic)
    raised = 1
    while raised:  # a page at a time, so that others can write in between
        with writing(clinic.engine) as session:
            _alone(session)
            raised = raise_late_alerts(session, clinic)
    with writing(clinic.engine) as session:
        _alone(session)
        escalate(session, clinic)
        forget_old_sessions(session)
    forget_old_looks(clinic.pictures)
    with reading(clinic.engine) as session:
        remember(session, clinic.trail)


def run_housekeeping(url: str, folder: Path, settings: Settings, stopped: Callable[[], bool]) -> None:
    """Keep house every `EVERY_S` seconds until told to stop, and once more then; problems are waited out."""
    clinic = open_clinic(url, folder, settings)
    ending = False
    while not ending:
        ending = stopped()
        try:
            keep_house(clinic)
        except (DatabaseError, OutputError) as error:
            log.error("%s Late alerts wait.", error)
        wait_for(EVERY_S, stopped)


def _alone(session: Session) -> None:
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
