"""The published layouts of a collection, a module for each: whether a folder has it, and how to read it.

A new layout is a module with `ABOUT`, `recognises` and `read`, and its place in `LAYOUTS`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dermsentry.collection.joins import join_metadata
from dermsentry.collection.labels import read_vocabulary
from dermsentry.collection.layouts import (
    bcn20000,
    class_folders,
    csv_table,
    ddi,
    derm7pt,
    fitzpatrick17k,
    ham10000,
    isic2016,
    isic2017,
    isic2018,
    isic2019,
    isic2020,
    isic2024,
    isic_archive,
    labelled_folder,
    melanoma_10000,
    milk10k,
    nine_class,
    pad_ufes_20,
    ph2,
)
from dermsentry.collection.layouts.contents import Contents, Layout
from dermsentry.collection.layouts.photographs import NO_ROW
from dermsentry.collection.table import Collection
from dermsentry.errors import InputError
from dermsentry.image_files import by_reason
from dermsentry.image_formats import READ

LAYOUTS: tuple[Layout, ...] = (
    nine_class,
    ham10000,
    isic2016,
    isic2017,
    isic2018,
    isic2019,
    isic2020,
    isic2024,
    milk10k,
    bcn20000,
    isic_archive,
    pad_ufes_20,
    derm7pt,
    ph2,
    fitzpatrick17k,
    ddi,
    melanoma_10000,
    labelled_folder,
    csv_table,
    class_folders,
)
"""The first one that recognises what is there reads it."""

_ANY = (labelled_folder, csv_table, class_folders)
"""What many a published set looks like too."""


def read_collection(
    data: str | Path, *, metadata: str | Path | None = None, diagnoses: str | Path | None = None
) -> Collection:
    """Read a labelled collection.

    Parameters
    ----------
    data
        A folder as a published set unpacks it, class folders (with or without Train/Test above them, at any
        depth), a folder with a label table by image id and photographs, or a CSV file with `path,diagnosis`
        and any of the other `COLUMNS`. The layouts are listed in `docs/layouts.md`.
    metadata
        A CSV by `image_id` (or `image`) that adds lesion, patient, age, sex, site or skin type where the
        collection itself does not say them.
    diagnoses
        A CSV with the columns `given` and `diagnosis` for names of diagnoses that are not understood, such as
        `audit` writes to be filled in. An empty `diagnosis` is unknown.

    Returns
    -------
    Collection
        A row for each photograph, ordered by path. No photograph has been opened. `unknown_diagnoses` lists
        what was not understood.

    Raises
    ------
    InputError
        `data` is missing, holds no photographs, or names no diagnosis that is understood (all are listed);
        `metadata` is not a table by image id; or `diagnoses` is no such mapping.
    """
    path = Path(data)
    vocabulary = read_vocabulary(None if diagnoses is None else Path(diagnoses))
    try:
        if not path.exists():
            raise InputError(f"{path} does not exist; expected a folder of photographs or a CSV file.")
        given = path if path.is_file() else None
        found = Contents(path.parent if given else path, given, vocabulary)
        layout, *others = (layout for layout in LAYOUTS if layout.recognises(found))
        collection = layout.read(found)
        told = found.passed_over()
        also = [other.ABOUT.name for other in others if other not in _ANY]
        if also and any(one.reason == NO_ROW for one in collection.not_read):
            told.append(
                f"read as {layout.ABOUT.name}; {', '.join(also)} is here too: give the folder of each set"
            )
        collection = replace(collection, left_alone=(*collection.left_alone, *told))
    except OSError as error:
        raise InputError(f"Cannot read {error.filename or path}: {error.strerror or error}.") from error
    if metadata is not None:
        collection = join_metadata(collection, Path(metadata))
    if not len(collection):
        if found.table is not None:
            raise InputError(f"{path} has no rows below its columns; expected one for each photograph.")
        if collection.not_read:
            raise InputError(
                f"{path} gives no photographs to read: {'; '.join(by_reason(collection.not_read))}."
            )
        raise InputError(f"{path} holds no photographs; expected {READ} in class folders.")
    return collection
