"""The templates of a package, rendered by one set of rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def template_environment(package: str, filters: Mapping[str, Any], *, escape: bool) -> Environment:
    """The templates in `templates/` of a package, with further filters; a missing value raises.

    `escape`: whether what is put into a template is escaped for HTML.
    """
    made = Environment(
        loader=PackageLoader(package),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= filters
    return made
