"""Predictions of anyone's model, from a table by image: nine classes, fewer, or melanoma alone.

A class that stands for several of the nine (`AKIEC`, `BKL`) has its probability in the first of them, and the
truth is taken as coarsely (`PredictionTable.coarsened`), so that the two are one class in every figure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dermsentry.collection.columns import folded, read_columns
from dermsentry.collection.ids import match_ids
from dermsentry.diagnoses import CODES, MELANOMA, codes_of, find_label, join_codes
from dermsentry.errors import InputError
from dermsentry.files import sha256

Floats = NDArray[np.float64]

_ALONE = ("melanoma", "mel", "melanoma_probability", "target", "probability", "score")
"""Columns of melanoma's probability in a table that has nothing else."""
_AFFIX = re.compile(r"\A(?:p|prob|probability|score)_|_(?:p|prob|probability|score)\Z")
_ROUNDING = 0.005
"""How far the probabilities of a row, rounded to two decimals each, may be from adding up to 1."""


@dataclass(frozen=True, eq=False)
class PredictionTable:
    """Probabilities of m images.

    Parameters
    ----------
    name, digest
        The file's name, and the SHA-256 of its bytes.
    images
        Their ids or paths, as the table has them, (m,).
    classes
        The label of each class that the model knows: a code, or several joined by `|`; no code is in two.
    probability
        Shape (m, 9) by `diagnoses.CODES`.
    left_alone
        Columns that are no probability of a diagnosis, and rows without numbers.
    """

    name: str
    digest: str
    images: tuple[str, ...]
    classes: tuple[str, ...]
    probability: Floats
    left_alone: tuple[str, ...]

    def coarsened(self, labels: Sequence[str]) -> list[str]:
        """Labels no finer than the classes: `SK` is `PBK|SK` where the model does not distinguish them."""
        return coarsened(labels, self.classes)

    def matched(self, paths: Sequence[str], names: Sequence[str] | None = None) -> dict[int, int]:
        """The row of each photograph that has one, both by position; see `match_ids` for `names`.

        Raises
        ------
        InputError
            A photograph has two rows with different probabilities, or none has any.
        """
        rows_of, _ = match_ids(self.images, paths, names)
        if not rows_of:
            shown, own = (", ".join(each[:3]) for each in (self.images, list(names or paths)))
            raise InputError(
                f"{self.name} has no row of any of the {len(paths):,} photographs: it names {shown}; these "
                f"are {own}."
            )
        for place, rows in rows_of.items():
            if np.ptp(self.probability[rows], axis=0).any():
                raise InputError(
                    f"{self.name} has {len(rows)} rows of {paths[place]} with different probabilities; "
                    "expected one."
                )
        return {place: rows[0] for place, rows in rows_of.items()}

    def strangers(self, paths: Sequence[str], names: Sequence[str] | None = None) -> int:
        """How many rows are of none of these photographs."""
        rows_of, _ = match_ids(self.images, paths, names)
        return len(self.images) - len({row for rows in rows_of.values() for row in rows})


def coarsened(labels: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Labels no finer than `classes`, no code of which is in two; `""` stays."""
    whole = {code: set(codes_of(label)) for label in classes for code in codes_of(label)}
    return [
        join_codes(set().union(*(whole.get(code, {code}) for code in codes_of(label)))) for label in labels
    ]


def read_prediction_table(path: str | Path) -> PredictionTable:
    """Read a table of predictions, CSV or Excel.

    A column names the image (`image`, `image_id`, `isic_id`, `filename`, `path`). Every other one whose name
    is a diagnosis in any spelling (`MEL`, `nevus`, `p_bkl`, `akiec_probability`) holds its probability. With
    melanoma's alone (also `target`, `probability` or `score`), the rest is anything else.

    Raises
    ------
    InputError
        There is no such column, melanoma is not told from others, two columns share a diagnosis, or a number
        is no probability, or those of a row do not add up to 1.
    """
    path = Path(path)
    table = read_columns(path)
    image = next((name for name in ("image_id", "path") if name in table.columns), None)
    if image is None:
        raise InputError(
            f"{path} has the columns {', '.join(table.columns)}; expected one that names the image, such as "
            "image, and one of probabilities for each diagnosis, or melanoma's alone."
        )
    columns, others = _diagnoses_of([name for name in table.columns if name != image], path)
    values = np.array([[_number(text) for text in table[name]] for name in columns]).T
    given = ~np.isnan(values).any(axis=1)
    blank = (table[list(columns)] == "").all(axis=1).to_numpy()
    if (wrong := ~given & ~blank).any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{path} has no number for every diagnosis of {table[image].iloc[row]}; expected probabilities, "
            "or nothing in all of them."
        )
    if not given.any():
        raise InputError(f"{path} has no probabilities in its {len(table):,} rows.")
    values, images = values[given], tuple(table[image][given])
    labels = tuple(columns.values())
    if labels == (MELANOMA,):
        values = np.concatenate([values, 1 - values], axis=1)
        labels = (MELANOMA, join_codes(code for code in CODES if code != MELANOMA))
    _check(values, images, path)
    probability = np.zeros((len(images), len(CODES)))
    for column, label in zip((values / values.sum(axis=1, keepdims=True)).T, labels, strict=True):
        probability[:, CODES.index(codes_of(label)[0])] = column
    rows = [f"{int((~given).sum()):,} rows without probabilities"] if not given.all() else []
    told = [f"the column {name}, which is not a diagnosis" for name in others]
    return PredictionTable(path.name, sha256(path), images, labels, probability, (*told, *rows))


def _diagnoses_of(names: Sequence[str], path: Path) -> tuple[dict[str, str], list[str]]:
    """The label of each column of probabilities, and the other columns. Raises InputError."""
    known = {name: _label(name) for name in names}
    found = {name: label for name, label in known.items() if label}
    if not found:
        alone = [name for name in names if folded(name) in _ALONE]
        found = dict.fromkeys(alone[:1], MELANOMA)
    if MELANOMA not in found.values():
        raise InputError(
            f"{path} has the columns {', '.join(names)}; expected one for melanoma, such as MEL or melanoma."
        )
    codes = [code for label in found.values() for code in codes_of(label)]
    if len(codes) > len(set(codes)):
        twice = sorted({code for code in codes if codes.count(code) > 1})
        raise InputError(
            f"{path} has several columns for {', '.join(twice)} ({', '.join(found)}); expected one for each "
            "diagnosis."
        )
    return found, [name for name in names if name not in found]


def _label(name: str) -> str | None:
    return find_label(name) or find_label(_AFFIX.sub("", folded(name)))


def _number(text: str) -> float:
    """A number with a point or a comma; NaN for none."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return float("nan")


def _check(values: Floats, images: Sequence[str], path: Path) -> None:
    wrong = ~((values >= 0) & (values <= 1)).all(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        shown = ", ".join(f"{value:g}" for value in values[row])
        raise InputError(
            f"{path} has {shown} for {images[row]}; expected probabilities from 0 to 1, not logits or "
            "per cent."
        )
    total = values.sum(axis=1)
    apart = np.abs(total - 1) > _ROUNDING * values.shape[1]
    if apart.any():
        row = int(np.flatnonzero(apart)[0])
        raise InputError(
            f"{path} has probabilities that add up to {total[row]:.3g} for {images[row]}, and not to 1 in "
            f"{int(apart.sum()):,} of {len(images):,} rows; expected one distribution over the diagnoses. "
            "Scores that are independent of each other are evaluated by melanoma's column alone."
        )
