"""BCN20000, as Figshare has it; from the ISIC Archive it is read as an archive's download."""

from __future__ import annotations

from dermsentry.collection.layouts.challenge import tables_of
from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.layouts.photographs import stacked, with_photographs
from dermsentry.collection.table import Collection

ABOUT = About(
    name="BCN20000",
    published="https://doi.org/10.6084/m9.figshare.24140028",
    licence="CC BY-NC 4.0",
    recognised="`bcn_20k_train.csv` or `bcn_20k_test.csv`, at any depth",
    gives=("split", "lesion_id", "age", "sex", "site"),
    remark="the test has no labels",
)
_TABLE = r"bcn_20k_{part}\.csv"


def recognises(found: Contents) -> bool:
    """Whether one of the tables is there."""
    return bool(tables_of(found, _TABLE))


def read(found: Contents) -> Collection:
    """Read it. Raises InputError."""
    tables = tables_of(found, _TABLE)
    special = {"bcn_filename": "image_id"}
    table = stacked([(found.read(path, "image_id", special=special), split) for path, split in tables])
    return with_photographs(found, table, ", ".join(path.name for path, _ in tables))
