"""HAM10000, from Kaggle or from the Harvard Dataverse."""

from __future__ import annotations

from dermsentry.collection.layouts.challenge import one_of
from dermsentry.collection.layouts.contents import About, Contents, listed
from dermsentry.collection.layouts.photographs import stacked, with_photographs
from dermsentry.collection.table import Collection

ABOUT = About(
    name="HAM10000",
    published="https://doi.org/10.7910/DVN/DBW86T",
    licence="CC BY-NC 4.0",
    recognised="`HAM10000_metadata.csv` or `.tab`, at any depth; also Kaggle's `skin-cancer-mnist-ham10000`",
    gives=("lesion_id", "age", "sex", "site", "source", "diagnosis_confirm_type", "split"),
    remark="`bkl` is `PBK|SK`, `akiec` is `AK|SCC`; `hmnist_*.csv` and masks are not read; the test set "
    "of the "
    "Dataverse is the split `test`",
)
_TABLE = r"HAM10000_metadata(?:\.csv|\.tab|\.tsv|\.txt)?"
_TEST = r"ISIC2018_Task3_Test_GroundTruth\.(?:tab|csv)"
_CONFIRMED = {
    "histo": "histopathology",
    "follow_up": "serial imaging showing no change",
    "consensus": "single image expert consensus",
    "confocal": "confocal microscopy with consensus dermoscopy",
}


def recognises(found: Contents) -> bool:
    """Whether the metadata are there."""
    return bool(found.named(_TABLE))


def read(found: Contents) -> Collection:
    """Read it. Raises InputError."""
    path = one_of(found, found.named(_TABLE))
    special = {"dataset": "source"}
    table = found.read(path, "image_id", "diagnosis", special=special)
    tests = [t for t in found.named(_TEST) if {"image_id", "diagnosis"} <= found.columns(t)]
    if tests:
        held_out = found.read(one_of(found, tests), "image_id", "diagnosis", special=special)
        table = stacked([(table, "train"), (held_out, "test")])
    if "diagnosis_confirm_type" in table.columns:
        table["diagnosis_confirm_type"] = table["diagnosis_confirm_type"].replace(_CONFIRMED)
    numbers = found.named(r"hmnist_.*\.csv")
    left_alone = (f"{listed(numbers, found.root)}: pixels as numbers, not read",) if numbers else ()
    return with_photographs(found, table, path.name, left_alone=left_alone)
