"""Labels against a reference table, matched by image id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from dermsentry.collection.groups import original_id
from dermsentry.diagnoses import agree


@dataclass(frozen=True)
class Disagreement:
    """A photograph whose label and reference label cannot both be true."""

    path: str
    diagnosis: str
    split: str
    reference: str


def compare_labels(table: pd.DataFrame, labels: Mapping[str, str]) -> tuple[int, tuple[Disagreement, ...]]:
    """How many of a collection's labels the reference covers, and those that it contradicts.

    A reference that does not distinguish two diagnoses (`PBK|SK`) agrees with both. A renamed copy is looked
    up by the ISIC id in its name. Photographs without a label are not compared.
    """
    found, compared = [], 0
    rows = zip(table["path"], table["image_id"], table["diagnosis"], table["split"], strict=True)
    for path, image_id, diagnosis, split in rows:
        reference = labels.get(image_id) or labels.get(original_id(image_id))
        if not reference or not diagnosis:
            continue
        compared += 1
        if not agree(diagnosis, reference):
            found.append(Disagreement(path, diagnosis, split, reference))
    return compared, tuple(found)
