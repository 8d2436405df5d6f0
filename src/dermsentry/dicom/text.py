"""The text of a DICOM header, as its character set says (DICOM PS3.5, 6.1); what cannot be read is told.

A byte that no character is known for is written as `\\xNN`: two patients stay two, and nothing is garbled.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any

from pydicom.charset import decode_bytes, python_encoding
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

LONGEST_TEXT = 200

_CHARACTER_SET = "SpecificCharacterSet"
_DELIMITERS = {0x0A, 0x0C, 0x0D, 0x09, 0x5C}  # where a switch of character set ends (PS3.5, 6.1.2.5.3)


@dataclass(frozen=True)
class HeaderText:
    """Reads the text of a header; `doubts` are what is uncertain about it, in words, once it was read."""

    dataset: Dataset
    doubts: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> str:
        """The value of this name as one line of text; `""` where there is none."""
        return self.of(self.dataset, name)

    def of(self, item: Dataset, name: str) -> str:
        """The same of an item of one of the header's sequences."""
        if name not in item:
            return ""
        element = item.get_item(Tag(name))
        value = element.value if isinstance(element, RawDataElement) else item[name].value
        if not isinstance(value, bytes):
            return text(value)
        return text(self._decoded(value, self._sets(item) or self._sets(self.dataset)))

    def _sets(self, item: Dataset) -> list[str]:
        said = item.get(_CHARACTER_SET)
        if said is None:
            return []
        return [str(term).strip() for term in ([said] if isinstance(said, str) else said)] or [""]

    def _decoded(self, value: bytes, sets: list[str]) -> str:
        value = value.rstrip(b"\0 ")
        if value.isascii() and b"\x1b" not in value:
            return value.decode()
        unknown = [term for term in sets if term not in python_encoding]
        named = " and ".join(map(repr, sets))
        if unknown:
            return self._as_bytes(value, f"the character set {' and '.join(map(repr, unknown))} is not known")
        if not sets or sets == [""] or sets == ["ISO_IR 6"]:
            try:
                read = value.decode("utf-8")
            except UnicodeDecodeError:
                return self._as_bytes(value, "no character set is stated")
            self._doubt("no character set is stated; the text was read as UTF-8")
            return read
        try:
            read = _decode(value, sets)
        except (UnicodeError, LookupError):
            return self._as_bytes(value, f"the text is not in the character set {named}, as stated")
        if any(not c.isascii() and _is_symbol(c) for c in read):
            self._doubt(f"the text has symbols that names have not: it may not be {named}, as stated")
        return read

    def _as_bytes(self, value: bytes, why: str) -> str:
        self._doubt(f"{why}; bytes that are no ASCII are shown as \\xNN")
        return value.decode("ascii", "backslashreplace").replace("\x1b", "\\x1b")

    def _doubt(self, why: str) -> None:
        if why not in self.doubts:
            self.doubts.append(why)


def _decode(value: bytes, sets: list[str]) -> str:
    """Decode a value, strictly. Raises UnicodeError, LookupError."""
    encodings = [python_encoding[term] for term in sets]
    if len(encodings) == 1 and b"\x1b" not in value:
        return value.decode(encodings[0])
    read = decode_bytes(value, encodings, _DELIMITERS)
    if "\ufffd" in read or "\x1b" in read:
        raise UnicodeError("a byte that no character is known for")
    return read


def _is_symbol(character: str) -> bool:
    """Whether a character is in no language's names."""
    return unicodedata.category(character)[0] in "SPC" and character not in "·’‘´ʼ"


def text(value: Any) -> str:
    """A value as one line of text, of bounded length, without what is not printable."""
    if value is None:
        return ""
    if not isinstance(value, str) and hasattr(value, "__iter__"):
        value = "\\".join(str(part) for part in value)
    line = str(value)[: 4 * LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else " " for c in line).strip()[:LONGEST_TEXT]


def identifier(dataset: Dataset, name: str) -> str:
    """A value as a DICOM identifier (UID); `""` where it is none."""
    value = text(dataset.get(name))
    return value if re.fullmatch(r"[0-9.]{1,64}", value) else ""


def number(dataset: Dataset, name: str, default: int = 0) -> int:
    """A value as a whole number. Raises ValueError, TypeError."""
    value = dataset.get(name)
    return default if value is None or value == "" else int(value)
