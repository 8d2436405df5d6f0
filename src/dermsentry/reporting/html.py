"""Reports as one HTML file each: styles and pictures inside, nothing fetched."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from dermsentry._version import __version__
from dermsentry.diagnoses import name_of
from dermsentry.files import write_text
from dermsentry.images import Pixels


def data_uri(picture: bytes | Pixels) -> str:
    """A picture as a `data:` URI: PNG bytes as they are, pixels (height, width, 3) uint8 as JPEG."""
    if isinstance(picture, bytes):
        return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def _ends(figure: Any) -> tuple[Any, Any, Any]:
    """`value`, `low` and `high` of a figure, its attributes or its keys."""
    value, low, high = (
        figure[k] if isinstance(figure, dict) else getattr(figure, k) for k in ("value", "low", "high")
    )
    return value, low, high


def _interval(figure: Any, digits: int = 1) -> Markup:
    """A figure with `value`, `low`, `high` (attributes or keys) in per cent."""
    if figure is None:
        return Markup("–")
    value, low, high = _ends(figure)
    if value is None:
        return Markup("–")
    if low is None or high is None:
        return Markup("{} %").format(_number(100 * value, digits))
    return _with_range([_number(100 * end, digits) for end in (value, low, high)], " %")


def _decimals(figure: Any, digits: int = 3) -> Markup:
    """A figure with `value`, `low`, `high` (attributes or keys) as decimals, such as an AUROC."""
    if figure is None:
        return Markup("–")
    return _with_range([_number(end, digits) for end in _ends(figure)])


def _number(value: float | None, digits: int) -> str:
    """With a true minus sign, none before a zero; no end at all, or an infinite one, is ∞."""
    if value is None or math.isinf(value):
        return "∞"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def _with_range(ends: Sequence[str], unit: str = "") -> Markup:
    value, low, high = ends
    between = " to " if "−" in low + high else "–"
    text = Markup('{}{} <small class="interval">{}{}{}</small>')
    return text.format(value, unit, low, between, high)


def _groupby_kept(items: Iterable[Any], attribute: str) -> list[tuple[Any, list[Any]]]:
    """Items by an attribute, in the order in which its values first come."""
    groups: dict[Any, list[Any]] = {}
    for item in items:
        groups.setdefault(getattr(item, attribute), []).append(item)
    return list(groups.items())


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("dermsentry.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _percent,
        "interval": _interval,
        "decimals": _decimals,
        "groupby_kept": _groupby_kept,
        "name_of": name_of,
        "data_uri": data_uri,
    }
    environment.globals["version"] = __version__
    return environment


def render(template: str, **context: Any) -> str:
    """Render a template of `report/templates`; text is escaped, a missing value raises."""
    return _environment().get_template(template).render(**context)


def write_report(path: Path, template: str, **context: Any) -> None:
    """Render a template into one stand-alone HTML file, whole or not at all. Raises OutputError."""
    write_text(path, render(template, **context))
