"""Class folders: the name of a folder on the way to a photograph is its diagnosis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dermsentry.collection.joins import join_metadata
from dermsentry.collection.labels import WHAT_THEY_ARE, UnknownDiagnosesError
from dermsentry.collection.layouts.contents import About, Contents
from dermsentry.collection.table import SPLITS, Collection, UnknownDiagnosis, ordered
from dermsentry.diagnoses import agree, name_of, narrow
from dermsentry.errors import InputError
from dermsentry.image_files import NotRead
from dermsentry.stats.numbers import counted

ABOUT = About(
    name="Class folders",
    published="your own, or any set sorted into folders",
    licence="your own",
    recognised="a folder with the name of a diagnosis on the way to each photograph, at any depth, with "
    "`Train/`, "
    "`Validation/` and `Test/` above or without",
    gives=("split",),
    remark="in any spelling; `benign` and `malignant` are sets of diagnoses; folders that name none are "
    "an error that "
    "lists them; `metadata.csv` beside the folders is joined",
)
_OUTSIDE = "a picture of a kind that is not read, outside every class folder"
_READ = {"metadata.csv", "SYNTHETIC.txt", "attribution.txt", "changes.csv", "fetch.json", "SHA256SUMS"}
"""`SYNTHETIC.txt` marks a collection of phantoms; the last are what `fetch` writes beside a set."""


def recognises(found: Contents) -> bool:
    """Whether a folder was given."""
    return found.table is None


def names_diagnoses(found: Contents) -> bool:
    """Whether a folder on the way to a photograph names a diagnosis."""
    places = [folder.path.relative_to(found.root) for folder in found.folders if folder.photographs]
    return any(found.vocabulary(part) is not None for part in {part for p in places for part in p.parts})


def read(found: Contents) -> Collection:
    """Read it, with `metadata.csv` if that is beside the folders. Raises InputError."""
    path, find = found.root, found.vocabulary
    rows: list[dict[str, str]] = []
    unknown: dict[str, int] = {}
    unclear: list[str] = []
    classes: Counter[str] = Counter()
    not_read = list(found.not_read)
    for folder in found.folders:
        inside = folder.path.relative_to(path).parts
        naming = [i for i, part in enumerate(inside) if find(part) is not None]
        if not naming:
            if folder.photographs:
                unknown["/".join(inside) or "."] = len(folder.photographs)
            not_read += [NotRead("/".join((*inside, name)), _OUTSIDE) for name in folder.unsupported]
            continue
        # In a class folder, a picture of a kind that is not read has its row, and is found unreadable.
        photographs = sorted([*folder.photographs, *folder.unsupported])
        # Folders inside a class are the user's own order, unless they name another diagnosis.
        label = ""
        for part in (inside[i] for i in naming):
            if not agree(label, find(part) or ""):
                unclear.append("/".join(inside))
                break
            label = narrow(label, find(part) or "")
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
    _refuse(found, unknown, unclear)
    table = ordered(pd.DataFrame(rows, columns=["path", "image_id", "diagnosis", "split"]))
    empty = [
        f"{name}: a class folder without photographs" for name, count in sorted(classes.items()) if not count
    ]
    collection = Collection(path, table, (*empty, *_others(found)), tuple(not_read))
    metadata = path / "metadata.csv"
    if not metadata.is_file():
        return collection
    return join_metadata(collection, found.used(metadata), found.headings)


def _refuse(found: Contents, unknown: Mapping[str, int], unclear: Sequence[str]) -> None:
    if unknown:
        listed = "; ".join(
            f"{name!r} ({counted(count, 'photograph')})" for name, count in sorted(unknown.items())
        )
        expected = ", ".join(name_of(code) for code in ("MEL", "NV", "BCC"))
        tables = [f"{p.name} ({', '.join(sorted(found.columns(p))[:8])})" for p in found.tables_with()[:3]]
        beside = f" The tables there fit no known layout: {'; '.join(tables)}." if tables else ""
        raise UnknownDiagnosesError(
            f"{found.root} has folders that name no known diagnosis: {listed}.{beside} "
            f"Expected folders such as {expected}; rename or move these, or {WHAT_THEY_ARE}.",
            [UnknownDiagnosis(name.rpartition("/")[2], count) for name, count in unknown.items()],
        )
    if unclear:
        raise InputError(
            f"{found.root} has folders that name two diagnoses: {'; '.join(map(repr, unclear))}. "
            "Expected one diagnosis on the way to a photograph; rename or move these."
        )


def _others(found: Contents) -> list[str]:
    """How many other files there are of each kind, a line each; tables are told of by name."""
    named = {*(found.root / name for name in _READ), *found.tables_with("image_id")}
    kinds = Counter(path.suffix.lower() or "no suffix" for path in found.others if path not in named)
    return [f"{counted(count, 'other file')} ({kind})" for kind, count in kinds.most_common()]
