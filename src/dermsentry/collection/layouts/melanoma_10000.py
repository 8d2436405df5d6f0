"""Kaggle's Melanoma Skin Cancer Dataset of 10000 Images: folders benign and malignant."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath

from dermsentry.collection.labels import Vocabulary
from dermsentry.collection.layouts import class_folders
from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.table import Collection
from dermsentry.diagnoses import MELANOMA

ABOUT = About(
    name="Melanoma Skin Cancer Dataset of 10000 Images",
    published="https://www.kaggle.com/datasets/hasnainjaved/melanoma-skin-cancer-dataset-of-10000-images",
    licence="that of the ISIC Archive's photographs in it",
    recognised="folders `benign` and `malignant` whose photographs are all named `melanoma_1.jpg`, "
    "`melanoma_2.jpg`, …",
    gives=("split",),
    remark="`malignant` is melanoma, `benign` any benign diagnosis",
)
_NAME = re.compile(r"melanoma_\d+", re.IGNORECASE)


def recognises(found: Contents) -> bool:
    """Whether all photographs are named so, in folders of these names."""
    if found.table is not None:
        return False
    holding = [folder for folder in found.folders if folder.photographs]
    if {folder.path.name.casefold() for folder in holding} != {"benign", "malignant"}:
        return False
    return all(_NAME.fullmatch(PurePosixPath(name).stem) for folder in holding for name in folder.photographs)


def read(found: Contents) -> Collection:
    """Read it. Raises InputError."""
    own = {"malignant": MELANOMA, **found.vocabulary.own}
    return class_folders.read(replace(found, vocabulary=Vocabulary(own)))
