"""What a model makes of each photograph of a collection, which is kept in partitions and never made again.

content/DIGEST/000001.npy    of the bundle with this digest; see `audit.kept`
"""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermsentry.audit.arrays import load_array, range_path, ranges, ranges_left, save_array
from dermsentry.audit.content import FEWEST_COMPARED, Neighbours
from dermsentry.audit.kept import Key, Layout, Located, Looks, write_partition
from dermsentry.audit.reader import Reader, keys_of, read_fresh
from dermsentry.audit.workplace import Advance, NothingToClose, Workplace, nobody
from dermsentry.collection import Collection
from dermsentry.diagnoses import CODES
from dermsentry.errors import DataWarning
from dermsentry.evaluation.contamination import perceptual_hashes
from dermsentry.images import read_photograph
from dermsentry.model import Bundle
from dermsentry.screening.quality import assess

CONTENT = "content"
"""The folder of the partitions, where an audit is kept."""
COMPARED_AT_ONCE = 2_048
"""Photographs in a partition of what is compared with others: three seconds of a core."""
_FIELDS = (("probability", "<f4", len(CODES)), ("no_lesion", "<f4"), ("unlike", "<f4"), ("look", "<u8"))
SEEN = Layout.of(1, _FIELDS)
"""Of what was seen; another one whenever the same bundle sees something else: reading, fitting, quality."""
_COLUMNS = tuple(name for name, *_ in _FIELDS)


@dataclass(frozen=True)
class _One:
    """What the model made of one photograph; `look` is its perceptual hash."""

    probability: NDArray[np.float32]
    embedding: NDArray[np.float32]
    no_lesion: float
    unlike: float
    problems: tuple[str, ...]
    look: np.uint64


class Embeddings:
    """The embeddings of photographs, which stay in their partitions until some are asked for."""

    def __init__(self, folder: Path, located: Located) -> None:
        self.folder, self.located = folder, located
        self._looks = Looks(folder, SEEN)

    def __reduce__(self) -> tuple[Any, ...]:
        """Whoever unpickles it reads the partitions itself."""
        return Embeddings, (self.folder, self.located)

    def __len__(self) -> int:
        return len(self.located)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """Those of some photographs, (m, d)."""
        located = self.located[rows]
        found: NDArray[np.float32] | None = None
        for number in np.unique(located[:, 0]).tolist():
            partition, here = self._looks.partition(number), located[:, 0] == number
            every = partition.contents.view("<f4").reshape(len(partition.rows), -1)
            if found is None:
                found = np.empty((len(located), every.shape[1]), np.float32)
            found[here] = every[located[here, 1]]
        return np.zeros((0, 1), np.float32) if found is None else found

    def among(self, rows: NDArray[np.int64]) -> Embeddings:
        """Those of some photographs, without reading them."""
        return Embeddings(self.folder, self.located[rows])


@dataclass(frozen=True)
class Seen:
    """What the model made of the photographs that it could look at, n `rows` of the collection.

    `probability` (n, 9), in the order of `CODES`; `no_lesion` and `unlike` (n,), scores from 0 to 1; `looks`
    (n,), perceptual hashes; `problems`, by path, of quality; `embeddings` of n photographs.
    """

    rows: NDArray[np.int64]
    probability: NDArray[np.float64]
    no_lesion: NDArray[np.float32]
    unlike: NDArray[np.float32]
    looks: NDArray[np.uint64]
    problems: dict[str, tuple[str, ...]]
    embeddings: Embeddings


class Looker(Reader[_One]):
    """Has a model look at photographs; the parameters are those of a `Reader`, and the bundle."""

    def __init__(self, folder: Path, root: Path, threads: int, guarded: bool, bundle: Bundle) -> None:
        super().__init__(folder, root, threads, guarded)
        self._bundle = bundle
        self._order = [bundle.card.classes.index(code) for code in CODES]

    def look_at(self, path: Path) -> _One:
        """What the model makes of a photograph. Raises Unreadable and BundleError."""
        card = self._bundle.card
        if self.readers is None:
            photograph = read_photograph(path, root=self.root, fitted=card.fitted)
        else:
            photograph = self.readers.fitted(path, self.root, *card.fitted)
        pixels = photograph.pixels
        outputs = self._bundle.predict_here(pixels[None])
        return _One(
            outputs.probability[0, self._order],
            outputs.embedding[0],
            0.0 if card.no_lesion is None else float(outputs.no_lesion[0]),
            0.0 if card.out_of_distribution is None else float(outputs.out_of_distribution[0]),
            assess(pixels, photograph.width, photograph.height).problems,
            perceptual_hashes([pixels])[0],
        )

    def write(self, path: Path, found: Sequence[tuple[Key, _One]]) -> None:
        """Keep a partition, with the embeddings as contents."""
        rows = np.zeros(len(found), SEEN.dtype)
        for row, (_, one) in zip(rows, found, strict=True):
            for name in _COLUMNS:
                row[name] = getattr(one, name)
        problems = {key[0]: "\n".join(one.problems) for key, one in found if one.problems}
        contents = [one.embedding.astype("<f4").tobytes() for _, one in found]
        write_partition(path, SEEN, [key for key, _ in found], rows, problems, contents)


