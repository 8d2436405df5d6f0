"""Templates and Markdown rendered as HTML, with the filters and names that templates share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment
from markdown_it import MarkdownIt
from markupsafe import Markup

from dermsentry._version import __version__
from dermsentry.clinic import checklists
from dermsentry.clinic.store.accounts import IDLE, Person
from dermsentry.clinic.store.tables import ACTIONS, now
from dermsentry.clinic.web import wording
from dermsentry.clinic.web.filters import lane_of
from dermsentry.clinic.web.security import clinic_of, form_number, remember_visitor
from dermsentry.clinic.worklist import terms
from dermsentry.clinic.worklist.body_map import name_of_region
from dermsentry.diagnoses import DIAGNOSES, name_of
from dermsentry.reporting.environment import template_environment
from dermsentry.stats.numbers import (
    compared,
    decimal,
    decimal_interval,
    percent,
    percent_as_given,
    percent_interval,
)

TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain"}

NAVIGATION = (
    ("/", "Worklist", "cases:read"),
    ("/upload", "Upload", "cases:write"),
    ("/alerts", "Alerts", "cases:read"),
    ("/outcomes", "Outcomes", "cases:read"),
    ("/performance", "Performance", "cases:read"),
    ("/site-model", "Site model", "administer"),
    ("/audit", "Audit trail", "audit:read"),
    ("/accounts", "Accounts", "administer"),
)
"""Path, name, and the permission needed to see it."""


def page(
    request: Request,
    template: str,
    *,
    person: Person | None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> HTMLResponse:
    """Render a template of `templates/`; text is escaped, a missing value raises."""
    number = form_number(request, person)
    text = (
        environment()
        .get_template(template)
        .render(
            request=request,
            person=person,
            csrf=number,
            navigation=[(path, name) for path, name, scope in NAVIGATION if person and scope in person.may],
            here=request.url.path,
            synthetic=clinic_of(request).card.synthetic,
            silent_mode=clinic_of(request).settings.silent,
            now=now(),
            today=now().date(),
            idle_s=int(IDLE.total_seconds()),
            ends_s=int((person.ends_at - now()).total_seconds()) if person and person.ends_at else 0,
            **context,
        )
    )
    response = HTMLResponse(text, status, headers=dict(headers or {}))
    remember_visitor(request, response)
    return response


def part(template: str, **context: Any) -> str:
    """Render a template for a part of a page."""
    return environment().get_template(template).render(today=now().date(), **context)


def markdown_html(text: str) -> Markup:
    """Render Markdown with tables; without HTML, links and pictures, since a model card is foreign."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["link", "image", "autolink"])
    return Markup(parser.render(text))  # what the parser writes is escaped


@cache
def static_files() -> dict[str, tuple[bytes, str, str]]:
    """The packaged files for browsers: name to bytes, media type and digest."""
    found = {}
    for item in files("dermsentry.clinic.web").joinpath("static").iterdir():
        suffix = "." + item.name.rpartition(".")[2]
        if suffix in TYPES:
            data = item.read_bytes()
            found[item.name] = (data, TYPES[suffix], hashlib.sha256(data).hexdigest()[:16])
    return found


def static_path(name: str) -> str:
    """The address of a packaged file; it changes with the content."""
    return f"/static/{name}?v={static_files()[name][2]}"


@cache
def environment() -> Environment:
    """The templates, with the filters and names that they use."""
    filters: dict[str, Any] = {
        "percent": lambda share: _unbroken(percent(share)),
        "given": lambda share: _unbroken(percent_as_given(share)),
        "percent_interval": lambda measure: _unbroken(percent_interval(measure.estimate)),
        "decimal": decimal,
        "decimal_interval": lambda measure, digits: decimal_interval(measure.estimate, digits),
        "decimal_estimate": lambda own, digits: _unbroken(decimal_interval(own, digits)),
        "percent_estimate": lambda own: _unbroken(percent_interval(own)),
        "points": wording.points,
        "probability": lambda case: _unbroken(wording.probability(case)),
        "unbroken": _unbroken,
        "count": "{:,}".format,
        "name_of": _diagnosis,
        "since": lambda moment: wording.age(now() - moment),
        "moment": _moment,
        "day": _day,
        "ordinal": _ordinal,
        "region_name": name_of_region,
        "machine_time": lambda moment: moment.isoformat(timespec="seconds"),
        "sentence": wording.sentence,
        "lane_of": lane_of,
    }
    made = template_environment("dermsentry.clinic.web", filters, escape=True)
    made.auto_reload = False
    made.globals |= {
        "version": __version__,
        "static": static_path,
        "words": wording,
        "terms": terms,
        "checklists": checklists,
        "diagnoses": DIAGNOSES,
        "actions": ACTIONS,
        "compared": compared,
    }
    return made


def _diagnosis(label: str) -> str:
    """A diagnosis in words; what a form was sent with, and is shown again, need not be one."""
    try:
        return name_of(label)
    except KeyError:
        return label


def _unbroken(text: str) -> str:
    """A number and its unit on one line."""
    return text.replace(" ", "\u00a0")


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"


def _moment(moment: datetime) -> str:
    return moment.strftime("%-d %b %Y, %H:%M UTC")


def _day(day: date | str) -> str:
    return (date.fromisoformat(day[:10]) if isinstance(day, str) else day).strftime("%-d %b %Y")
