"""Templates and Markdown rendered as HTML, with the filters and names that templates share."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment
from markdown_it import MarkdownIt
from markupsafe import Markup

from dermsentry._version import __version__
from dermsentry.clinic import checklists, language
from dermsentry.clinic.language import ENGLISH, Reading, choose, lazy, numerals, read_by
from dermsentry.clinic.store.accounts import IDLE, Person
from dermsentry.clinic.store.tables import ACTIONS, now
from dermsentry.clinic.web import wording
from dermsentry.clinic.web.filters import lane_of
from dermsentry.clinic.web.security import clinic_of, form_number, remember_visitor
from dermsentry.clinic.web.written import filled_in
from dermsentry.clinic.worklist import terms
from dermsentry.diagnoses import DIAGNOSES
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
    ("/", lazy("Worklist"), "cases:read"),
    ("/upload", lazy("Upload"), "cases:write"),
    ("/alerts", lazy("Alerts"), "cases:read"),
    ("/outcomes", lazy("Outcomes"), "cases:read"),
    ("/performance", lazy("Performance"), "cases:read"),
    ("/site-model", lazy("Site model"), "administer"),
    ("/audit", lazy("Audit trail"), "audit:read"),
    ("/accounts", lazy("Accounts"), "administer"),
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
    text = _rendered(
        template,
        reading_of(request, person),
        request=request,
        person=person,
        csrf=number,
        navigation=[(path, name) for path, name, scope in NAVIGATION if person and scope in person.may],
        here=request.url.path,
        synthetic=clinic_of(request).card.synthetic,
        silent_mode=clinic_of(request).settings.silent,
        now=now(),
        idle_s=int(IDLE.total_seconds()),
        ends_s=int((person.ends_at - now()).total_seconds()) if person and person.ends_at else 0,
        **context,
    )
    response = HTMLResponse(text, status, headers=dict(headers or {}))
    remember_visitor(request, response)
    return response


def part(request: Request, template: str, *, person: Person, **context: Any) -> str:
    """Render a template for a part of a page."""
    return _rendered(template, reading_of(request, person), person=person, **context)


def reading_of(request: Request, person: Person | None) -> Reading:
    """How a person reads: as they chose, else as the browser says, else as the server."""
    settings = clinic_of(request).settings
    accepted = request.headers.get("accept-language", "")
    return choose(person.language if person else "", accepted, settings.language, settings.timezone)


def _rendered(template: str, reading: Reading, **context: Any) -> str:
    with read_by(reading):
        own = {
            "language": reading.language,
            "zone": language.zone_name(now()),
            "zone_key": getattr(reading.zone, "key", ""),
            "today": now().astimezone(reading.zone).date(),
        }
        return environment().get_template(template).render(own | context)


def markdown_html(text: str) -> Markup:
    """Render Markdown with tables; without HTML, links and pictures, since a model card is foreign."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["link", "image", "autolink"])
    # A header cell without words is no header. What the parser writes is escaped.
    return Markup(re.sub(r"<th( [^>]*)?></th>", r"<td\1></td>", parser.render(text)))


@cache
def static_files() -> dict[str, tuple[bytes, str, str]]:
    """The packaged files for browsers: name to bytes, media type and digest."""
    found = {}
    for item in files("dermsentry.clinic.web").joinpath("static").iterdir():
        suffix = "." + item.name.rpartition(".")[2]
        if suffix in TYPES:
            data = item.read_bytes()
            found[item.name] = (data, TYPES[suffix], hashlib.sha256(data).hexdigest()[:16])
    for code in language.languages():
        if code != ENGLISH:
            data = _words_of_scripts(code)
            found[f"words.{code}.js"] = (data, TYPES[".js"], hashlib.sha256(data).hexdigest()[:16])
    return found


def _words_of_scripts(code: str) -> bytes:
    """The words of the scripts in a language, as a script."""
    words = {
        str(own.id): str(own.string)
        for own in language.catalog(code)
        if own.id and own.string and any(name.endswith(".js") for name, _ in own.locations)
    }
    return f"window.words = {json.dumps(words, ensure_ascii=False)};\n".encode()


def static_path(name: str) -> str:
    """The address of a packaged file; it changes with the content."""
    return f"/static/{name}?v={static_files()[name][2]}"


@cache
def environment() -> Environment:
    """The templates, with the filters and names that they use."""
    filters: dict[str, Any] = {
        "percent": lambda share: _unbroken(numerals(percent(share))),
        "given": lambda share: _unbroken(numerals(percent_as_given(share))),
        "percent_interval": lambda measure: _unbroken(_interval(percent_interval(measure.estimate))),
        "decimal": lambda value, digits=3: numerals(decimal(value, digits)),
        "decimal_interval": lambda measure, digits: _interval(decimal_interval(measure.estimate, digits)),
        "decimal_estimate": lambda own, digits: _unbroken(_interval(decimal_interval(own, digits))),
        "percent_estimate": lambda own: _unbroken(_interval(percent_interval(own))),
        "points": wording.points,
        "probability": lambda case: _unbroken(wording.probability(case)),
        "unbroken": _unbroken,
        "count": lambda number: numerals(f"{number:,}"),
        "numerals": numerals,
        "translated": language.translated,
        "inside": language.inside,
        "capital": wording.capital,
        "name_of": wording.diagnosis,
        "since": lambda moment: wording.age(now() - moment),
        "moment": language.moment,
        "day": language.day,
        "ordinal": _ordinal,
        "region_name": wording.region,
        "machine_time": lambda moment: moment.isoformat(timespec="seconds"),
        "sentence": lambda text: wording.sentence(language.translated(text)),
        "lane_of": lane_of,
    }
    made = template_environment("dermsentry.clinic.web", filters, escape=True)
    made.auto_reload = False
    made.add_extension("jinja2.ext.i18n")
    made.policies["ext.i18n.trimmed"] = True
    made.install_gettext_callables(language.plain_gettext, language.plain_ngettext, newstyle=True)  # type: ignore[attr-defined]
    made.globals |= {
        "version": __version__,
        "static": static_path,
        "words": wording,
        "filled_in": filled_in,
        "terms": terms,
        "checklists": checklists,
        "diagnoses": DIAGNOSES,
        "actions": ACTIONS,
        "compared": lambda *given: tuple(map(numerals, compared(*given))),
    }
    return made


def _unbroken(text: str) -> str:
    """A number and its unit on one line."""
    return text.replace(" ", "\u00a0")


def _interval(text: str) -> str:
    """A figure with its interval in the reader's writing."""
    return numerals(text).replace(" to ", f" {language._('to')} ")


def _ordinal(number: int) -> str:
    if language.reader().language != ENGLISH:
        return f"{number}."
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"
