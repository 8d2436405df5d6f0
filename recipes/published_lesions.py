"""Pack which ISIC ids show one lesion: `python -m recipes.published_lesions TABLE...`, seconds.

TABLE is HAM10000's metadata (`HAM10000_metadata`) and ISIC 2019's (`ISIC_2019_Training_Metadata.csv`), as
published, both CC BY-NC 4.0. Writes ISIC ids and lesion numbers, and nothing else of the tables, into the
package (`collection/published_lesions.npz`).
"""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermsentry.collection.columns import read_columns
from dermsentry.collection.groups import components
from dermsentry.collection.lesions import PUBLISHED, isic_number
from dermsentry.errors import InputError
from dermsentry.files import write_bytes


def read_lesions(paths: Iterable[Path]) -> dict[int, str]:
    """The lesion of each ISIC number that the tables know; lesions with a photograph in common are one.

    Raises InputError where an id is no ISIC id.
    """
    rows = pd.concat([read_columns(path, "image_id", "lesion_id") for path in paths], ignore_index=True)
    rows = rows[rows["lesion_id"] != ""]
    numbers = [isic_number(image) for image in rows["image_id"]]
    strangers = [image for image, number in zip(rows["image_id"], numbers, strict=True) if number is None]
    if strangers:
        raise InputError(f"{len(strangers)} ids are not ISIC ids, such as {strangers[0]!r}.")
    lesions = list(rows["lesion_id"])
    pairs = [pair for keys in (numbers, lesions) for pair in _equal(keys)]
    known = {}
    for together in components(len(rows), pairs):
        name = min(lesions[i] for i in together)
        known.update({number: name for number in (numbers[i] for i in together) if number is not None})
    return known


def _equal(keys: list[Any]) -> Iterable[tuple[int, int]]:
    first: dict[Any, int] = {}
    return [(first.setdefault(key, i), i) for i, key in enumerate(keys)]


def pack(known: dict[int, str]) -> bytes:
    """The file of the package, the same for the same lesions.

    Raises InputError where a lesion is not called like `HAM_0000118`.
    """
    isic = sorted(known)
    parts = [re.fullmatch(r"(\w+)_(\d{7})", known[number]) for number in isic]
    strangers = [known[n] for n, found in zip(isic, parts, strict=True) if found is None]
    if strangers:
        raise InputError(f"{len(strangers)} lesions are called {strangers[0]!r}; expected HAM_0000118.")
    named = [(found[1], int(found[2])) for found in parts if found]
    registers = sorted({register for register, _ in named})
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        isic=np.array(isic, dtype=np.uint32),
        lesion=np.array([number for _, number in named], dtype=np.uint32),
        register=np.array([registers.index(register) for register, _ in named], dtype=np.uint8),
        registers=np.array(registers, dtype=np.str_),
    )
    return buffer.getvalue()


def main() -> None:
    """Write the file, and print what it knows."""
    parser = argparse.ArgumentParser(prog="python -m recipes.published_lesions", description=__doc__)
    parser.add_argument("tables", type=Path, nargs="+", metavar="TABLE")
    known = read_lesions(parser.parse_args().tables)
    write_bytes(PUBLISHED, pack(known))
    print(f"{len(known):,} photographs of {len(set(known.values())):,} lesions: {PUBLISHED.name}")


if __name__ == "__main__":
    main()
