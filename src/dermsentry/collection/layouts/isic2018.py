"""ISIC 2018, Task 3."""

from __future__ import annotations

from dermsentry.collection.layouts.challenge import read_one_hot, tables_of
from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.table import Collection

ABOUT = About(
    name="ISIC 2018, Task 3",
    published="https://challenge.isic-archive.com/data/#2018",
    licence="CC BY-NC 4.0",
    recognised="`ISIC2018_Task3_*_GroundTruth.csv`, at any depth; Input, GroundTruth and LesionGroupings "
    "may be side by side",
    gives=("split", "lesion_id", "diagnosis_confirm_type"),
    remark="`BKL` is `PBK|SK`, `AKIEC` is `AK|SCC`",
)
_TRUTH = r"ISIC2018_Task3_{part}_GroundTruth\.csv"


def recognises(found: Contents) -> bool:
    """Whether a ground truth is there."""
    return bool(tables_of(found, _TRUTH))


def read(found: Contents) -> Collection:
    """Read it. Raises InputError."""
    return read_one_hot(found, _TRUTH, [r"ISIC2018_Task3_{part}_LesionGroupings\.csv"])
