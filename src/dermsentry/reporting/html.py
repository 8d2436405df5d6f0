"""Reports as one HTML file each: styles and pictures inside, nothing fetched."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup
from PIL import Image

from dermsentry._version import __version__
from dermsentry.diagnoses import name_of
from dermsentry.files import write_text
from dermsentry.images import Pixels
from dermsentry.reporting.environment import template_environment
from dermsentry.stats.intervals import Estimate
from dermsentry.stats.numbers import (
    MISSING,
    beside_chance,
    counted,
    counted_units,
    decimal,
    decimal_range,
    percent,
    percent_as_given,
    percent_range,
    signed,
    significant,
    units,
)

_SCROLLING = re.compile(r'(<div class="scroll"|<(?:div|figure) class="plot panels"|<table|<pre)(>\s*<table|)')
"""What may be wider than its place, to be scrolled by the keyboard too: a table's frame, or it itself."""


def data_uri(picture: bytes | Pixels) -> str:
    """A picture as a `data:` URI: PNG bytes as they are, pixels (height, width, 3) uint8 as JPEG."""
    if isinstance(picture, bytes):
        return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _interval(figure: Estimate | None, digits: int = 1) -> Markup:
    """A share with its interval in small."""
    if figure is None:
        return Markup(MISSING)
    return _with_range(percent(figure.value, digits), percent_range(figure, digits))


def _decimals(figure: Estimate | None, digits: int = 3) -> Markup:
    """A figure such as an AUROC with its interval in small."""
    if figure is None:
        return Markup(MISSING)
    return _with_range(decimal(figure.value, digits), decimal_range(figure, digits))


def _area(figure: Estimate | None) -> Markup:
    """An AUROC with its interval in small, and whether that reaches chance."""
    remark = beside_chance(figure)
    chance = Markup('<br><small class="warn">{}</small>').format(remark) if remark else ""
    return _decimals(figure) + chance


def _with_range(value: str, ends: str) -> Markup:
    return Markup('{} <small class="interval">{}</small>').format(value, ends)


def _groupby_kept(items: Iterable[Any], attribute: str) -> list[tuple[Any, list[Any]]]:
    """Items by an attribute, in the order in which its values first come."""
    groups: dict[Any, list[Any]] = {}
    for item in items:
        groups.setdefault(getattr(item, attribute), []).append(item)
    return list(groups.items())


@cache
def _environment() -> Environment:
    filters: dict[str, Any] = {
        "count": "{:,}".format,
        "counted": counted,
        "counted_units": counted_units,
        "units": units,
        "percent": percent,
        "percent_as_given": percent_as_given,
        "percent_range": percent_range,
        "interval": _interval,
        "decimal": decimal,
        "decimal_range": decimal_range,
        "decimals": _decimals,
        "auroc": _area,
        "signed": signed,
        "significant": significant,
        "groupby_kept": _groupby_kept,
        "name_of": name_of,
        "data_uri": data_uri,
    }
    made = template_environment("dermsentry.reporting", filters, escape=True)
    made.globals["version"] = __version__
    return made


def render(template: str, **context: Any) -> str:
    """Render a template of `reporting/templates`; text is escaped, a missing value raises."""
    page = _environment().get_template(template).render(**context)
    page = re.sub(r"<th([^>]*)></th>", r"<td\1></td>", page)  # an empty head is no head
    page = _SCROLLING.sub(r'\1 tabindex="0"\2', page)
    return re.sub(r"(?<=\d) %", "\u00a0%", page)  # a number and its unit stay on one line


def write_report(path: Path, template: str, **context: Any) -> None:
    """Render a template into one stand-alone HTML file, whole or not at all. Raises OutputError."""
    write_text(path, render(template, **context))
