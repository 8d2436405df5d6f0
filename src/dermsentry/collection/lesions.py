"""Lesions that published tables know by ISIC id, and of how many photographs lesion and patient are known.

`published_lesions.npz` holds ISIC ids and lesion numbers alone, from HAM10000 and ISIC 2019 (CC BY-NC 4.0,
see `published_lesions.md`); `recipes/published_lesions.py` makes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from dermsentry.collection.groups import lesion_keys, patient_keys
from dermsentry.collection.ids import image_key
from dermsentry.collection.table import PUBLISHED_LESION, Collection
from dermsentry.reporting.prose import render_block
from dermsentry.stats.numbers import Unit

PUBLISHED = Path(__file__).with_name("published_lesions.npz")
_ISIC = re.compile(r"isic_(\d{7})(?!\d)")


@dataclass(frozen=True)
class KnownLesions:
    """Of how many photographs it is known which lesion and which patient they show.

    Parameters
    ----------
    photographs
        How many there are.
    lesion, patient
        Of how many of them the lesion, and the patient, is known.
    published
        Of how many of them the published tables know the lesion.
    lesions
        Known lesions, each counted once.
    """

    derived: ClassVar[tuple[str, ...]] = ("sentence",)

    photographs: int
    lesion: int
    patient: int
    published: int
    lesions: int

    @property
    def unit(self) -> Unit:
        """What related photographs are grouped by, as far as it is known."""
        if self.patient:
            return "patient" if self.patient == self.photographs else "lesion or patient"
        return "lesion" if 2 * self.lesion > self.photographs else "distinct photograph"

    @property
    def sentence(self) -> str:
        """What can be told of related photographs, and what cannot, in words."""
        return render_block("known_lesions.txt", "known", known=self)


def known_lesions(table: pd.DataFrame) -> KnownLesions:
    """What a collection's table knows of lesions and patients."""
    lesions, patients = lesion_keys(table), patient_keys(table)
    published = list(table[PUBLISHED_LESION]) if PUBLISHED_LESION in table.columns else []
    return KnownLesions(
        photographs=len(table),
        lesion=sum(map(bool, lesions)),
        patient=sum(map(bool, patients)),
        published=sum(map(bool, published)),
        lesions=len({*lesions} - {""}),
    )


def add_published_lesions(collection: Collection) -> Collection:
    """Add what the published tables know as the column `published_lesion`, where they know any photograph.

    A photograph's ISIC id is found in its image id, or else in its file's name, however that is written.
    """
    table = collection.table
    pairs = zip(table["image_id"], table["path"], strict=True)
    numbers = [next((n for n in map(isic_number, pair) if n is not None), -1) for pair in pairs]
    found = _look_up(np.array(numbers, dtype=np.int64))
    if not any(found):
        return collection
    return replace(collection, table=table.assign(**{PUBLISHED_LESION: found}))


def isic_number(name: str) -> int | None:
    """The number of the one ISIC id in a file's name or an image id; None where there is none, or several."""
    found: set[str] = set(_ISIC.findall(image_key(name)))
    return int(found.pop()) if len(found) == 1 else None


def _look_up(numbers: np.ndarray[Any, np.dtype[np.int64]]) -> list[str]:
    """The published lesion of each ISIC number, such as `HAM_0000118`; `""` where there is none."""
    if not PUBLISHED.is_file():  # its licence is not the package's, and a package may go without it
        return [""] * len(numbers)
    with np.load(PUBLISHED, allow_pickle=False) as kept:
        isic, lesion, register, registers = (kept[n] for n in ("isic", "lesion", "register", "registers"))
    place = np.minimum(np.searchsorted(isic, numbers), len(isic) - 1)
    return [
        f"{registers[register[at]]}_{lesion[at]:07}" if isic[at] == number else ""
        for at, number in zip(place.tolist(), numbers.tolist(), strict=True)
    ]
