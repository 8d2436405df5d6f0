"""The one reader of CSV tables, which takes what spreadsheets write.

UTF-8 with or without a byte order mark; commas, semicolons or tabs between the fields, whichever the header
has most of; spaces around fields, blank lines and any line ending.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dermsentry.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_DELIMITERS = ",;\t"
_LONGEST_HEADER = 65536


def read_table(path: Path, *, exact: bool = False) -> pd.DataFrame:
    """Read a CSV file; see `parse_table`.

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
        The file cannot be read, is not UTF-8, or is not a table.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    try:
        text = data.decode("utf-8", "surrogateescape" if exact else "strict")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not a CSV table: byte {error.start} is not UTF-8; save it as “CSV UTF-8”."
        ) from error
    return parse_table(text, str(path), exact=exact)


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
    import pandas as pd

    lines = parse_rows(text, where, exact=exact)
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
    return pd.DataFrame(columns, dtype=str)


def parse_rows(text: str, where: str, *, exact: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that is not blank (the first is 1) and its fields, the header's first.

    Parameters as for `parse_table`; the header's fields never have spaces around them. Raises InputError
    where a quoted field does not end.
    """
    text = text.removeprefix("\ufeff")
    # A person's `"a", "b"` needs the spaces skipped before the quotes are read.
    lines = csv.reader(
        io.StringIO(text, newline=""), delimiter=_delimiter(text), skipinitialspace=not exact, strict=True
    )
    header = True
    number = 1
    try:
        for fields in lines:
            if any(field.strip() for field in fields):
                yield number, fields if exact and not header else [field.strip() for field in fields]
                header = False
            number = lines.line_num + 1
    except csv.Error as error:
        raise InputError(f"{where} is not a CSV table: line {lines.line_num}: {error}.") from error


def column_names(path: Path) -> list[str]:
    """The names in the first line of a file that may be a table; none where it cannot be one."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as handle:
        head = handle.readline(_LONGEST_HEADER)
    try:
        return next(parse_rows(head, str(path)), (1, []))[1]
    except InputError:
        return []


def _delimiter(text: str) -> str:
    head = re.split(r"[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]
    bare = re.sub(r'"[^"]*"', "", head)
    return max(_DELIMITERS, key=bare.count)
