"""Longer prose as plain text, written in templates."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from jinja2 import Environment

from dermsentry.diagnoses import name_of
from dermsentry.reporting.environment import template_environment
from dermsentry.stats.numbers import counted, counted_units, decimal, percent, units


def render_block(template: str, block: str, **context: Any) -> str:
    """One block of a text template as a single line, `""` where the template has no such block.

    A missing value raises. The filters, beside Jinja's: `percent`, `decimal`, `counted`,
    `counted_units`, `units`, `listed`, `name_of`.
    """
    source = _environment().get_template(template)
    if block not in source.blocks:
        return ""
    return " ".join("".join(source.blocks[block](source.new_context(context))).split())


def render_text(template: str, **context: Any) -> str:
    """A whole text template as it is written, line by line. A missing value raises; filters as above."""
    return _environment().get_template(template).render(**context)


def listed(parts: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *head, last = list(parts) or [""]
    return f"{', '.join(head)} and {last}" if head else last


@cache
def _environment() -> Environment:
    filters: dict[str, Any] = {
        "counted": counted,
        "counted_units": counted_units,
        "units": units,
        "decimal": decimal,
        "listed": listed,
        "name_of": name_of,
        "percent": percent,
    }
    # What becomes part of a page is escaped there.
    return template_environment("dermsentry.reporting", filters, escape=False)
