"""The one reader of tables, which takes what spreadsheets write.

CSV in UTF-8 or UTF-16, with or without a byte order mark, or in Windows-1252, which is told; commas,
semicolons or tabs between the fields, whichever gives lines of as many fields as the header; spaces around
fields, blank lines and any line ending. Excel workbooks (.xlsx), known by content.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from dermsentry.errors import DataWarning, InputError

if TYPE_CHECKING:
    import pandas as pd

_DELIMITERS = ",;\t"
_HEAD = 65536
"""Characters, or bytes, of a table's beginning that its delimiter and its columns are found in."""
_LOOKED_AT = 50  # lines
_SEPARATOR = re.compile(r"\Asep=([,;\t])\r?\n?", re.IGNORECASE)  # Excel's own hint, before the header
_ZIP, _OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"


def read_table(path: Path, *, exact: bool = False) -> pd.DataFrame:
    """Read a CSV file or an Excel workbook; see `parse_table`.

    Parameters
    ----------
    path
        The file.
    exact
        Keep spaces around fields, and bytes that are not UTF-8 (as surrogates): for paths, whose file names
        may have either.

    Raises
    ------
    InputError
        The file cannot be read, or is not a table.

    Warns
    -----
    DataWarning
        The file is not UTF-8 and was read as Windows-1252, or its workbook has more sheets than the one read.
    """
    return _frame(read_rows(path, exact=exact), str(path))


def read_rows(path: Path, *, exact: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table as `parse_rows` yields them; parameters, errors and warnings as `read_table`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    if data.startswith(_OLD_EXCEL):
        raise InputError(f"{path} is an old Excel file (.xls); save it as .xlsx or “CSV UTF-8”.")
    if data.startswith(_ZIP):
        from dermsentry.excel_tables import read_workbook

        return read_workbook(data, str(path))
    return parse_rows(_decoded(data, str(path), exact=exact), str(path), exact=exact)


def parse_table(text: str, where: str, *, exact: bool = False) -> pd.DataFrame:
    """A CSV table as a frame of text, `""` where a field is empty or missing.

    Columns without a name, and all but the first of one name, are left out.

    Parameters
    ----------
    text
        The table, its first line the header.
    where
        What the table is called in an error.
    exact
        Keep spaces around fields.

    Returns
    -------
    pandas.DataFrame
        A row per line that is not blank.

    Raises
    ------
    InputError
        There is no header, a line has more fields than the header, or a quoted field does not end.
    """
    return _frame(parse_rows(text, where, exact=exact), where)


def _frame(lines: Iterator[tuple[int, list[str]]], where: str) -> pd.DataFrame:
    import pandas as pd

    _, header = next(lines, (1, []))
    if not header:
        raise InputError(f"{where} is not a CSV table: it is empty.")
    rows = []
    for number, fields in lines:
        if any(fields[len(header) :]):
            raise InputError(
                f"{where} is not a CSV table: line {number} has {len(fields)} fields, "
                f"its header {len(header)}."
            )
        rows.append((fields + [""] * len(header))[: len(header)])
    places = {name: place for place, name in reversed(list(enumerate(header))) if name}
    columns = {name: [row[places[name]] for row in rows] for name in dict.fromkeys(header) if name}
    # PyArrow, which pandas would take where it is installed, holds no name that is not UTF-8.
    return pd.DataFrame(columns, dtype=pd.StringDtype("python", na_value=float("nan")))


def parse_rows(text: str, where: str, *, exact: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that is not blank (the first is 1) and its fields, the header's first.

    Parameters as for `parse_table`; the header's fields never have spaces around them. Raises InputError
    where a quoted field does not end.
    """
    text = text.removeprefix("\ufeff")
    delimiter = _delimiter(text)
    hint = _SEPARATOR.match(text)
    skipped = 0
    if hint:
        text, skipped = text[hint.end() :], 1
    # A person's `"a", "b"` needs the spaces skipped before the quotes are read.
    lines = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=not exact, strict=True
    )
    header = True
    number = 1 + skipped
    try:
        for fields in lines:
            if any(field.strip() for field in fields):
                yield number, fields if exact and not header else [field.strip() for field in fields]
                header = False
            number = lines.line_num + 1 + skipped
    except csv.Error as error:
        number = lines.line_num + skipped
        raise InputError(f"{where} is not a CSV table: line {number}: {error}.") from error


def column_names(path: Path) -> list[str]:
    """The names in the first line of a file that may be a table; none where it cannot be one."""
    with path.open("rb") as handle:
        head = handle.read(_HEAD)
    try:
        if head.startswith(_ZIP):
            return next(read_rows(path), (1, []))[1]
        encoding = _encoding(head) or "cp1252"
        return next(parse_rows(head.decode(encoding, "replace"), str(path)), (1, []))[1]
    except InputError:
        return []


def _decoded(data: bytes, where: str, *, exact: bool) -> str:
    encoding = _encoding(data)
    try:
        if encoding is not None:
            return data.decode(encoding)
        if exact:
            return data.decode("utf-8", "surrogateescape")
        if b"\0" in data:
            raise InputError(f"{where} is not a CSV table: it has bytes that no text has.")
        text = data.decode("cp1252")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where} is not a CSV table: byte {error.start} is neither UTF-8 nor Windows-1252; "
            "save it as “CSV UTF-8”."
        ) from error
    word = re.search(r"[\w.-]*[^\x00-\x7f][\w.-]*", text)
    warnings.warn(
        f"{where} is not UTF-8 and was read as Windows-1252, such as {word and word[0]!r}; "
        "save it as “CSV UTF-8” if that is wrong.",
        DataWarning,
        stacklevel=4,
    )
    return text


def _encoding(data: bytes) -> str | None:
    """UTF-16 or UTF-8, whichever a table, or the beginning of one, is in; None where neither."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    head = data[:200]
    # Letters of most languages' headers have a zero byte in UTF-16, and in nothing else that is text.
    for encoding, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
        if len(head) > 3 and zeros.count(0) > 0.7 * len(zeros):
            return encoding
    try:
        data[: len(data) if len(data) != _HEAD else _HEAD - 4].decode("utf-8")
    except UnicodeDecodeError as error:
        return "utf-8" if len(data) == _HEAD and error.end >= _HEAD - 4 else None
    return "utf-8"


def _delimiter(text: str) -> str:
    """What gives the header several fields, and the lines below as many; the most frequent of these."""
    hint = _SEPARATOR.match(text)
    if hint:
        return hint[1]
    head = text.lstrip("\r\n")[:_HEAD]

    def fits(delimiter: str) -> tuple[bool, float, int]:
        lines = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter, skipinitialspace=True)
        try:
            counts = [_filled(fields) for fields in islice(lines, _LOOKED_AT)]
        except csv.Error:
            counts = []
        header, below = (counts[0] if counts else 0), [count for count in counts[1:-1] if count]
        agreement = [count / header if count <= header else 0.0 for count in below] if header else []
        return header > 1, sum(agreement) / len(agreement) if agreement else 1.0, header

    return max(_DELIMITERS, key=fits)


def _filled(fields: Iterable[str]) -> int:
    """How many fields there are up to the last one that is not empty."""
    return max((place for place, field in enumerate(fields, 1) if field.strip()), default=0)
