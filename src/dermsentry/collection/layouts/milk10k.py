"""MILK10k: a clinical and a dermoscopic photograph of each lesion, labelled by lesion."""

from __future__ import annotations

from dermsentry.collection.labels import FALLBACK, decode_one_hot
from dermsentry.collection.layouts.challenge import tables_of
from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.layouts.photographs import fill_in, stacked, with_photographs
from dermsentry.collection.table import Collection

ABOUT = About(
    name="MILK10k",
    published="https://doi.org/10.34970/648456",
    licence="CC BY-NC 4.0",
    recognised="`MILK10k_*_Metadata.csv` with `lesion_id` and `isic_id`, at any depth",
    gives=(
        "split",
        "lesion_id",
        "age",
        "sex",
        "site",
        "image_type",
        "diagnosis_confirm_type",
        "copyright_license",
        "attribution",
    ),
    remark="the label of a lesion is that of both its photographs; `BEN_OTH` and `INF` are none of the "
    "nine and "
    "read as any benign diagnosis, `MAL_OTH` stays unknown; `skin_tone_class` is not a Fitzpatrick type and "
    "not read",
)
_METADATA, _TRUTH = r"MILK10k_{part}_Metadata\.csv", r"MILK10k_{part}_GroundTruth\.csv"
_OTHERS = {"BEN_OTH": "benign", "INF": "benign", "MAL_OTH": "malignant"}


def recognises(found: Contents) -> bool:
    """Whether the metadata are there."""
    return bool(tables_of(found, _METADATA))


def read(found: Contents) -> Collection:
    """Read it. Raises InputError."""
    notes: list[str] = []
    metadata = tables_of(found, _METADATA)
    table = stacked([(found.read(path, "image_id", "lesion_id"), split) for path, split in metadata])
    for path, _ in tables_of(found, _TRUTH):
        truth, told = decode_one_hot(found.read(path, "lesion_id"), str(path), tuple(_OTHERS))
        notes += told
        table, told = fill_in(table, truth[["lesion_id", "diagnosis"]], on="lesion_id")
        notes += [f"{path.name}: {line}" for line in told]
    for path, _ in tables_of(found, r"MILK10k_{part}_Supplement\.csv"):
        supplement = found.read(path, "image_id")
        kept = [c for c in ("image_id", "diagnosis_confirm_type") if c in supplement.columns]
        table, told = fill_in(table, supplement[kept])
        notes += [f"{path.name}: {line}" for line in told]
    if "diagnosis" in table.columns:
        table[FALLBACK] = table["diagnosis"].map(_OTHERS).fillna("")
    names = ", ".join(path.name for path, _ in metadata)
    return with_photographs(found, table, names, left_alone=tuple(notes))
