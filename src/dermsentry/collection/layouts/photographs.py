"""Photographs in folders: those there are, and those that a label table names by image id."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from dermsentry.collection.columns import IMAGE_SUFFIX
from dermsentry.collection.table import Collection, ordered
from dermsentry.errors import InputError

_JUNK_FILES = {".ds_store", "thumbs.db", "desktop.ini"}
_JUNK_FOLDERS = {"__macosx"}


def walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Folders below `root` in order, with their photographs and other files; links to folders are left."""

    def refuse(error: OSError) -> None:
        raise InputError(f"Cannot read {error.filename}: {error.strerror}.")

    for name, folders, files in os.walk(root, onerror=refuse):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f.lower() not in _JUNK_FOLDERS)
        kept = sorted(f for f in files if not f.startswith(".") and f.lower() not in _JUNK_FILES)
        photographs = [f for f in kept if IMAGE_SUFFIX.search(f)]
        yield Path(name), photographs, [f for f in kept if not IMAGE_SUFFIX.search(f)]


def with_photographs(
    root: Path, table: pd.DataFrame, folder: str = ".", left_alone: tuple[str, ...] = ()
) -> Collection:
    """The collection of a table by image id whose photographs are anywhere below `root/folder`.

    What has no photograph, and what the table does not name, is added to `left_alone`. Raises InputError
    where the table gives an image id two diagnoses.
    """
    table = table.assign(source=table["source"] if "source" in table.columns else root.resolve().name)
    disputed = table.drop_duplicates(["image_id", "diagnosis"])["image_id"].duplicated()
    if disputed.any():
        named = table["image_id"][disputed.index[disputed]].iloc[0]
        raise InputError(
            f"The label table of {root} gives {int(disputed.sum())} image ids two diagnoses, "
            f"such as {named}; keep one row of each."
        )
    table["path"], beside = _find_by_id(root, folder, table["image_id"])
    kept = table[table["path"] != ""].drop_duplicates("path")
    return Collection(root, ordered(kept.reset_index(drop=True)), (*left_alone, *beside))


def _find_by_id(root: Path, folder: str, image_ids: pd.Series[str]) -> tuple[list[str], list[str]]:
    """Relative path of each image id below `root/folder`, `""` where missing; and what is left alone."""
    files: dict[str, list[str]] = {}
    for place, photographs, _ in walk(root / folder):
        below = place.relative_to(root)
        for name in photographs:
            files.setdefault(Path(name).stem, []).append((below / name).as_posix())
    paths = [files.get(image_id, [""])[0] for image_id in image_ids]
    wanted = set(image_ids)
    unnamed = sorted(path for stem, found in files.items() if stem not in wanted for path in found)
    again = sorted(path for stem, found in files.items() if stem in wanted for path in found[1:])
    left_alone = []
    if missing := paths.count(""):
        left_alone.append(f"{missing} rows of the label table have no photograph in {folder}/")
    if unnamed:
        left_alone.append(
            f"{len(unnamed)} photographs that the label table does not name, such as {unnamed[0]}"
        )
    if again:
        left_alone.append(f"{len(again)} further files of an image id, such as {again[0]}")
    return paths, left_alone
