"""The clinic's service as one ASGI application."""

from __future__ import annotations

from anyio import CapacityLimiter
from fastapi import FastAPI, Request, Response

from dermsentry._version import __version__
from dermsentry.clinic.clinic import ServedClinic
from dermsentry.clinic.web import problems
from dermsentry.clinic.web.api import audit_trail as api_audit_trail
from dermsentry.clinic.web.api import cases as api_cases
from dermsentry.clinic.web.api import conflicts as api_conflicts
from dermsentry.clinic.web.api import exports as api_exports
from dermsentry.clinic.web.api import reviews as api_reviews
from dermsentry.clinic.web.api import together as api_together
from dermsentry.clinic.web.attempts import Gate
from dermsentry.clinic.web.guard import Guard, TooLarge
from dermsentry.clinic.web.pages import (
    account,
    accounts,
    alerts,
    audit_trail,
    case,
    closely,
    compare,
    corrections,
    exports,
    health,
    openid,
    outcomes,
    patient,
    performance,
    routine,
    second_factor,
    sign_in,
    site_model,
    static_files,
    together,
    upload,
    worklist,
)
from dermsentry.clinic.web.performance_cache import PerformanceCache
from dermsentry.clinic.web.root_path import RootPath, require_free
from dermsentry.clinic.web.security import rules
from dermsentry.clinic.web.uploads import AT_ONCE

ROUTERS = (
    static_files.router,
    health.router,
    sign_in.router,
    openid.router,
    account.router,
    second_factor.router,
    accounts.router,
    upload.router,
    worklist.router,
    case.router,
    together.router,
    routine.router,
    corrections.router,
    patient.router,
    compare.router,
    closely.router,
    exports.router,
    alerts.router,
    outcomes.router,
    performance.router,
    site_model.router,
    audit_trail.router,
    api_cases.router,
    api_conflicts.router,
    api_reviews.router,
    api_together.router,
    api_exports.router,
    api_audit_trail.router,
)
ABOUT = """
Upload photographs of skin lesions and read the ranked worklist. Every call needs a token, created on the page
*My account* and sent as `Authorization: Bearer ds_…`.
Every error is an object with `error`, `detail` and `request_id`.

Research software, not a medical device.
"""


def create_app(clinic: ServedClinic | None) -> FastAPI:
    """The pages and the API of a clinic, whose database is migrated already; None: it is bound later.

    Raises
    ------
    RuntimeError
        A route declares no rule.
    InputError
        The root path begins as a page does.
    """
    app = FastAPI(
        title="Dermsentry worklist",
        version=__version__,
        description=ABOUT,
        openapi_url=None,  # `static_files` serves it, under a rule like everything else
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    if clinic is not None:
        bind(app, clinic)
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app)
    app.add_middleware(Guard, refuse=_too_large)
    app.add_middleware(RootPath)
    routes = rules(app)
    if clinic is not None:
        require_free(clinic.root_path, [path for _, path in routes])
    return app


def bind(app: FastAPI, clinic: ServedClinic) -> None:
    """Let an app serve this clinic, with nothing cached from another."""
    app.state.clinic = clinic
    app.state.gate, app.state.provider = Gate(), None
    app.state.performance, app.state.senders = PerformanceCache(), CapacityLimiter(AT_ONCE)


def _too_large(request: Request, error: TooLarge) -> Response:
    return problems.answer(request, error.status_code, error.detail)
