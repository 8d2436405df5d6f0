"""A site's photographs: found, joined with what is known of them, each once, and screened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dermsentry.adoption.fitting import Screened, is_refused, known_scores
from dermsentry.adoption.results import Counts
from dermsentry.audit.duplicates import find_duplicates
from dermsentry.collection import Collection, read_collection
from dermsentry.collection.columns import read_columns
from dermsentry.collection.groups import connected_groups, same_photographs
from dermsentry.collection.labels import (
    FALLBACK,
    LEVELS,
    decode_one_hot,
    describe_unknown,
    is_one_hot,
    read_vocabulary,
    truth,
)
from dermsentry.collection.layouts import require_columns
from dermsentry.collection.layouts.contents import Contents
from dermsentry.collection.layouts.photographs import with_photographs
from dermsentry.collection.table import ordered
from dermsentry.csv_tables import column_names
from dermsentry.diagnoses import CODES, MELANOMA, agree, join_codes, narrow
from dermsentry.errors import InputError
from dermsentry.model import Bundle
from dermsentry.progress import track
from dermsentry.screening.inference import screen_sources
from dermsentry.screening.inputs import Source, find_photographs

_ANOTHER = join_codes(code for code in CODES if code != MELANOMA)
_USED = ("image_id", "diagnosis", *LEVELS, FALLBACK, "lesion_id", "patient_id")


@dataclass(frozen=True, eq=False)
class SitePhotographs:
    """Photographs as the bundle screened them, what was left out, and what was beside them.

    `left_alone` has a line for each kind of thing that was found and not used.
    """

    screened: Screened
    counts: Counts
    fingerprint: str
    left_alone: tuple[str, ...]


def read_photographs(
    folder: Path,
    labels: Path | None,
    *,
    diagnoses: Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> Collection:
    """The photographs below a folder, with what a table says of them by image id; see `adopt`.

    Raises
    ------
    InputError
        The folder holds no photograph, or the table names none of them or has no diagnosis.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected one with photographs.")
    if labels is None:
        paths = [Path(source.path).relative_to(folder).as_posix() for source in find_photographs(folder)]
        table = pd.DataFrame({"path": paths, "image_id": [Path(path).stem for path in paths]})
        return Collection(folder, ordered(table))
    require_columns(columns or {}, [labels])
    found, notes = Contents(folder, None, read_vocabulary(diagnoses)), list[str]()
    if labels.is_dir():
        table, where = read_collection(labels, diagnoses=diagnoses, columns=columns).table, str(labels)
    else:
        table, notes = _read_table(labels, columns)
        where = labels.name
    used = [name for name in _USED if name in table.columns]
    return with_photographs(found, table[used].copy(), where, left_alone=tuple(notes))


def screen_photographs(bundle: Bundle, collection: Collection, *, quiet: bool = True) -> SitePhotographs:
    """Screen every photograph once; copies of one count as one, with what their labels agree on.

    Raises
    ------
    InputError
        None of them can be read.
    """
    duplicates = find_duplicates(collection, workers=bundle.threads, quiet=quiet).groups
    table = collection.table.set_index("path", drop=False)
    group = dict(zip(table["path"], connected_groups(collection.table, duplicates), strict=True))
    paths, labels, copies, contradicted = [], [], 0, 0
    for same in same_photographs(collection.table, duplicates):
        copies += len(same) - 1
        label = _agreed(list(table.loc[same, "diagnosis"]))
        contradicted += label is None
        if label is not None:
            paths.append(same[0])
            labels.append(label)
    sources = [Source(str(collection.root / path), str(collection.root)) for path in paths]
    found = list(
        track(screen_sources(sources, bundle), "Screening", total=len(sources), quiet=quiet)
        if sources
        else ()
    )
    findings = [one.finding for one in found]
    read = [i for i, finding in enumerate(findings) if finding.probabilities is not None]
    if not read:
        raise InputError(f"None of the {len(table)} photographs in {collection.root} could be used.")
    screened = Screened(
        melanoma=np.array([findings[i].melanoma for i in read], dtype=np.float64),
        labels=[labels[i] for i in read],
        groups=[group[paths[i]] for i in read],
        refused=np.array(
            [
                is_refused(
                    findings[i].tier,
                    findings[i].no_lesion,
                    findings[i].out_of_distribution,
                    () if (quality := findings[i].quality) is None else quality.problems,
                )
                for i in read
            ]
        ),
        no_lesion=known_scores(findings[i].no_lesion for i in read),
        out_of_distribution=known_scores(findings[i].out_of_distribution for i in read),
    )
    counts = Counts(
        given=len(table),
        unreadable=len(findings) - len(read),
        copies=copies,
        contradicted=contradicted,
        unknown=0,
        refused=0,
        refused_melanomas=0,
        out_of_distribution=0,
        melanomas=0,
        others=0,
        melanoma_groups=0,
        groups=0,
    )
    unknown = map(describe_unknown, collection.unknown_diagnoses)
    beside = (*collection.notes, *(f"diagnosis not understood: {line}" for line in unknown))
    return SitePhotographs(screened, counts, collection.fingerprint(), beside)


def _read_table(path: Path, columns: Mapping[str, str] | None) -> tuple[pd.DataFrame, list[str]]:
    """A table by image id with a diagnosis, whatever tells it, and what to know of it."""
    table, notes = read_columns(path, headings=columns), list[str]()
    if "image_id" not in table.columns and "path" in table.columns:
        table["image_id"] = [Path(text.replace("\\", "/")).stem for text in table["path"]]
    if is_one_hot(table.columns):
        table, notes = decode_one_hot(table, str(path))
    elif not {"diagnosis", *LEVELS} & set(table.columns) and "melanoma" in table.columns:
        answers = {True: MELANOMA, False: _ANOTHER, None: ""}
        table["diagnosis"] = [answers[truth(text)] if text else "" for text in table["melanoma"]]
    if "image_id" not in table.columns or not {"diagnosis", *LEVELS} & set(table.columns):
        raise InputError(
            f"{path} has the columns {', '.join(column_names(path))}; expected image_id and diagnosis, or "
            "melanoma (1 or 0), or ISIC's one-hot ground truth. Say with --column which heading means one of "
            "these."
        )
    return table, notes


def _agreed(labels: Sequence[str]) -> str | None:
    """The label that holds where all do; None where they contradict each other."""
    found = ""
    for label in labels:
        if not agree(found, label):
            return None
        found = narrow(found, label)
    return found
