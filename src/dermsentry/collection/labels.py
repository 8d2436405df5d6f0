"""Reference labels, and what label tables say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dermsentry.collection.columns import read_columns
from dermsentry.diagnoses import find_label
from dermsentry.errors import InputError

ONE_HOT = {"MEL", "NV", "BCC"}
"""Columns that every ground truth of an ISIC challenge with one column per diagnosis has."""


def read_labels(path: str | Path) -> dict[str, str]:
    """Read a reference label table.

    Parameters
    ----------
    path
        A CSV with ISIC's ground truth, one column per diagnosis (`image,MEL,NV,…`), or with `image_id` (or
        `image`, `isic_id`) and `diagnosis` (or `dx`, `label`).

    Returns
    -------
    dict
        Image id, without a file's suffix, to label: a code of `diagnoses.CODES`, or several joined by `|`
        where the table does not distinguish them. Rows of any other diagnosis are left out.

    Raises
    ------
    InputError
        The file cannot be read, or is neither kind of table.
    """
    table = read_columns(Path(path))
    table = decode_one_hot(table) if set(table.columns) >= ONE_HOT else table
    if not {"image_id", "diagnosis"} <= set(table.columns):
        raise InputError(
            f"{path} has the columns {', '.join(table.columns)}; "
            "expected image_id and diagnosis, or ISIC's one-hot ground truth."
        )
    labels = {
        image: find_label(text) for image, text in zip(table["image_id"], table["diagnosis"], strict=True)
    }
    return {image: label for image, label in labels.items() if label}


def decode_one_hot(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with the column `diagnosis`: the one whose column is above 0.5, `""` where none is."""
    classes = [c for c in table.columns if c != "UNK" and find_label(c) is not None]
    values = table[classes].apply(pd.to_numeric, errors="coerce").fillna(0.0).to_numpy()
    labels = np.array([*(find_label(c) for c in classes), ""], dtype=object)
    known = values.max(axis=1) > 0.5
    chosen = np.where(known, values.argmax(axis=1), len(classes))
    return table.assign(diagnosis=labels[chosen])
