"""Performance figures, measured when asked for and cached for a while if that took long."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from fastapi import Request

from dermsentry.clinic.monitoring.performance import Performance, measure_performance
from dermsentry.clinic.store.accounts import Person
from dermsentry.clinic.store.database import reading
from dermsentry.clinic.web.security import clinic_of

KEPT = 20
"""Figures are cached for this many times as long as measuring took: those of few cases are always new."""
MOST_KEPT = 16

Days = tuple[datetime | None, datetime | None]
Wanted = tuple[Days, bool]


@dataclass
class PerformanceCache:
    """Figures measured lately, and until when they are shown: of many thousand cases they take seconds."""

    kept: dict[Wanted, tuple[float, Performance]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)


def cached_performance(request: Request, person: Person, days: Days) -> Performance:
    """The figures of the cases received from one moment on and before the other. Raises DatabaseError.

    Who may read the audit trail, where each finding is recorded, sees those of silent mode too.
    """
    lately: PerformanceCache = request.app.state.performance
    wanted = (days, "audit:read" in person.may)
    with lately.lock:  # one at a time is enough
        began = time.monotonic()
        until, found = lately.kept.get(wanted, (began, None))
        if found is None or began >= until:
            with reading(clinic_of(request).engine) as session:
                found = measure_performance(session, since=days[0], until=days[1], with_silent=wanted[1])
            if len(lately.kept) >= MOST_KEPT:
                lately.kept.clear()
            ended = time.monotonic()
            lately.kept[wanted] = (ended + KEPT * (ended - began), found)
        return found
