"""What the archive says today of photographs that lie in class folders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import pandas as pd

from dermsentry.collection.labels import LEVELS, UnknownDiagnosesError, Vocabulary, label_rows
from dermsentry.diagnoses import agree
from dermsentry.fetching.archive import ArchiveImage

Kind = Literal["contradicted", "undetermined", "not in the archive"]


@dataclass(frozen=True)
class Change:
    """A file whose class folder the archive does not bear out.

    Attributes
    ----------
    path
        The file, relative to the set's folder.
    image_id
        Its ISIC id.
    kind
        `contradicted`; `undetermined` where the archive's diagnosis is unknown or says nothing of the nine;
        or `not in the archive`.
    folder
        The label that its class folder names.
    archive
        The archive's label, `""` where that has none.
    archive_diagnosis
        The diagnosis as the archive writes it, the most general level first.

    Examples
    --------
    >>> import dermsentry
    >>> fetched = dermsentry.fetch("isic9", "photographs")  # doctest: +SKIP
    >>> for change in fetched.changes:  # doctest: +SKIP
    ...     print(change.path, change.folder, change.archive or change.kind)
    """

    path: str
    image_id: str
    kind: Kind
    folder: str
    archive: str
    archive_diagnosis: str


def find_changes(
    files: Mapping[str, Iterable[str]], images: Mapping[str, ArchiveImage]
) -> tuple[Change, ...]:
    """The changes of `files`, paths in class folders by ISIC id, ordered by path."""
    labels = _labels(images)
    vocabulary = Vocabulary()
    found = []
    for isic_id, paths in files.items():
        image, label = images.get(isic_id), labels.get(isic_id, "")
        written = "" if image is None else " > ".join(_levels(image))
        kind: Kind = "contradicted" if label else "undetermined" if image else "not in the archive"
        for path in paths:
            folder = vocabulary(PurePosixPath(path).parent.name) or ""
            if not label or not agree(folder, label):
                found.append(Change(path, isic_id, kind, folder, label, written))
    return tuple(sorted(found, key=lambda change: change.path))


def _labels(images: Mapping[str, ArchiveImage]) -> dict[str, str]:
    rows = [{level: _text(image, level) for level in LEVELS} for image in images.values()]
    try:
        table, _ = label_rows(pd.DataFrame(rows, columns=list(LEVELS)), Vocabulary(), "The ISIC Archive")
    except UnknownDiagnosesError:  # then there is no label to compare; each file is told below
        return {}
    return dict(zip(images, table["diagnosis"], strict=True))


def _levels(image: ArchiveImage) -> list[str]:
    return [text for level in LEVELS if (text := _text(image, level))]


def _text(image: ArchiveImage, field: str) -> str:
    return str(image.metadata.clinical.get(field) or "")
