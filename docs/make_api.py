"""Write docs/api.md from the docstrings of the public API: `python docs/make_api.py`, or `make api`."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import dermsentry

PAGE = Path(__file__).parent / "api.md"
STUB = Path(dermsentry.__file__).with_suffix(".pyi")
INTRODUCTION = """\
# Python API

Made from the docstrings by `make api`; do not edit. Names are imported as `dermsentry.NAME`, on first use.
What is not here is internal and may change in any version.
"""


def names() -> list[str]:
    """The public names, in the order of the stub: functions after the types that they give."""
    imports = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ImportFrom)]
    return [alias.name for node in imports for alias in node.names if alias.name != "__version__"]


def sections(thing: object) -> dict[str, dict[str, str]]:
    """A numpydoc docstring: its text under `""`, and of each section what it says of each name."""
    found: dict[str, dict[str, str]] = {"": {"": ""}}
    section = name = ""
    lines = (inspect.getdoc(thing) or "").splitlines()
    for number, line in enumerate(lines):
        if re.fullmatch("-{3,}", line):
            continue
        if number + 1 < len(lines) and re.fullmatch("-{3,}", lines[number + 1]):
            section, name = line, ""
            found[section] = {}
        elif section == "Examples":
            found[section][""] = f"{found[section].get('', '')}{line}\n"
        elif section and line and not line.startswith(" "):
            name = line
            found[section][name] = ""
        else:
            line = line.removeprefix("    ") if section else line
            found[section][name] = f"{found[section].get(name, '')}{line}\n"
    return {section: {n: text.strip() for n, text in told.items()} for section, told in found.items()}


def signature(name: str, function: Callable[..., Any]) -> str:
    """A function's signature, a parameter a line."""
    given = inspect.signature(function)
    lines, keyword = [], False
    for parameter in given.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword:
            lines.append("*")
            keyword = True
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
        lines.append(f"{stars}{parameter.name}: {parameter.annotation}{default}")
    inside = "".join(f"    {line},\n" for line in lines)
    inside = f"\n{inside}" if inside else ""
    return f"{name}({inside}) -> {given.return_annotation}"


def members(kind: type) -> dict[str, Any]:
    """The public methods and properties that a class of ours defines, by name."""
    return {
        name: value
        for name, value in vars(kind).items()
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
    }


def described(thing: object) -> str:
    """A docstring as Markdown."""
    blocks = []
    for section, told in sections(thing).items():
        if not section:
            blocks.append(told[""])
            continue
        blocks.append(f"**{section}**")
        if section == "Examples":
            shown = told[""].replace("  # doctest: +SKIP", "")
            blocks.append(f"```pycon\n{shown}\n```")
            continue
        blocks.append("\n".join(f"- `{name}`: {' '.join(text.split())}" for name, text in told.items()))
    return "\n\n".join(blocks)


def entry(name: str) -> str:
    """What the page says of one public name."""
    thing = getattr(dermsentry, name)
    if not inspect.isclass(thing):
        return f"## {name}\n\n```python\n{signature(name, thing)}\n```\n\n{described(thing)}\n"
    if issubclass(thing, Exception):
        return f"## {name}\n\n{described(thing)}\n"
    blocks = [f"## {name}", described(thing)]
    if is_dataclass(thing) and not {"Parameters", "Attributes"} & set(sections(thing)):
        blocks.append("\n".join(f"- `{field.name}`: `{field.type}`" for field in fields(thing)))
    for inner, value in members(thing).items():
        if isinstance(value, property):
            blocks.append(f"### {name}.{inner}\n\n{described(value)}")
        else:
            shown = signature(inner, value)
            blocks.append(f"### {name}.{inner}\n\n```python\n{shown}\n```\n\n{described(value)}")
    return "\n\n".join(blocks) + "\n"


def page() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *(entry(name) for name in names())])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
