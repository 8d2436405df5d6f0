"""PH²: two hundred dermoscopic photographs, described in an Excel file."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.layouts.photographs import with_photographs
from dermsentry.collection.table import Collection
from dermsentry.csv_tables import read_rows
from dermsentry.errors import InputError

ABOUT = About(
    name="PH²",
    published="https://www.fc.up.pt/addi/ph2%20database.html",
    licence="its own, for research and education",
    recognised="`PH2_dataset.xlsx`, or `PH2_dataset.txt` in its place, at any depth",
    gives=("diagnosis_confirm_type", "image_type"),
    remark="common and atypical nevi are `NV`; a histological diagnosis, where there is one, confirms; "
    "masks are not "
    "read",
)
_CLASSES = {"Common Nevus": "nevus", "Atypical Nevus": "nevus", "Melanoma": "melanoma"}
_NUMBERS = {"0": "nevus", "1": "nevus", "2": "melanoma"}


def recognises(found: Contents) -> bool:
    """Whether its description is there."""
    return bool(found.named(r"PH2_dataset\.(?:xlsx|txt)"))


def read(found: Contents) -> Collection:
    """Read it. Raises InputError."""
    sheets = found.named(r"PH2_dataset\.xlsx")
    path = sheets[0] if sheets else found.named(r"PH2_dataset\.txt")[0]
    table = _of_sheet(path) if sheets else _of_text(path)
    return with_photographs(found, table.assign(image_type="dermoscopic"), path.name)


def _of_sheet(path: Path) -> pd.DataFrame:
    """The rows below the line that begins with `Image Name`, under which a class has an X."""
    cells = pd.DataFrame([fields for _, fields in read_rows(path)]).fillna("")
    starts = [row for row in range(len(cells)) if "Image Name" in set(cells.iloc[row])]
    if not starts:
        raise InputError(f"{path} has no column 'Image Name'; expected the description of PH².")
    header = list(cells.iloc[starts[0]])
    rows = cells.iloc[starts[0] + 1 :].set_axis(header, axis=1)
    rows = rows.loc[:, [bool(name) for name in header]]
    rows = rows[rows["Image Name"].str.fullmatch(r"IMD\d+")]
    named = [[name for name in _CLASSES if row.get(name, "")] for row in rows.to_dict("records")]
    wrong = [i for i, classes in zip(rows["Image Name"], named, strict=True) if len(classes) != 1]
    if wrong:
        raise InputError(f"{path} marks not one class but none or several for {', '.join(wrong[:5])}.")
    histology = rows["Histological Diagnosis"] if "Histological Diagnosis" in rows.columns else ""
    return pd.DataFrame({"image_id": rows["Image Name"], "histology": histology}).assign(
        diagnosis=[_CLASSES[classes[0]] for classes in named],
        diagnosis_confirm_type=lambda t: ["histopathology" if text else "" for text in t["histology"]],
    )


def _of_text(path: Path) -> pd.DataFrame:
    """The rows of the text, `|| Name || Histological Diagnosis || Clinical Diagnosis || …`."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = [[cell.strip() for cell in re.split(r"\|\|?", line.strip().strip("|"))] for line in lines]
    found = [row for row in rows if len(row) > 2 and re.fullmatch(r"IMD\d+", row[0])]
    wrong = [row[0] for row in found if row[2] not in _NUMBERS]
    if wrong or not found:
        raise InputError(
            f"{path} is not a description of PH²: expected rows of IMD… with a clinical diagnosis of 0, 1 "
            "or 2" + (f", not {wrong[0]}'s." if wrong else ".")
        )
    return pd.DataFrame(
        [(row[0], _NUMBERS[row[2]], "histopathology" if row[1] else "") for row in found],
        columns=["image_id", "diagnosis", "diagnosis_confirm_type"],
    )
