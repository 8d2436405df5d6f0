"""How good readers and model are here, as far as outcomes tell."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from dermsentry.clinic.web.rendering import page
from dermsentry.clinic.web.security import Reader

router = APIRouter(include_in_schema=False)


@router.get("/performance")
def performance(request: Request, person: Reader) -> Response:
    """Figures and plots."""
    return page(request, "performance.html", person=person)
