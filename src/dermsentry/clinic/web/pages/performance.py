"""Performance of readers and model at this clinic: figures with intervals, and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from dermsentry.clinic.monitoring.performance import Day
from dermsentry.clinic.web.filters import read_days
from dermsentry.clinic.web.performance_cache import cached_performance
from dermsentry.clinic.web.rendering import page, part
from dermsentry.clinic.web.security import Reader, clinic_of

router = APIRouter(include_in_schema=False)

MOST_COLUMNS = 62


@router.get("/performance")
def performance(request: Request, person: Reader) -> Response:
    """The page, which loads its figures afterwards."""
    text, _ = read_days(request.query_params, clinic_of(request).settings.timezone)
    return page(request, "performance.html", person=person, text=text)


@router.get("/performance/figures")
def figures(request: Request, person: Reader) -> Response:
    """The figures, for the page that shows them."""
    _text, days = read_days(request.query_params, clinic_of(request).settings.timezone)
    found = cached_performance(request, person, days)
    return HTMLResponse(
        part(
            request,
            "_figures.html",
            person=person,
            found=found,
            columns=columns(found.load.by_day),
            own=_own(clinic_of(request).card.evaluation),
            card=clinic_of(request).card,
        )
    )


def columns(days: Sequence[Day]) -> list[Day]:
    """Photographs received and alerts by day, or by as many days as give at most `MOST_COLUMNS` columns.

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
    """Of each set that the model was evaluated on: its name, sensitivity and specificity of the alert."""
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
