"""Columns as people spell them: ids in any letters keep a lesion together, and 1 and 0 are labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from dermsentry.collection import read_collection
from dermsentry.collection.columns import folded
from dermsentry.errors import InputError

BENIGN, OTHER, MALIGNANT = "AK|DF|NV|PBK|SK|VASC", "AK|BCC|DF|NV|PBK|SCC|SK|VASC", "BCC|MEL|SCC"


def folder(root: Path, table: str) -> Path:
    (root / "photos").mkdir()
    for number in range(3):
        Image.new("RGB", (64, 48), (200, 150, 40 * number)).save(root / "photos" / f"a{number}.jpg")
    (root / "labels.csv").write_text(table)
    return root


@pytest.mark.parametrize(
    ("given", "expected"),
    [("Lesion ID", "lesion_id"), ("LesionID", "lesion_id"), ("patient-id", "patient_id"), ("AGE", "age")],
)
def test_a_name_is_the_same_in_any_letters(given: str, expected: str) -> None:
    assert folded(given) == expected


@pytest.mark.parametrize("lesion", ["Lesion ID", "LesionID", "lesion", "lesion_no", "LESION-ID"])
@pytest.mark.parametrize("patient", ["PatientID", "Patient No", "patient", "patient_number"])
def test_groups_are_read_however_their_columns_are_spelt(tmp_path: Path, lesion: str, patient: str) -> None:
    rows = "a0,nv,L1,P1\na1,mel,L1,P1\na2,nv,L2,P2\n"
    table = read_collection(folder(tmp_path, f"image_id,dx,{lesion},{patient}\n{rows}")).table
    assert list(table["lesion_id"]) == ["L1", "L1", "L2"]
    assert list(table["patient_id"]) == ["P1", "P1", "P2"]


@pytest.mark.parametrize(
    ("column", "one", "nothing"),
    [
        ("melanoma", "MEL", OTHER),
        ("Malignant", MALIGNANT, BENIGN),
        ("target", MALIGNANT, OTHER),
        ("Target", MALIGNANT, OTHER),
    ],
)
@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("TRUE", "FALSE"), ("1.0", "0.0"), ("yes", "no")])
def test_yes_and_no_are_labels(
    tmp_path: Path, column: str, one: str, nothing: str, yes: str, no: str
) -> None:
    found = read_collection(folder(tmp_path, f"Image_Name,{column}\na0,{yes}\na1,{no}\na2,\n"))
    assert list(found.table["diagnosis"]) == [one, nothing, ""]


def test_words_in_a_column_of_answers_are_read_as_words(tmp_path: Path) -> None:
    found = read_collection(
        folder(tmp_path, "filename,target\na0.jpg,nevus\na1.jpg,melanoma\na2.jpg,nevus\n")
    )
    assert list(found.table["diagnosis"]) == ["NV", "MEL", "NV"]


def test_a_table_without_labels_names_its_columns(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "images" / "a0.jpg")
    (tmp_path / "labels.csv").write_text("image_id,note\na0,x\n")
    with pytest.raises(InputError, match=r"has the columns image_id, note; expected one of labels"):
        read_collection(tmp_path)
