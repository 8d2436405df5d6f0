"""Excel workbooks (.xlsx) and rows of text: values as last calculated; nothing is calculated or followed."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from typing import Any

from dermsentry.errors import DataWarning, InputError

MOST_BYTES = 512 * 1024 * 1024
"""Of a workbook once unpacked."""
MOST_CELLS = 20_000_000
_MOST_PARTS = 5_000

# What openpyxl thinks of a workbook's drawings and styles is of no use to who wants its values.
warnings.filterwarnings("ignore", category=UserWarning, module=r"openpyxl\.")


def read_workbook(data: bytes, where: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each row that is not empty (the first is 1) and its fields, of the first sheet.

    Parameters
    ----------
    data
        The file.
    where
        What it is called in a message.

    Raises
    ------
    InputError
        It is no workbook, is larger than any table, or has a formula whose value it does not hold.

    Warns
    -----
    DataWarning
        Other sheets have something in them too.
    """
    try:
        _require_harmless(data, where)
        sheets = {name: rows for name, rows in _sheets(data, where) if rows}
    except InputError:
        raise
    except Exception as error:
        words = str(error).split("\n")[0] or type(error).__name__
        raise InputError(f"{where} is not an Excel workbook that can be read: {words}.") from error
    if not sheets:
        return iter(())
    name, rows = next(iter(sheets.items()))
    if len(sheets) > 1:
        others = ", ".join(map(repr, list(sheets)[1:]))
        warnings.warn(f"{where}: of its sheets, {name!r} was read, not {others}.", DataWarning, stacklevel=4)
    return iter(rows)


def workbook_of(rows: Sequence[Sequence[str]]) -> bytes:
    """A workbook of one sheet with these rows, the first its header; every cell is text, no formula."""
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in rows:
        cells = [WriteOnlyCell(sheet, text) for text in row]
        for cell in cells:
            cell.data_type = "s"
        sheet.append(cells)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def _require_harmless(data: bytes, where: str) -> None:
    """Raise InputError where unpacking it, or its XML, could fill the memory."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = archive.infolist()
        if "xl/workbook.xml" not in {part.filename for part in parts}:
            raise InputError(f"{where} is a ZIP archive, not an Excel workbook or a CSV table; unpack it.")
        size = sum(part.file_size for part in parts)  # as stated; zipfile reads no more than that
        if size > MOST_BYTES or len(parts) > _MOST_PARTS:
            raise InputError(
                f"{where} would unpack to {size >> 20} MiB in {len(parts)} parts; "
                f"expected up to {MOST_BYTES >> 20} MiB."
            )
        for part in parts:
            with archive.open(part) as file:
                if b"<!DOCTYPE" in file.read(2048):
                    raise InputError(f"{where} declares XML entities, which no workbook needs.")


def _sheets(data: bytes, where: str) -> Iterator[tuple[str, list[tuple[int, list[str]]]]]:
    """Each sheet's name and rows that are not empty."""
    values = _open(data, data_only=True)
    cells = 0
    for sheet in values.worksheets:
        rows, gaps = [], False
        for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
            cells += max(1, len(row))
            if cells > MOST_CELLS:
                raise InputError(f"{where} has more than {MOST_CELLS:,} cells; save the table alone as CSV.")
            fields = [_text(value) for value in row]
            if any(fields):
                rows.append((number, fields))
                gaps = gaps or not all(fields)
        if gaps and (place := _uncalculated(data, sheet.title)):
            raise InputError(
                f"{where} has a formula without a value, in {place} of {sheet.title!r}; "
                "open it in a spreadsheet and save it, or save it as “CSV UTF-8”."
            )
        yield sheet.title, rows


def _open(data: bytes, *, data_only: bool) -> Any:
    from openpyxl import load_workbook

    workbook = load_workbook(io.BytesIO(data), read_only=True, data_only=data_only, keep_links=False)
    for sheet in workbook.worksheets:
        sheet.reset_dimensions()  # what it says of its size may be made up
    return workbook


def _uncalculated(data: bytes, title: str) -> str | None:
    """The first cell of a sheet that has a formula but no value."""
    values, formulas = _open(data, data_only=True)[title], _open(data, data_only=False)[title]
    for row, written in zip(values.iter_rows(values_only=True), formulas.iter_rows(), strict=False):
        for value, cell in zip(row, written, strict=False):
            if value is None and cell.data_type == "f":
                return str(cell.coordinate)
    return None


def _text(value: Any) -> str:
    """A cell as it would be in a CSV: whole numbers without decimals, dates as ISO 8601."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value).strip()
