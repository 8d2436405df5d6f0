"""What a fetched folder has beside the photographs, and whether a folder is one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from dermsentry.errors import OutputError
from dermsentry.fetching.archive import ArchiveImage
from dermsentry.fetching.changes import Change
from dermsentry.files import csv_line, read_json, write_text

RECORD = "fetch.json"
SUMS = "SHA256SUMS"
_FIRST = ("isic_id", "attribution", "copyright_license")
_SUM = re.compile(r"([0-9a-f]{64})  (.+)")


def require_own(folder: Path, name: str) -> None:
    """Raise OutputError unless a folder is missing, empty, or has been made for the set of this name.

    What an ended process had begun to write there is removed.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    record = folder / RECORD
    if not record.is_file():
        raise OutputError(f"{folder} exists, and fetch did not make it; expected a new folder for --out.")
    made = read_json(record)
    if not isinstance(made, dict) or made.get("set") != name:
        other = made.get("set") if isinstance(made, dict) else None
        raise OutputError(f"{folder} holds {other}, not {name}; expected a folder of its own for each set.")
    for left in folder.rglob(".ISIC_*"):  # as `whole_file` calls what is not whole
        left.unlink(missing_ok=True)


def write_metadata(folder: Path, images: Sequence[ArchiveImage]) -> None:
    """Write `metadata.csv` and `attribution.txt` as `isic image download` does. Raises OutputError."""
    rows = [
        {
            "isic_id": image.isic_id,
            "attribution": image.attribution,
            "copyright_license": image.copyright_license,
            **image.metadata.acquisition,
            **image.metadata.clinical,
        }
        for image in images
    ]
    columns = [*_FIRST, *sorted({name for row in rows for name in row} - set(_FIRST))]
    lines = (csv_line([row.get(column) for column in columns]) for row in rows)
    write_text(folder / "metadata.csv", csv_line(columns) + "".join(lines))
    counted = Counter(image.attribution for image in images)
    named = sorted(counted, key=lambda name: (name == "Anonymous", -counted[name], name))
    write_text(folder / "attribution.txt", "\n\n".join(named) + "\n")


def write_changes(folder: Path, changes: Iterable[Change]) -> None:
    """Write `changes.csv`, a row for each. Raises OutputError."""
    columns = [field.name for field in fields(Change)]
    rows = (csv_line([getattr(change, column) for column in columns]) for change in changes)
    write_text(folder / "changes.csv", csv_line(columns) + "".join(rows))


def read_sums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file, by its path in the folder, as last written; empty where nothing was."""
    if not (folder / SUMS).is_file():
        return {}
    lines = (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    return {found[2]: found[1] for line in lines if (found := _SUM.fullmatch(line))}


def write_sums(folder: Path, sums: Mapping[str, str]) -> None:
    """Write them as `sha256sum -c` reads them. Raises OutputError."""
    write_text(folder / SUMS, "".join(f"{sums[path]}  {path}\n" for path in sorted(sums)))
