"""A workbook is read as the table it shows, and a hostile one is refused in one line."""

from __future__ import annotations

import io
import zipfile
from datetime import date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from dermsentry import excel_tables
from dermsentry.csv_tables import column_names, read_table
from dermsentry.errors import DataWarning, InputError


def workbook(*sheets: list[list[object]]) -> bytes:
    made = Workbook()
    made.remove(made.active)
    for number, rows in enumerate(sheets, 1):
        sheet = made.create_sheet(f"Sheet{number}")
        for row in rows:
            sheet.append(row)
    buffer = io.BytesIO()
    made.save(buffer)
    return buffer.getvalue()


def changed(data: bytes, part: str, old: bytes, new: bytes) -> bytes:
    """The workbook with something else in one of its parts."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as given_zip, zipfile.ZipFile(out, "w") as written:
        for name in given_zip.namelist():
            content = given_zip.read(name)
            if name == part:
                assert old in content
                content = content.replace(old, new)
            written.writestr(name, content)
    return out.getvalue()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"  # known by content


def test_a_workbook_is_a_table(path: Path) -> None:
    rows = [
        [None, None],
        ["image", "age", "seen", "melanoma", "note"],
        [" ISIC_1 ", 45.0, date(2020, 3, 4), True, "x; y"],
        [None, None],
        ["ISIC_2", 45.5, datetime(2020, 3, 4, 10, 30), False, None],
        [7],
    ]
    path.write_bytes(workbook(rows))
    found = read_table(path)
    assert [list(found.columns), *found.to_numpy().tolist()] == [
        ["image", "age", "seen", "melanoma", "note"],
        ["ISIC_1", "45", "2020-03-04", "TRUE", "x; y"],
        ["ISIC_2", "45.5", "2020-03-04T10:30:00", "FALSE", ""],
        ["7", "", "", "", ""],
    ]
    assert column_names(path) == ["image", "age", "seen", "melanoma", "note"]


def test_other_sheets_are_told(path: Path) -> None:
    path.write_bytes(workbook([], [["image"], ["a"]], [["more"]]))
    with pytest.warns(DataWarning, match="'Sheet2' was read, not 'Sheet3'"):
        assert read_table(path).to_dict("list") == {"image": ["a"]}


def test_formulas_are_never_calculated(path: Path) -> None:
    path.write_bytes(workbook([["image", "age"], ["a", "=40+5"]]))
    with pytest.raises(InputError, match="a formula without a value, in B2 of 'Sheet1'"):
        read_table(path)
    sheet = "xl/worksheets/sheet1.xml"
    path.write_bytes(changed(path.read_bytes(), sheet, b"<v />", b"<v>45</v>"))
    assert read_table(path).to_dict("list") == {"image": ["a"], "age": ["45"]}


def test_hostile_workbooks_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = workbook([["image"], ["a"]])
    plain_zip = io.BytesIO()
    with zipfile.ZipFile(plain_zip, "w") as written:
        written.writestr("a.txt", "x")
    entities = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]>'
    with zipfile.ZipFile(io.BytesIO(table)) as archive:
        start = archive.read("xl/workbook.xml")[:10]
    hostile = {
        "is a ZIP archive, not an Excel workbook": plain_zip.getvalue(),
        "not an Excel workbook that can be read": table[: len(table) // 2],
        "declares XML entities": changed(table, "xl/workbook.xml", start, entities + start),
    }
    for complaint, data in hostile.items():
        path.write_bytes(data)
        with pytest.raises(InputError, match=complaint) as refused:
            read_table(path)
        assert "\n" not in str(refused.value)
    path.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(100))
    with pytest.raises(InputError, match="an old Excel file"):
        read_table(path)
    monkeypatch.setattr(excel_tables, "MOST_BYTES", 1000)
    path.write_bytes(table)
    with pytest.raises(InputError, match="would unpack to"):
        read_table(path)


def test_a_sheet_that_claims_to_be_endless_is_not(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = workbook([["image", "dx"], ["a", "mel"]])
    sheet = "xl/worksheets/sheet1.xml"
    path.write_bytes(changed(table, sheet, b'ref="A1:B2"', b'ref="A1:XFD1048576"'))
    assert read_table(path).shape == (1, 2)
    monkeypatch.setattr(excel_tables, "MOST_CELLS", 1000)
    path.write_bytes(
        changed(changed(table, sheet, b'r="2"', b'r="1048576"'), sheet, b'r="A2"', b'r="A1048576"')
    )
    with pytest.raises(InputError, match="more than 1,000 cells"):
        read_table(path)


@given(st.data())
def test_a_changed_workbook_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    hostile = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 10))):
        hostile[data.draw(st.integers(0, len(hostile) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "hostile.xlsx"
    path.write_bytes(hostile)
    message = ""
    try:
        read_table(path)
    except InputError as error:
        message = str(error)
    assert "\n" not in message


WHOLE = workbook([["image", "dx"], ["a", "mel"]])
