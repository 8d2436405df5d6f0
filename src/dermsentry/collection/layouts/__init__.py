"""The published layouts of a collection, a module for each: whether a folder has it, and how to read it.

A new layout is a module with `ABOUT`, `recognises` and `read`, and its place in `LAYOUTS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from dermsentry.collection.columns import require_headings
from dermsentry.collection.joins import join_collections, join_metadata
from dermsentry.collection.labels import Vocabulary, read_vocabulary
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
from dermsentry.collection.lesions import add_published_lesions
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
    data: str | Path,
    *,
    metadata: str | Path | None = None,
    diagnoses: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    images: str | Path | None = None,
    published_lesions: bool = True,
) -> Collection:
    """Read a labelled collection.

    Parameters
    ----------
    data
        A folder as a published set unpacks it, class folders (with or without Train/Test above them, at any
        depth), a folder with a label table by image id and photographs, or a table (CSV, Excel) with `path`
        or `image_id`, `diagnosis`, and any of the other `COLUMNS`. The layouts are listed in
        `docs/layouts.md`.
    metadata
        A table by `image_id` (or `image`) that adds lesion, patient, age, sex, site or skin type where the
        collection itself does not say them.
    diagnoses
        A CSV with the columns `given` and `diagnosis` for names of diagnoses that are not understood, such as
        `audit` writes to be filled in. An empty `diagnosis` is unknown.
    columns
        Headings of these tables by our names, such as `{"diagnosis": "Befund (Histo)"}`, where they are
        others.
    images
        The folder of the photographs, where `data` is a table in another folder.
    published_lesions
        Whether to use what HAM10000 and ISIC 2019 publish of lesions where the photographs have ISIC ids: the
        column `published_lesion`, by which photographs of one lesion belong together in any source.

    Returns
    -------
    Collection
        A row for each photograph, ordered by path. No photograph has been opened. `unknown_diagnoses` lists
        what was not understood.

    Raises
    ------
    InputError
        `data` is missing, holds no photographs, or names no diagnosis that is understood (all are listed);
        `metadata` is not a table by image id; `diagnoses` is no such mapping; or no table has a heading of
        `columns`.
    """
    require_columns(columns or {}, [data, metadata])
    return read_collections(
        [data],
        metadata=metadata,
        diagnoses=diagnoses,
        columns=columns,
        images=images,
        published_lesions=published_lesions,
    )


def read_collections(
    data: Sequence[str | Path],
    *,
    metadata: str | Path | None = None,
    diagnoses: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    images: str | Path | None = None,
    published_lesions: bool = True,
) -> Collection:
    """Read collections and join them into one; parameters and errors as `read_collection`.

    A heading of `columns` that no table has is passed over: `require_columns` tells.
    """
    vocabulary = read_vocabulary(None if diagnoses is None else Path(diagnoses))
    folder = None if images is None else Path(images)
    read = [_read(Path(path), vocabulary, columns or {}, folder) for path in data]
    collection = read[0] if len(read) == 1 else join_collections(read)
    if metadata is not None:  # of all together: a table may be about one of them alone
        collection = join_metadata(collection, Path(metadata), columns)
    return add_published_lesions(collection) if published_lesions else collection


def require_columns(columns: Mapping[str, str], tables: Iterable[str | Path | None]) -> None:
    """Raise InputError where a user's heading is in none of these tables, or the tables of these folders."""
    if not columns:
        return
    given = [Path(path) for path in tables if path is not None]
    inside = [Contents(p, None, Vocabulary()).tables_with() for p in given if p.is_dir()]
    require_headings(columns, [*(p for p in given if p.is_file()), *chain.from_iterable(inside)])


def _read(path: Path, vocabulary: Vocabulary, columns: Mapping[str, str], images: Path | None) -> Collection:
    try:
        if not path.exists():
            raise InputError(f"{path} does not exist; expected a folder of photographs or a CSV file.")
        given = path if path.is_file() else None
        if images is not None and (given is None or not images.is_dir()):
            wrong = f"{path}, which is not a table" if given is None else f"{images}, which is not a folder"
            raise InputError(f"Received {wrong}; expected a table and the folder of its photographs.")
        found = Contents(images or (path.parent if given else path), given, vocabulary, columns)
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
    if not len(collection):
        if found.table is not None:
            raise InputError(f"{path} has no rows below its columns; expected one for each photograph.")
        if collection.not_read:
            raise InputError(
                f"{path} gives no photographs to read: {'; '.join(by_reason(collection.not_read))}."
            )
        raise InputError(f"{path} holds no photographs; expected {READ} in class folders.")
    return collection
