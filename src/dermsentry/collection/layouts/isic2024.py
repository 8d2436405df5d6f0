"""ISIC 2024 (SLICE-3D), as the challenge has it or as Kaggle does: files, or one HDF5 file."""

from __future__ import annotations

from pathlib import Path

from dermsentry.collection.labels import FALLBACK, LEVELS, truths
from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.layouts.photographs import fill_in, with_photographs
from dermsentry.collection.table import Collection
from dermsentry.errors import require_extra

ABOUT = About(
    name="ISIC 2024 (SLICE-3D)",
    published="https://doi.org/10.34970/2024-slice-3d",
    licence="CC BY-NC 4.0 or CC BY 4.0, in `copyright_license`",
    recognised="`train-metadata.csv` with `isic_id` and `target`, as on Kaggle; or "
    "`ISIC_2024_Training_GroundTruth.csv`, with `ISIC_2024_Training_Supplement.csv` beside it",
    gives=("patient_id", "lesion_id", "age", "sex", "site", "image_type", "copyright_license", "attribution"),
    remark="photographs are read from files, or from `train-image.hdf5` (needs the extra `hdf5`); "
    "diagnoses from "
    "`iddx_1` to `iddx_5`, else `target` 1 is any malignant, 0 any benign diagnosis",
)
_KAGGLE, _TRUTH = r"train-metadata\.csv", r"ISIC_2024_(?:Permissive_)?Training_GroundTruth\.csv"


def recognises(found: Contents) -> bool:
    """Whether the training labels are there."""
    return bool(_tables(found))


def read(found: Contents) -> Collection:
    """Read it. Raises InputError."""
    path, *further = _tables(found)
    table, notes = found.read(path, "image_id"), []
    for other in further:
        table, told = fill_in(table, found.read(other, "image_id"))
        notes += [f"{other.name}: {line}" for line in told]
    levels = {f"iddx_{level}": ours for level, ours in enumerate(LEVELS, 1)}
    table = table.rename(columns={"malignant": "target", **levels})
    table = table.drop(columns=[column for column in table.columns if column.startswith("tbp_")])
    if "target" in table.columns:
        malignant = truths(table, ["target"], str(path))[:, 0]
        # The target of what is indeterminate is 0 as well.
        first = table[LEVELS[0]].str.casefold() if LEVELS[0] in table.columns else table["target"]
        said = zip(table["target"] != "", malignant, first == "indeterminate", strict=True)
        table[FALLBACK] = [
            "" if open_ or not told else "malignant" if one else "benign" for told, one, open_ in said
        ]
    tests = found.named(r"test-metadata\.csv")
    notes += [f"{found.used(test).name}: a table without labels, not read" for test in tests]
    stored = found.named(r"train-image\.hdf5")
    if stored:
        require_extra("hdf5")
    return with_photographs(
        found, table, path.name, left_alone=tuple(notes), stored=stored[0] if stored else None
    )


def _tables(found: Contents) -> list[Path]:
    """The training labels, and what else is known of their photographs."""
    kaggle = [path for path in found.named(_KAGGLE) if {"image_id", "target"} <= found.columns(path)]
    further = found.named(r"ISIC_2024_(?:Permissive_)?Training_(?:Supplement|Metadata)\.csv")
    labels = kaggle or found.named(_TRUTH)
    return [*labels[:1], *further] if labels else []
