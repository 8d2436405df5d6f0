"""Text that people and files bring, as the clinic keeps it."""

from __future__ import annotations


def clean(text: str, *, keep_lines: bool = False) -> str:
    """Text that every database keeps: without spaces around, and without control characters within."""
    kept = "\n" if keep_lines else ""
    text = text.replace("\r\n", "\n").encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() or c in kept else " " for c in text).strip()
