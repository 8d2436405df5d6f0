"""The nine-class set: the folders of the assignment that the nine diagnoses come from."""

from __future__ import annotations

from dermsentry.collection.layouts import class_folders
from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.table import Collection
from dermsentry.diagnoses import CODES

ABOUT = About(
    name="Skin cancer ISIC, nine classes",
    published="https://www.kaggle.com/datasets/nodoubttome/skin-cancer9-classesisic",
    licence="that of the ISIC Archive's photographs in it",
    recognised="`Train/` and `Test/` with a folder for each of the nine diagnoses, at any depth",
    gives=("split",),
    remark="`metadata.csv` or `--metadata` adds lesions",
)


def recognises(found: Contents) -> bool:
    """Whether there are Train and Test, and a folder of each of the nine."""
    if found.table is not None:
        return False
    names = {name.casefold() for name in found.folder_names}
    labels = {found.vocabulary(name) for name in found.folder_names}
    return {"train", "test"} <= names and set(CODES) <= labels


def read(found: Contents) -> Collection:
    """Read it, as any class folders. Raises InputError."""
    return class_folders.read(found)
