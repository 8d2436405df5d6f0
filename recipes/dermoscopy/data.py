"""The dermoscopic sets that the bundled model learns from, split with every Test kept out."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from pathlib import Path

import pandas as pd

from dermsentry.audit.duplicates import find_duplicates
from dermsentry.collection import Collection, join_collections, read_collection, read_labels
from dermsentry.collection.groups import connected_groups, original_id
from dermsentry.diagnoses import narrow
from dermsentry.errors import InputError
from dermsentry.images import SUFFIXES
from dermsentry.split import Split, make_split
from dermsentry.training.balancing import drawing_weights
from dermsentry.training.batches import Views
from dermsentry.training.pixels import DecodedPhotographs

SETS = ("ham10000", "isic2017", "isic-archive", "isic9")
CROPS = "crops224"
"""In HAM10000's folder: centre crops of some of its photographs, sharper than the whole frames."""
LABELS = "labels/ISIC_2019_Training_GroundTruth.csv"
LESIONS = "labels/ISIC_2019_Training_Metadata.csv"
FRACTIONS = (0.78, 0.06, 0.06, 0.10)

LICENCES = (
    "HAM10000: CC BY-NC 4.0",
    "ISIC 2017 and the ISIC Archive: mostly CC0, some CC BY and CC BY-NC",
    "ISIC 2019 labels: CC BY-NC 4.0",
    "ImageNet weights of EfficientNet-Lite: Apache-2.0",
)
NON_LESIONS = "not-lesions"
"""Pictures without a lesion, which may be missing."""
WEIGHTS_LICENCE = "CC BY-NC 4.0: research and teaching, no commercial use"


def read_dermoscopy(data: str | Path) -> Collection:
    """Every photograph of the sets below `data`, with the lesions that ISIC 2019's metadata knows.

    A photograph may be there several times, at other sizes and crops, under one image id. `split` is `test`
    for what is never learned from, and `validation` for what may only choose.

    Raises InputError if a set is missing.
    """
    root = Path(data)
    wanted = (*SETS, LABELS, LESIONS)
    missing = [name for name in wanted if not (root / name).exists()]
    if missing:
        raise InputError(
            f"{root} has no {', '.join(missing)}; expected {', '.join(wanted)} as the model card lists them."
        )
    collections = [read_collection(root / name, metadata=root / LESIONS) for name in SETS]
    joined = join_collections([*collections, _crops(collections[0])])
    # The Train folder of a set says nothing against its photographs being held out.
    kept = joined.table["split"].where(joined.table["split"] != "train", "")
    return replace(joined, table=joined.table.assign(split=kept))


def non_lesions(data: str | Path) -> tuple[list[Path], list[Path]]:
    """The files of `NON_LESIONS` that a fit may see, and every second one, held out; none without folder."""
    folder = Path(data) / NON_LESIONS
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    return files[1::2], files[::2]


def without_tests(collection: Collection) -> Collection:
    """What may be learned from, chosen by or held out: everything but the sets' own Tests."""
    own = collection.table[collection.table["split"] != "test"]
    return replace(collection, table=own.reset_index(drop=True))


def split_dermoscopy(collection: Collection, data: str | Path, *, seed: int = 0, quiet: bool = True) -> Split:
    """Split by lesion and copy across all sets; whatever is connected with a Test is quarantined.

    The Tests themselves are no part of the split; its part `test` is lesions of HAM10000. What is connected
    with ISIC 2017's validation photographs is for validation.
    """
    # An ISIC id and a lesion's id mean the same in every one of these sets.
    everything = replace(collection, table=collection.table.assign(source="isic"))
    duplicates = find_duplicates(everything, quiet=quiet)
    table = everything.table
    group = pd.Series(connected_groups(table, duplicates.groups), index=table.index)
    test = table["split"] == "test"
    connected = group.isin(set(group[test])) & ~test
    left = ~test & ~connected
    learned = replace(everything, table=table[left].reset_index(drop=True))
    labels = read_labels(Path(data) / LABELS)
    split = make_split(
        replace(learned, table=learned.table.assign(split="")),
        labels=labels,
        fractions=FRACTIONS,
        seed=seed,
        duplicates=duplicates,
        strata=list(collection.table["source"][left]),
        quiet=quiet,
    )
    choosing = set(group[(table["split"] == "validation") & ~connected])
    group_of = dict(zip(table["path"], group, strict=True))
    moved = split.table["path"].map(group_of).isin(choosing) & (split.table["part"] != "quarantined")
    split.table.loc[moved, ["part", "reason"]] = ["validation", "connected with ISIC 2017's validation"]
    # HAM10000 has no Test of its own; the other sets have theirs, and too few melanomas to hold more out.
    rows = split.table
    ham10000 = set(rows.loc[rows["path"].str.startswith("ham10000/"), "group"])
    spare = (rows["part"] == "test") & ~rows["group"].isin(ham10000)
    rows.loc[spare, "part"] = "train"
    apart = pd.DataFrame(
        {
            "path": table["path"][connected],
            "image_id": table["image_id"][connected],
            "diagnosis": table["diagnosis"][connected],
            "group": group[connected],
            "part": "quarantined",
            "reason": "connected with a Test",
        }
    )
    whole = pd.concat([split.table, apart])
    return Split(whole.sort_values("path", kind="stable", ignore_index=True))


def _crops(ham10000: Collection) -> Collection:
    """The centre crops as a collection of their own, with what HAM10000 knows of them."""
    files = {path.stem: path for path in sorted((ham10000.root / CROPS).glob("*.jpg"))}
    table = ham10000.table[ham10000.table["image_id"].isin(files)].reset_index(drop=True)
    paths = [f"{CROPS}/{files[image_id].name}" for image_id in table["image_id"]]
    return Collection(ham10000.root, table.assign(path=paths, source=CROPS))


def views(split: Split, part: str, collection: Collection, decoded: DecodedPhotographs) -> Views:
    """The photographs of a part of the split, each with all its files.

    A photograph's label is what all its files allow together: `SK` where one says `PBK|SK` and one `SK`.
    """
    row_of = {path: row for row, path in enumerate(collection.table["path"])}
    table = split.table[split.table["part"] == part]
    table = table.assign(row=table["path"].map(row_of), source=[path.split("/")[0] for path in table["path"]])
    table = table[~table["row"].isin(list(decoded.unreadable))]
    rows, labels, sources = [], [], []
    for _, own in table.groupby(table["image_id"].map(original_id), sort=True):
        rows.append(tuple(int(row) for row in own["row"]))
        labels.append(reduce(narrow, own["diagnosis"]))
        sources.append(own["source"].iloc[0])
    return Views(decoded.pixels, tuple(rows), tuple(labels), drawing_weights(labels, sources))
