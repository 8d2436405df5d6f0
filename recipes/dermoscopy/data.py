"""The dermoscopic sets that the bundled model learns from, split with every Test kept out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.audit.duplicates import find_duplicates
from dermsentry.collection import Collection, join_collections, read_collection, read_labels
from dermsentry.collection.groups import connected_groups, original_id
from dermsentry.collection.joins import join_metadata
from dermsentry.diagnoses import MELANOMA, narrow
from dermsentry.errors import InputError
from dermsentry.evaluation.saliency.masks import find_masks
from dermsentry.image_formats import SUFFIXES
from dermsentry.images import Aspect
from dermsentry.split import Split, make_split

SETS = ("ham10000", "isic2017", "isic-archive", "isic9")
BARCELONA = "isic2019-84"
"""BCN20000 and a few others of ISIC 2019, none of which the other sets hold."""
CROPS = "crops224"
"""In HAM10000's folder: centre crops of some of its photographs, sharper than the whole frames."""
LABELS = "labels/ISIC_2019_Training_GroundTruth.csv"
LESIONS = "labels/ISIC_2019_Training_Metadata.csv"
FRACTIONS = (0.78, 0.06, 0.06, 0.10)
SAME = frozenset({"ISIC_0011295"})
"""Of `BARCELONA`: a photograph that the other sets hold under another id."""

HOSPITALS = ("HAM10000 (Vienna, Queensland)", "ISIC 2017 and archive", "BCN20000 (Barcelona)")
SHARPEST = ("ham10000/images/", "isic-archive/", "isic2017/", f"{BARCELONA}/", "isic9/", "ham10000/")
"""Folders of files, the first the whole frames as sharp as they are."""
MELANOMAS = 0.25
"""The share of melanomas among what is drawn from each hospital."""

LICENCES = (
    "HAM10000: CC BY-NC 4.0",
    "BCN20000: CC BY-NC 4.0",
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
    wanted = (*SETS, BARCELONA, LABELS, LESIONS)
    missing = [name for name in wanted if not (root / name).exists()]
    if missing:
        raise InputError(
            f"{root} has no {', '.join(missing)}; expected {', '.join(wanted)} as the model card lists them."
        )
    collections = [read_collection(root / name) for name in (*SETS, BARCELONA)]
    apart = join_collections([*collections, _crops(collections[0])])
    # The sets share lesions by ISIC 2019's ids, and stay apart by name all the same.
    known = join_metadata(apart, root / LESIONS).table
    joined = replace(apart, table=known.assign(source=apart.table["source"]))
    # The Train folder of a set says nothing against its photographs being held out.
    kept = joined.table["split"].where(joined.table["split"] != "train", "")
    table = joined.table.assign(split=kept)
    again = table["path"].str.startswith(f"{BARCELONA}/") & table["image_id"].isin(SAME)
    return replace(joined, table=table[~again].reset_index(drop=True))


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
    barcelona = collection.table["path"].str.startswith(f"{BARCELONA}/")
    apart, collection = (
        replace(collection, table=collection.table[here].reset_index(drop=True))
        for here in (barcelona, ~barcelona)
    )
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
    connected_rows = pd.DataFrame(
        {
            "path": table["path"][connected],
            "image_id": table["image_id"][connected],
            "diagnosis": table["diagnosis"][connected],
            "group": group[connected],
            "part": "quarantined",
            "reason": "connected with a Test",
        }
    )
    whole = pd.concat([split.table, connected_rows, _split_barcelona(apart, seed)])
    return Split(whole.sort_values("path", kind="stable", ignore_index=True))


def _split_barcelona(collection: Collection, seed: int) -> pd.DataFrame:
    """The rows of a split by lesion, with no part `test`: other hospitals test better."""
    table = collection.table
    group = f"{BARCELONA}:" + table["lesion_id"].where(table["lesion_id"] != "", table["image_id"])
    names = np.unique(group)
    drawn = dict(zip(names, np.random.default_rng(seed).random(len(names)), strict=True))
    held_out = {"validation": 0.08, "calibration": 0.16}
    part = [next((p for p, end in held_out.items() if drawn[own] < end), "train") for own in group]
    columns = {name: table[name] for name in ("path", "image_id", "diagnosis")}
    return pd.DataFrame({**columns, "group": group, "part": part, "reason": ""})


def _crops(ham10000: Collection) -> Collection:
    """The centre crops as a collection of their own, with what HAM10000 knows of them."""
    files = {path.stem: path for path in sorted((ham10000.root / CROPS).glob("*.jpg"))}
    table = ham10000.table[ham10000.table["image_id"].isin(files)].reset_index(drop=True)
    paths = [f"{CROPS}/{files[image_id].name}" for image_id in table["image_id"]]
    return Collection(ham10000.root, table.assign(path=paths, source=CROPS))


def photographs(split: Split, collection: Collection) -> pd.DataFrame:
    """A row per photograph of the split: the rows of its files, its label, group, part and hospital.

    A label is what all files of a photograph allow together: `SK` where one says `PBK|SK` and one `SK`. The
    first file is the whole frame, as sharp as there is.
    """
    row_of = {path: row for row, path in enumerate(collection.table["path"])}
    table = split.table[split.table["part"] != "quarantined"]
    order = table["path"].map(lambda path: [path.startswith(own) for own in SHARPEST].index(True))
    table = table.assign(row=table["path"].map(row_of), order=order).sort_values("order", kind="stable")
    found = []
    for name, own in table.groupby(table["image_id"].map(original_id), sort=True):
        files = list(own["path"])
        found.append(
            {
                "photograph": name,
                "rows": tuple(int(row) for row in own["row"]),
                "diagnosis": reduce(narrow, own["diagnosis"]),
                "group": own["group"].iloc[0],
                "part": own["part"].iloc[0],
                "hospital": hospital_of(files),
            }
        )
    return pd.DataFrame(found)


def hospital_of(files: Sequence[str]) -> str:
    """Where the photograph with these files was taken, as far as the sets tell."""
    if any(path.startswith("ham10000/") for path in files):
        return HOSPITALS[0]
    return HOSPITALS[2] if files[0].startswith(f"{BARCELONA}/") else HOSPITALS[1]


def drawing_weights(labels: Sequence[str], hospitals: Sequence[str]) -> NDArray[np.float64]:
    """How often each photograph is drawn, (N,), adding up to 1: no hospital says anything of melanoma.

    A hospital is drawn as the square root of its photographs, a melanoma in `MELANOMAS` of its draws, and any
    other diagnosis as the square root of its photographs: a rare one is seen more often, and is not
    learned by heart.
    """
    table = pd.DataFrame({"label": labels, "hospital": hospitals})
    table["melanoma"] = table["label"] == MELANOMA
    own = table.groupby(["hospital", "melanoma", "label"])["label"].transform("size") ** -0.5
    within = own / own.groupby([table["hospital"], table["melanoma"]]).transform("sum")
    size = table["hospital"].map(table["hospital"].value_counts() ** 0.5)
    weights = within * size * np.where(table["melanoma"], MELANOMAS, 1 - MELANOMAS)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def published_masks(collection: Collection) -> dict[int, tuple[Path, Aspect]]:
    """HAM10000's masks, by row of the collection, and how each image was brought to a square."""
    table, found = collection.table, {}
    masks = find_masks(collection.root / "ham10000/masks", table["image_id"])
    for row, (path, image_id) in enumerate(zip(table["path"], table["image_id"], strict=True)):
        if path.startswith("ham10000/") and image_id in masks:
            aspect: Aspect = "crop" if f"/{CROPS}/" in path else "squash"
            found[row] = masks[image_id], aspect
    return found
