"""The published layouts of a collection, a module for each: whether a path has it, and how to read it.

A new layout is a module with `recognises` and `read`, and its place in `LAYOUTS`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from dermsentry.collection.joins import join_metadata
from dermsentry.collection.layouts import class_folders, csv_table, ham10000, isic2017, isic_ground_truth
from dermsentry.collection.table import Collection
from dermsentry.errors import InputError
from dermsentry.image_formats import READ


class Layout(Protocol):
    """What a module of a layout has."""

    def recognises(self, path: Path) -> bool:
        """Whether an existing file or folder has this layout."""

    def read(self, path: Path) -> Collection:
        """Read it. Raises InputError."""


LAYOUTS: tuple[Layout, ...] = (ham10000, isic2017, isic_ground_truth, csv_table, class_folders)
"""The first one that recognises a path reads it."""


def read_collection(data: str | Path, *, metadata: str | Path | None = None) -> Collection:
    """Read a labelled collection.

    Parameters
    ----------
    data
        A folder of class folders (with or without Train/Test above them, at any depth), HAM10000's folder
        (`metadata.csv`, `images/`), ISIC 2017's (`labels.csv`, `train/`, `val/`, `test/`), a folder with
        `labels.csv` and `images/`, a folder with an ISIC ground truth of one column per diagnosis, or a CSV
        file with `path,diagnosis` and any of the other `COLUMNS`.
    metadata
        A CSV by `image_id` (or `image`) that adds lesion, patient, age, sex, site or skin type where the
        collection itself does not say them.

    Returns
    -------
    Collection
        A row for each photograph, ordered by path. No photograph has been opened.

    Raises
    ------
    InputError
        `data` is missing, holds no photographs, or names diagnoses that are unknown (all are listed); or
        `metadata` is not a table by image id.
    """
    path = Path(data)
    try:
        if not path.exists():
            raise InputError(f"{path} does not exist; expected a folder of photographs or a CSV file.")
        collection = next(layout for layout in LAYOUTS if layout.recognises(path)).read(path)
    except OSError as error:
        raise InputError(f"Cannot read {error.filename or path}: {error.strerror or error}.") from error
    if metadata is not None:
        collection = join_metadata(collection, Path(metadata))
    if not len(collection):
        raise InputError(f"{path} holds no photographs; expected {READ} in class folders.")
    return collection
