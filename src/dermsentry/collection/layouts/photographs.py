"""Photographs in folders: those there are, and those that a label table names by image id."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dermsentry.collection.table import Collection, ordered
from dermsentry.errors import InputError
from dermsentry.image_files import NotRead, walk

_NO_FILE = "the label table names it, and no photograph here has its name"


def with_photographs(
    root: Path, table: pd.DataFrame, folder: str = ".", left_alone: tuple[str, ...] = ()
) -> Collection:
    """The collection of a table by image id whose photographs are anywhere below `root/folder`.

    What the table does not name is added to `left_alone`, what has no photograph is in `not_read`. Raises
    InputError where the table gives an image id two diagnoses, or none of its rows has a photograph.
    """
    table = table.assign(source=table["source"] if "source" in table.columns else root.resolve().name)
    disputed = table.drop_duplicates(["image_id", "diagnosis"])["image_id"].duplicated()
    if disputed.any():
        named = table["image_id"][disputed.index[disputed]].iloc[0]
        raise InputError(
            f"The label table of {root} gives {int(disputed.sum())} image ids two diagnoses, "
            f"such as {named}; keep one row of each."
        )
    files, not_read = _by_stem(root, folder)
    paths = [files.get(image_id, [""])[0] for image_id in table["image_id"]]
    if files and len(paths) and not any(paths):
        raise InputError(
            f"The label table of {root} names none of its photographs: it has ids such as "
            f"{table['image_id'].iloc[0]!r}, the photographs such as {next(iter(files))!r}."
        )
    table["path"] = paths
    not_read += [NotRead(name, _NO_FILE) for name in table.loc[table["path"] == "", "image_id"].unique()]
    kept = table[table["path"] != ""].drop_duplicates("path")
    beside = _beside(files, set(table["image_id"]))
    return Collection(root, ordered(kept.reset_index(drop=True)), (*left_alone, *beside), tuple(not_read))


def _by_stem(root: Path, folder: str) -> tuple[dict[str, list[str]], list[NotRead]]:
    """Relative paths of the photographs below `root/folder` by their stem, and what is not read there."""
    files: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    not_read = []
    for found in walk(root / folder):
        below = found.path.relative_to(root)
        for names, by_stem in ((found.photographs, files), (found.unsupported, others)):
            for name in names:
                by_stem.setdefault(Path(name).stem, []).append((below / name).as_posix())
        not_read += [NotRead((Path(folder) / one.path).as_posix(), one.reason) for one in found.not_read]
    # A photograph of a kind that is not read has its row where there is no other one: it is found unreadable.
    return {stem: [*files.get(stem, ()), *others.get(stem, ())] for stem in (files | others)}, not_read


def _beside(files: dict[str, list[str]], wanted: set[str]) -> list[str]:
    """What the table does not name, in words."""
    unnamed = sorted(path for stem, found in files.items() if stem not in wanted for path in found)
    again = sorted(path for stem, found in files.items() if stem in wanted for path in found[1:])
    lines = []
    if unnamed:
        lines.append(f"{len(unnamed)} photographs that the label table does not name, such as {unnamed[0]}")
    if again:
        lines.append(f"{len(again)} further files of an image id, such as {again[0]}")
    return lines
