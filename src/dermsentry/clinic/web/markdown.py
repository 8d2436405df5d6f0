"""Markdown as HTML, for the model card. HTML within it stays text."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markupsafe import Markup


def as_html(text: str) -> Markup:
    """Render Markdown with tables; without links and pictures, since a card is foreign."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["link", "image", "autolink"])
    return Markup(parser.render(text))  # what the parser writes is escaped
