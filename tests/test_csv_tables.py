"""A table is read as a spreadsheet writes it, and what is no table is refused in one line."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermsentry.csv_tables import column_names, parse_rows, parse_table, read_table
from dermsentry.errors import DataWarning, InputError

ROWS = [["image", "dx", "note"], ["a", "mel", "x, y"], ["b", "nv", ""]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_every_dialect_of_a_spreadsheet_is_the_same_table(
    tmp_path: Path, delimiter: str, end: str, encoding: str
) -> None:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows(ROWS)
    path = tmp_path / "table.csv"
    path.write_bytes(out.getvalue().encode(encoding))
    found = read_table(path)
    assert [list(found.columns), *found.to_numpy().tolist()] == ROWS
    assert column_names(path) == ROWS[0]


def test_spaces_blank_lines_and_missing_fields() -> None:
    text = '\n image , dx ;x,note\n\n  a , mel, "x, y"\n , , \n,,,,\nb\n'
    found = parse_table(text, "table")
    assert list(found.columns) == ["image", "dx ;x", "note"]
    assert found.to_numpy().tolist() == [["a", "mel", "x, y"], ["b", "", ""]]


def test_a_delimiter_inside_a_quoted_name_is_no_delimiter() -> None:
    assert list(parse_table('"a, b, c";d\n1;2\n', "table").columns) == ["a, b, c", "d"]


def test_the_delimiter_is_the_one_that_the_lines_below_agree_with() -> None:
    text = "image;dx, as given;age, in years\na;mel;45,5\nb;nv;50\nc;nv;\n"
    assert list(parse_table(text, "table").columns) == ["image", "dx, as given", "age, in years"]
    assert parse_table("sep=;\nimage;dx\na;b,c\n", "table").to_dict("list") == {"image": ["a"], "dx": ["b,c"]}
    assert [number for number, _ in parse_rows("sep=,\nimage\n\na\n", "table")] == [2, 4]


def test_windows_1252_is_read_and_told(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes("image;Größe\na;groß\n".encode("cp1252"))
    with pytest.warns(DataWarning, match="was read as Windows-1252, such as .*Größe"):
        found = read_table(path)
    assert found.to_dict("list") == {"image": ["a"], "Größe": ["groß"]}
    assert column_names(path) == ["image", "Größe"]


@pytest.mark.parametrize("size", [65530, 65536, 65540])
def test_the_columns_of_a_long_table_are_those_of_the_whole_table(tmp_path: Path, size: int) -> None:
    path = tmp_path / "table.csv"
    path.write_text("image;Größe\n" + "ä;ö\n" * (size // 6))
    assert column_names(path) == list(read_table(path).columns) == ["image", "Größe"]


def test_columns_without_a_name_and_repeated_ones_are_left_out() -> None:
    found = parse_table(",image,dx,image,\n0,a,mel,b,\n", "table")
    assert found.to_dict("list") == {"image": ["a"], "dx": ["mel"]}


def test_line_numbers_are_those_of_the_file() -> None:
    text = 'image,note\n\na,"two\nlines"\nb,\n'
    assert [number for number, _ in parse_rows(text, "table")] == [1, 3, 5]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "it is empty"),
        (b"\n \n", "it is empty"),
        (b"a,b\n1,2\n1,2,3\n", "line 3 has 3 fields, its header 2"),
        (b'a,b\n"1,2\n', "line 2: unexpected end of data"),
        (b"a,b\nna\x81ve,2\n", "byte 6 is neither UTF-8 nor Windows-1252"),
        (b"\xff\xfea\x00b", "byte 4 is neither"),
        (b"\x89PNG\r\n\x1a\n\0\0", "it has bytes that no text has"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path: Path, data: bytes, complaint: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"is not a CSV table: {complaint}") as refused:
        read_table(path)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Cannot read .*none\.csv: No such file"):
        read_table(tmp_path / "none.csv")


def test_exact_fields_keep_their_spaces_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"path , part\n caf\xe9.jpg ,test\n")
    found = read_table(path, exact=True)
    assert found.to_dict("list") == {"path": [" " + os.fsdecode(b"caf\xe9") + ".jpg "], "part": ["test"]}


@pytest.mark.filterwarnings("ignore::dermsentry.errors.DataWarning")
@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.csv"
    path.write_bytes(b"a,b\n" + data)
    assert isinstance(column_names(path), list)
    message = ""
    try:
        read_table(path)
    except InputError as error:
        message = str(error)
    assert "\n" not in message
