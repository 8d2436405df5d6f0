"""Text that people and files bring, as the clinic keeps it."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from dermsentry.clinic import lengths
from dermsentry.errors import InputError


def clean_note(text: str) -> str:
    """A note, with its lines. Raises InputError where it is too long."""
    note = clean(text, keep_lines=True)
    if len(note) > lengths.NOTE:
        raise InputError(f"Received a note of {len(note)} characters; expected up to {lengths.NOTE}.")
    return note


def clean_reason(text: str, *, of: str) -> str:
    """Why something, `of`, was done, with its lines. Raises InputError where it is missing or too long."""
    reason = clean(text, keep_lines=True)
    if not reason:
        raise InputError(f"Received no reason; it is kept with the {of}.")
    if len(reason) > lengths.REASON:
        raise InputError(f"Received a reason of {len(reason)} characters; expected up to {lengths.REASON}.")
    return reason


def joined_notes(first: str, second: str) -> str:
    """Two notes, one below the other, as long as a note may be."""
    return f"{first}\n{second}".strip()[: lengths.NOTE]


def digest_of(*texts: str) -> str:
    """SHA-256 of texts, by which the audit trail tells what was written without repeating it."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def written(note: str, reason: str, *more: str) -> tuple[str, ...]:
    """The texts of a read whose digest its event has; `more`, which earlier reads had not, where given."""
    return (note, reason, *more) if any(more) else (note, reason)


def clean(text: str, *, keep_lines: bool = False) -> str:
    """Text that every database keeps: without spaces around, and without control characters within."""
    kept = "\n" if keep_lines else ""
    text = text.replace("\r\n", "\n").encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() or c in kept else " " for c in text).strip()


def folded(text: str) -> str:
    """Text as it is compared and searched: on one line, with single spaces, letters in one case."""
    return " ".join(text.casefold().split())


def spelling_key(text: str) -> str:
    """What spellings of one identifier share: `S-1`, `s 1` and `S01` have one key, `S-1-0` and `S-10` two.

    Letters in one case, digits without zeros before them, and nothing else; an identifier of neither is its
    own key. Cut to what a column holds.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    parts = re.findall(r"\d+|[^\W\d_]+", folded)
    kept: list[str] = []
    for part in parts:
        if part[0].isdigit():
            # Without the point, 1-02 and 12 were one.
            kept += ["."] if kept and kept[-1][-1].isdigit() else []
            kept.append(part.lstrip("0") or "0")
        else:
            kept.append(part)
    return ("".join(kept) or " ".join(folded.split()))[: lengths.PATIENT]
