"""Class folders: the name of a folder on the way to a photograph is its diagnosis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dermsentry.collection.joins import join_metadata
from dermsentry.collection.table import SPLITS, Collection, ordered
from dermsentry.diagnoses import agree, find_label, name_of, narrow
from dermsentry.errors import InputError
from dermsentry.image_files import NotRead, walk

_OUTSIDE = "a picture of a kind that is not read, outside every class folder"
_READ = {"metadata.csv", "SYNTHETIC.txt"}  # the second marks a collection of phantoms


def recognises(path: Path) -> bool:
    """Whether `path` is anything but a file."""
    return not path.is_file()


def read(path: Path) -> Collection:
    """Read it, with `metadata.csv` if that is beside the folders. Raises InputError."""
    rows: list[dict[str, str]] = []
    unknown: dict[str, int] = {}
    unclear: list[str] = []
    classes: Counter[str] = Counter()
    others: list[str] = []
    not_read: list[NotRead] = []
    for folder in walk(path):
        others += folder.others
        not_read += folder.not_read
        photographs = folder.photographs
        inside = folder.path.relative_to(path).parts
        naming = [i for i, part in enumerate(inside) if find_label(part)]
        if not naming:
            if photographs:
                unknown["/".join(inside) or "."] = len(photographs)
            not_read += [NotRead("/".join((*inside, name)), _OUTSIDE) for name in folder.unsupported]
            continue
        # In a class folder, a picture of a kind that is not read has its row, and is found unreadable.
        photographs = sorted([*photographs, *folder.unsupported])
        # Folders inside a class are the user's own order, unless they name another diagnosis.
        label = ""
        for part in (inside[i] for i in naming):
            if not agree(label, find_label(part) or ""):
                unclear.append("/".join(inside))
                break
            label = narrow(label, find_label(part) or "")
        split = next((SPLITS[p.lower()] for p in reversed(inside[: naming[0]]) if p.lower() in SPLITS), "")
        classes["/".join(inside[: naming[0] + 1])] += len(photographs)
        rows += [
            {
                "path": "/".join((*inside, name)),
                "image_id": Path(name).stem,
                "diagnosis": label,
                "split": split,
            }
            for name in photographs
        ]
    _refuse(path, unknown, unclear)
    table = ordered(pd.DataFrame(rows, columns=["path", "image_id", "diagnosis", "split"]))
    empty = [
        f"{name}: a class folder without photographs" for name, count in sorted(classes.items()) if not count
    ]
    left_alone = (*empty, *_counted([f for f in others if f not in _READ]))
    collection = Collection(path, table, left_alone, tuple(not_read))
    metadata = path / "metadata.csv"
    return join_metadata(collection, metadata) if metadata.is_file() else collection


def _refuse(path: Path, unknown: dict[str, int], unclear: Sequence[str]) -> None:
    if unknown:
        listed = "; ".join(f"{name!r} ({count} photographs)" for name, count in sorted(unknown.items()))
        expected = ", ".join(name_of(code) for code in ("MEL", "NV", "BCC"))
        raise InputError(
            f"{path} has folders that name no known diagnosis: {listed}. "
            f"Expected folders such as {expected}; rename or move these."
        )
    if unclear:
        raise InputError(
            f"{path} has folders that name two diagnoses: {'; '.join(map(repr, unclear))}. "
            "Expected one diagnosis on the way to a photograph; rename or move these."
        )


def _counted(files: Sequence[str]) -> list[str]:
    kinds = pd.Series([Path(f).suffix.lower() or "no suffix" for f in files], dtype=object).value_counts()
    return [f"{count} other files ({kind})" for kind, count in kinds.items()]
