"""What training reads, in one file that can be carried to a machine with a GPU.

The file is a tar: `photographs.csv` (a row per photograph), `masks.npz` (a lesion mask of each file) and the
image files as they are, named by their number. The sets of the recipe make 170 MB.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.errors import InputError
from dermsentry.files import whole_file
from dermsentry.images import Unreadable, read_fitted
from dermsentry.parallel import cores, map_ordered
from dermsentry.progress import track

MASK = 64
"""The side of the masks."""
AHEAD = 64
COLUMNS = ("photograph", "rows", "diagnosis", "group", "part", "hospital")


@dataclass(frozen=True, eq=False)
class Packed:
    """Photographs to learn from.

    `table` has a row per photograph, see `data.photographs`; its `rows` are the numbers of its files in
    `pixels` (M, S, S, 3) uint8 and `masks` (M, 64, 64) bool.
    """

    table: pd.DataFrame
    pixels: NDArray[np.uint8]
    masks: NDArray[np.bool_]


def write_pack(path: Path, table: pd.DataFrame, files: list[Path], masks: NDArray[np.uint8]) -> None:
    """Write the photographs of `table`, a row each with its `rows` of `files` and of `masks` (M, S, S).

    Of a photograph that is there sharper, the nine-class set's copy of 180 pixels is left out. Raises
    OutputError.
    """
    rows = table["rows"].map(lambda own: _sharp(own, files))
    used = sorted({row for own in rows for row in own})
    number = {row: i for i, row in enumerate(used)}
    listed = table.assign(rows=rows.map(lambda own: " ".join(str(number[row]) for row in own)))
    small = np.stack([_smaller(masks[row]) for row in used])
    packed = io.BytesIO()
    np.savez_compressed(packed, bits=np.packbits(small.reshape(len(small), -1), axis=1))
    with whole_file(path) as temporary, tarfile.open(temporary, "w") as tar:
        _add(tar, "photographs.csv", listed[list(COLUMNS)].to_csv(index=False).encode())
        _add(tar, "masks.npz", packed.getvalue())
        for row, i in number.items():
            _add(tar, f"{i:06}", files[row].read_bytes())


def read_pack(path: Path, size: int, *, quiet: bool = True) -> Packed:
    """Read a pack, its photographs squashed to `size` pixels a side.

    Raises InputError if the file is none, or a photograph cannot be read.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            held = {entry.name: _content(tar, entry) for entry in tar}
        table = pd.read_csv(io.BytesIO(held.pop("photographs.csv")), keep_default_na=False)
        table["rows"] = table["rows"].astype(str).map(lambda own: tuple(int(row) for row in own.split()))
        bits = np.load(io.BytesIO(held.pop("masks.npz")), allow_pickle=False)["bits"]
    except (OSError, KeyError, ValueError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a pack ({error}); remove it and run the recipe again.") from error
    names = sorted(held)
    pixels = np.zeros((len(names), size, size, 3), dtype=np.uint8)

    def read(name: str) -> NDArray[np.uint8]:
        try:
            return read_fitted(held[name], size, "squash")
        except Unreadable as error:
            raise InputError(f"{path}: photograph {name} cannot be read ({error}).") from error

    decoded = map_ordered(read, names, threads=cores(), ahead=AHEAD)
    for i, image in enumerate(track(decoded, "Decoding", total=len(names), quiet=quiet)):
        pixels[i] = image
    masks = np.unpackbits(bits, axis=1)[:, : MASK * MASK].reshape(-1, MASK, MASK).astype(bool)
    return Packed(table, pixels, masks)


def _sharp(rows: tuple[int, ...], files: list[Path]) -> tuple[int, ...]:
    return tuple(row for row in rows if "isic9" not in files[row].parts) or rows


def _smaller(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    step = len(mask) // MASK
    return np.asarray(mask.reshape(MASK, step, MASK, step).mean(axis=(1, 3)) > 127)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _content(tar: tarfile.TarFile, entry: Any) -> bytes:
    member = tar.extractfile(entry)
    return member.read() if member else b""
