"""The clinic's figures, measured when they are asked for and kept for a while where that took long."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from fastapi import Request

from dermsentry.clinic.monitoring.performance import Performance, measure_performance
from dermsentry.clinic.store.database import reading
from dermsentry.clinic.web.security import clinic_of

KEPT = 20
"""Figures are shown for so many times as long as measuring them took: those of few cases are always new."""
MOST_KEPT = 16

Days = tuple[datetime | None, datetime | None]


@dataclass
class Measured:
    """What was measured lately, and until when it is shown: of many thousand cases it takes seconds."""

    kept: dict[Days, tuple[float, Performance]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)


def measured(request: Request, days: Days) -> Performance:
    """The figures of the cases received from one moment on and before the other. Raises DatabaseError."""
    lately: Measured = request.app.state.measured
    with lately.lock:  # one at a time is enough
        began = time.monotonic()
        until, found = lately.kept.get(days, (began, None))
        if found is None or began >= until:
            with reading(clinic_of(request).engine) as session:
                found = measure_performance(session, since=days[0], until=days[1])
            if len(lately.kept) >= MOST_KEPT:
                lately.kept.clear()
            ended = time.monotonic()
            lately.kept[days] = (ended + KEPT * (ended - began), found)
        return found
