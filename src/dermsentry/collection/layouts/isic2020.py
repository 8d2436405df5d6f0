"""ISIC 2020, as the challenge has it or as Kaggle's SIIM-ISIC competition does."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dermsentry.collection.labels import FALLBACK, truths
from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.layouts.photographs import fill_in, stacked, with_photographs
from dermsentry.collection.table import Collection
from dermsentry.csv_tables import read_table

ABOUT = About(
    name="ISIC 2020 (SIIM-ISIC)",
    published="https://challenge.isic-archive.com/data/#2020",
    licence="CC BY-NC 4.0",
    recognised="`ISIC_2020_Training_GroundTruth.csv` or `_v2.csv`; or `train.csv` with `image_name`, "
    "`patient_id` and "
    "`target`, as on Kaggle",
    gives=("split", "patient_id", "lesion_id", "age", "sex", "site"),
    remark="`target` 1 is melanoma, 0 any benign diagnosis; the test has no labels; photographs that "
    "`ISIC_2020_Training_Duplicates.csv` names belong together",
)
_TRUTH = r"ISIC_2020_Train(?:ing)?_GroundTruth(?:_v2)?\.csv"
_TEST = r"ISIC_2020_Test_Metadata\.csv"
_SPECIAL = {"patient": "patient_id"}


def recognises(found: Contents) -> bool:
    """Whether the training labels are there."""
    return bool(_training(found))


def read(found: Contents) -> Collection:
    """Read it. Raises InputError."""
    training, notes = _training(found), []
    path = training[0]
    table = found.read(path, "image_id", "target", special=_SPECIAL)
    for other in training[1:]:
        table, told = fill_in(table, found.read(other, "image_id", special=_SPECIAL))
        notes += [f"{other.name}: {line}" for line in told]
    melanoma = truths(table, ["target"], str(path))[:, 0]
    benign = (
        table["benign_malignant"].str.casefold() == "benign"
        if "benign_malignant" in table.columns
        else pd.Series(False, table.index)
    )
    known = table["target"] != ""
    table[FALLBACK] = [
        "" if not told else "melanoma" if one else "benign" if other else "not melanoma"
        for told, one, other in zip(known, melanoma, benign, strict=True)
    ]
    parts = [(table, "train")]
    tests = found.named(_TEST) or [p for p in found.named(r"test\.csv") if "image_id" in found.columns(p)]
    if tests:
        parts.append((found.read(tests[0], "image_id", special=_SPECIAL), "test"))
    table = _with_duplicates(
        stacked(parts), [*map(found.used, found.named(r"ISIC_2020_Training_Duplicates\.csv"))]
    )
    names = ", ".join(file.name for file in (path, *tests[:1]))
    return with_photographs(found, table, names, left_alone=tuple(notes))


def _training(found: Contents) -> list[Path]:
    """The training labels, the one with most columns first."""
    kaggle = [
        path
        for path in found.named(r"train\.csv")
        if {"image_id", "patient_id", "target"} <= found.columns(path, _SPECIAL)
    ]
    return sorted(found.named(_TRUTH), key=lambda path: "_v2" not in path.name) or kaggle


def _with_duplicates(table: pd.DataFrame, files: list[Path]) -> pd.DataFrame:
    """`table` with one lesion id for two photographs that a table of duplicates names."""
    if "lesion_id" not in table.columns:
        table["lesion_id"] = ""
    lesion = dict(zip(table["image_id"], table["lesion_id"], strict=True))
    for path in files:
        for first, second, *_ in read_table(path).itertuples(index=False):
            known = lesion.get(first) or lesion.get(second) or f"duplicate of {first}"
            lesion |= {name: lesion.get(name) or known for name in (first, second)}
    return table.assign(lesion_id=table["image_id"].map(lesion))
