"""ISIC 2019."""

from __future__ import annotations

from dermsentry.collection.layouts.challenge import read_one_hot, tables_of
from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.table import Collection

ABOUT = About(
    name="ISIC 2019",
    published="https://challenge.isic-archive.com/data/#2019",
    licence="CC BY-NC 4.0",
    recognised="`ISIC_2019_*_GroundTruth.csv`, at any depth",
    gives=("split", "lesion_id", "age", "sex", "site"),
    remark="with or without `_downsampled` in the names; `BKL` is `PBK|SK`, `UNK` unknown",
)
_TRUTH = r"ISIC_2019_{part}_GroundTruth\.csv"


def recognises(found: Contents) -> bool:
    """Whether a ground truth is there."""
    return bool(tables_of(found, _TRUTH))


def read(found: Contents) -> Collection:
    """Read it. Raises InputError."""
    return read_one_hot(found, _TRUTH, [r"ISIC_2019_{part}_Metadata\.csv"])