def look_over(bundle: Bundle, collection: Collection, unreadable: Set[str], place: Workplace) -> Seen:
    """Have a model look at each photograph that can be read, and keep what it made of it at a place.

    Those that the audit could not read are not tried again; what ends its decoder only now is told.

    Raises
    ------
    InputError
        A partition is damaged.
    BundleError
        The network failed.
    OutputError
        A partition cannot be written, or the cluster failed.
    """
    folder = place.folder / CONTENT / bundle.card.digest[:16]
    every = keys_of(collection)
    rows = [row for row, key in enumerate(every) if key[0] not in unreadable]
    keys = [every[row] for row in rows]
    kept, lost = read_fresh("Looking", Looker, (bundle,), keys, (folder, SEEN, _COLUMNS), collection, place)
    if lost:
        path = next(key[0] for key in keys if key[0] in lost)
        warnings.warn(
            f"{len(lost):,} photographs could be audited, and not be looked at by the model, such as "
            f"{path}: {lost[path]}.",
            DataWarning,
            stacklevel=3,
        )
    there = [(row, at) for row, key in zip(rows, keys, strict=True) if (at := kept.find(key)) is not None]
    places = np.array([at for _, at in there], np.int64)
    names = (every[row][0] for row, _ in there)
    return Seen(
        np.array([row for row, _ in there], np.int64),
        kept.columns["probability"][places].astype(np.float64),
        kept.columns["no_lesion"][places],
        kept.columns["unlike"][places],
        kept.columns["look"][places],
        {name: tuple(kept.doubts[name].split("\n")) for name in names if name in kept.doubts},
        Embeddings(folder, kept.located[places]),
    )


class Comparer(NothingToClose):
    """Measures how far photographs are from others, a partition of them after another.

    Parameters
    ----------
    folder
        Of the partitions of this.
    embeddings, groups, seed
        See `Neighbours`.
    """

    def __init__(self, folder: Path, embeddings: Embeddings, groups: NDArray[np.int64], seed: int) -> None:
        self._folder, self._neighbours = folder, Neighbours(embeddings, groups, seed)

    def __call__(self, task: tuple[int, int], advance: Advance = nobody) -> None:
        """Measure from which photograph to before which, and write the distances."""
        start, stop = task
        path = range_path(self._folder, start, stop, ".npy")
        save_array(path, self._neighbours.distances(start, stop))
        advance(stop - start)


def distances(
    embeddings: Embeddings, groups: Sequence[str], seed: int, place: Workplace
) -> NDArray[np.float64]:
    """How far each photograph is from its nearest others, (n,), as `Neighbours` measures it.

    Raises
    ------
    InputError
        A kept file is damaged.
    OutputError
        A partition cannot be written, or the cluster failed.
    """
    count = len(embeddings)
    if count < FEWEST_COMPARED:
        return np.zeros(count)
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
    told = hashlib.blake2b(embeddings.located.tobytes(), digest_size=8)
    told.update(numbers.tobytes())
    told.update(str(seed).encode())
    folder = embeddings.folder / "neighbours" / told.hexdigest()
    tasks = ranges_left(folder, 0, count, COMPARED_AT_ONCE)
    sizes = [stop - start for start, stop in tasks]
    given = (folder, embeddings, numbers, seed)
    for _ in place.each("Comparing", Comparer, given, tasks, sizes, count - sum(sizes)):
        pass
    for path in folder.parent.glob("*"):
        if path != folder:
            shutil.rmtree(path, ignore_errors=True)
    return np.concatenate([load_array(path) for _, _, path in ranges(folder)])
