"""Reference labels are read from either kind of table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dermsentry.collection import read_labels
from dermsentry.collection.labels import UnknownDiagnosesError, Vocabulary, label_rows, truth, write_draft
from dermsentry.collection.table import UnknownDiagnosis
from dermsentry.errors import DataWarning, InputError


def test_label_tables(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image_name,dx\nI_1.jpg,mel\nI_2,wart\n")
    with pytest.warns(DataWarning, match=r"not understood: 'wart' \(1, kept as unknown\)"):
        assert read_labels(path) == {"I_1": "MEL"}
    path.write_text("name,what\nI_1,mel\n")
    with pytest.raises(InputError, match="expected image_id and diagnosis"):
        read_labels(path)


def test_rows_that_are_no_label_are_never_one(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(
        "image;MEL;NV;BCC;UNK\na;1,0;0,0;0,0;0\nb;TRUE;False;;\nc;1;1;0;0\nd;0;0;0;0\ne;0;0;0;1\n"
    )
    with pytest.warns(DataWarning) as told:
        assert read_labels(path) == {"a": "MEL", "b": "MEL"}
    assert [str(one.message) for one in told] == [
        "truth.csv: 1 row with two diagnoses or more, kept as unknown: c (MEL, NV)",
        "truth.csv: 1 row with no diagnosis, kept as unknown: d",
    ]
    path.write_text("image,MEL,NV,BCC\na,0.7,0.2,0.1\nb,1,0,0\n")
    with pytest.raises(InputError, match=r"1 row with a value that is neither 0 nor 1: a \(MEL: 0.7\)"):
        read_labels(path)


@pytest.mark.parametrize(
    ("meaning", "texts"),
    [
        (True, ["1", "1.0", "1,0", " True ", "yes"]),
        (False, ["0", "0.00", "FALSE", ""]),
        (None, ["2", "0.5", "x", "nan"]),
    ],
)
def test_one_field_of_0_and_1(meaning: bool | None, texts: list[str]) -> None:
    assert all(truth(text) is meaning for text in texts)


def test_names_that_are_not_understood_can_be_said(tmp_path: Path) -> None:
    mapping, table = tmp_path / "diagnoses.csv", tmp_path / "labels.csv"
    table.write_text("image_id,diagnosis\na,Wart \nb,melanoma\nc,corn\nd,Leberfleck\n")
    write_draft(
        mapping, [UnknownDiagnosis("wart", 1), UnknownDiagnosis("Leberfleck", 1), UnknownDiagnosis("corn", 1)]
    )
    assert mapping.read_text() == "given,diagnosis,photographs\nwart,,1\nLeberfleck,,1\ncorn,,1\n"
    mapping.write_text("given,diagnosis\nwart,benign\nLeberfleck,nevus\ncorn,\n")
    assert read_labels(table, diagnoses=mapping) == {"a": "AK|DF|NV|PBK|SK|VASC", "b": "MEL", "d": "NV"}
    for text, problem in (
        ("given,diagnosis\nwart,corn\n", "maps 'wart' to 'corn', none of the nine"),
        ("given,diagnosis\nwart,nevus\nWart,melanoma\n", "maps 'Wart' twice"),
        ("name,meaning\n", "expected given and diagnosis"),
    ):
        mapping.write_text(text)
        with pytest.raises(InputError, match=problem):
            read_labels(table, diagnoses=mapping)


def test_a_table_of_which_nothing_is_understood_is_an_error(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("image_id,target\na,1\n")
    with pytest.raises(InputError, match="expected image_id and diagnosis"):
        read_labels(table)
    table.write_text("image_id,diagnosis\na,1\nb,0\n")
    with pytest.raises(UnknownDiagnosesError, match=r"'0' \(1\); '1' \(1\).*--diagnoses") as caught:
        read_labels(table)
    assert [one.given for one in caught.value.unknown] == ["0", "1"]


def test_levels_and_what_else_a_set_says() -> None:
    rows = pd.DataFrame(
        [
            ("Benign", "Benign melanocytic proliferations", "Nevus", "Nevus, Something new", ""),
            ("Benign", "Cysts", "Cyst, new", "", ""),
            ("Malignant", "Merkel cell proliferation", "", "", "malignant"),
            ("Malignant", "", "", "", ""),
            ("Indeterminate", "", "", "", ""),
            ("", "", "", "", "melanoma"),
            ("Malignant", "x", "Melanoma in situ", "", "not melanoma"),
        ],
        columns=["diagnosis_1", "diagnosis_2", "diagnosis_3", "diagnosis_4", "fallback"],
    )
    table, unknown = label_rows(rows, Vocabulary(), "table")
    benign = "AK|DF|NV|PBK|SK|VASC"
    assert list(table["diagnosis"]) == ["NV", benign, "", "BCC|MEL|SCC", "", "MEL", ""]
    assert unknown == (
        UnknownDiagnosis("Cyst, new", 1, benign),
        UnknownDiagnosis("Melanoma in situ, but not melanoma", 1),
        UnknownDiagnosis("Merkel cell proliferation", 1),
    )


def test_rows_that_contradict_each_other_settle_nothing(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image,dx\na,mel\na,nv\nb,nv\nb,nevus\n")
    with pytest.warns(DataWarning, match=r"rows of 1 image contradict each other, .* nothing: a \(MEL, NV\)"):
        assert read_labels(path) == {"b": "NV"}
