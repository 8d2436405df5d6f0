"""How good readers and model are here, as far as outcomes tell: figures with intervals, and plots."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from dermsentry.clinic.database import reading
from dermsentry.clinic.performance import Day, Performance, measure_performance
from dermsentry.clinic.web.filters import read_days
from dermsentry.clinic.web.rendering import page, part
from dermsentry.clinic.web.security import Reader, clinic_of

router = APIRouter(include_in_schema=False)

KEPT = 20
"""Figures are shown for so many times as long as it took to measure them: of few cases they are always new."""
MOST_KEPT = 16
MOST_COLUMNS = 62

Days = tuple[datetime | None, datetime | None]


@dataclass
class Measured:
    """What was measured lately, and until when it is shown: of many thousand cases it takes seconds."""

    kept: dict[Days, tuple[float, Performance]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)


@router.get("/performance")
def performance(request: Request, person: Reader) -> Response:
    """The page, whose figures come after it."""
    text, _ = read_days(request.query_params)
    return page(request, "performance.html", person=person, text=text)


@router.get("/performance/figures")
def figures(request: Request, _: Reader) -> Response:
    """The figures, for the page that shows them."""
    _text, days = read_days(request.query_params)
    found = _measure(request, days)
    return HTMLResponse(
        part(
            "_figures.html",
            found=found,
            columns=columns(found.load.by_day),
            own=_own(clinic_of(request).card.evaluation),
            card=clinic_of(request).card,
        )
    )


def _measure(request: Request, days: Days) -> Performance:
    measured: Measured = request.app.state.measured
    with measured.lock:  # one at a time is enough
        began = time.monotonic()
        until, found = measured.kept.get(days, (began, None))
        if found is None or began >= until:
            with reading(clinic_of(request).engine) as session:
                found = measure_performance(session, since=days[0], until=days[1])
            if len(measured.kept) >= MOST_KEPT:
                measured.kept.clear()
            ended = time.monotonic()
            measured.kept[days] = (ended + KEPT * (ended - began), found)
        return found


def columns(days: Sequence[Day]) -> list[Day]:
    """What came in and the alerts, a column for each day, or for as many days as make it `MOST_COLUMNS`.

    Days without any stand between the others: an empty place is a quiet day.
    """
    if not days:
        return []
    first = datetime.fromisoformat(days[0].day).replace(tzinfo=UTC)
    last = datetime.fromisoformat(days[-1].day).replace(tzinfo=UTC)
    wide = -(-((last - first).days + 1) // MOST_COLUMNS)
    number = -(-((last - first).days + 1) // wide)
    made = [Day((first + timedelta(days=i * wide)).date().isoformat(), 0, 0) for i in range(number)]
    for day in days:
        place = (datetime.fromisoformat(day.day).replace(tzinfo=UTC) - first).days // wide
        old = made[place]
        made[place] = Day(old.day, old.received + day.received, old.alerts + day.alerts)
    return made


def _own(evaluation: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Of each set that the model was judged on: its name, sensitivity and specificity of the alert."""
    found = []
    for name, given in evaluation.items():
        ends = [
            given.get(key) if isinstance(given, Mapping) else None for key in ("sensitivity", "specificity")
        ]
        values = [end.get("value") if isinstance(end, Mapping) else None for end in ends]
        shares = [value for value in values if isinstance(value, float | int) and 0 <= value <= 1]
        if len(shares) == 2:
            found.append((name, float(shares[0]), float(shares[1])))
    return found
