"""Screening on many machines: Ray moves partitions and batches to the functions that screen here as well.

Each actor holds the network in a guarded process, so that a photograph which stops its decoder costs itself
alone. What is finished is known by files alone (`partitions`), so any process may be ended at any time.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermsentry.errors import InputError, require_extra
from dermsentry.files import locked_folder, versions
from dermsentry.model import BUNDLED, Bundle, Device, bundled, open_bundle
from dermsentry.model.bundle import CARD_FILE, LEARNED_FILE, MODEL_FILE
from dermsentry.progress import Work
from dermsentry.ray_cluster import actors, connected, map_on_cluster, require_reachable
from dermsentry.screening.guarded import GuardedScreener
from dermsentry.screening.inference import Screened, screen_each
from dermsentry.screening.inputs import Source, find_photographs, is_place, remote_source
from dermsentry.screening.partitions import (
    PARTITION,
    Manifest,
    Of,
    begin,
    finish,
    finished,
    make_plan,
    screen_partition,
)
from dermsentry.screening.place import Place
from dermsentry.screening.remote import is_address, photograph_at, shown
from dermsentry.screening.writers import parquet_row, parquet_schema

if TYPE_CHECKING:
    from ray.data import Dataset

FETCHED = 8
"""Photographs that an actor reads side by side while its network computes: an address takes its time."""
BATCH = 64
"""Photographs that an actor takes at a time from a data set of Ray's."""
_SHOWN = 100  # paths and addresses that the manifest names; of more, the plan tells


def screen_on_cluster(
    images: str | Path | Iterable[str | Path],
    out: str | Path,
    bundle: str | Path | Bundle = BUNDLED,
    *,
    address: str | None = None,
    threads: int | None = None,
    device: Device = "cpu",
    partition: int = PARTITION,
    force: bool = False,
    strict: bool = True,
    quiet: bool = True,
) -> Manifest:
    """Screen an archive on a Ray cluster, or on this machine by Ray: findings as partitioned Parquet.

    Each photograph has exactly one finding, whatever is ended meanwhile. Call it again to resume: what is
    finished is not screened again, what changed or could not be opened is.

    Parameters
    ----------
    images
        One or many paths, patterns, archives or addresses, as `screen` takes them; every machine has to see
        the photographs under these. Relative paths become absolute ones.
    out
        A folder or an address for `findings/`, `plan/` and `manifest.json`, on storage that every machine
        sees.
    bundle
        A bundle's folder, or an opened bundle; by default the bundled model. It is sent to the machines.
    address
        A Ray cluster's, such as `auto` on one of its machines; None: one that is begun here, and ended. A
        Ray that is connected already is used.
    threads
        How many photographs are screened at the same time, each by an actor with a core of its own; by
        default one per core of the cluster.
    device
        Where the network computes, `cpu` or `cuda`; then eight actors share a GPU.
    partition
        Photographs in a partition; an archive has partitions of its own.
    force
        Whether findings of another model or of other photographs in `out` are replaced; if not, refused.
    strict
        Whether a path that does not exist is refused; if not, its finding is `unreadable`.
    quiet
        Whether to show no progress on stderr.

    Returns
    -------
    Manifest
        What `manifest.json` says: model, configuration, versions, counts and partitions.

    Raises
    ------
    InputError
        A path does not exist or holds no images, an address holds a password or cannot be reached, an extra
        is not installed, or there is no such cluster.
    BundleError
        The bundle was refused, or the network failed.
    OutputError
        The findings cannot be written, or `out` has findings of something else.

    Examples
    --------
    >>> import dermsentry
    >>> done = dermsentry.screen_on_cluster("archive/", "results/")  # doctest: +SKIP
    >>> done.counts["findings"], done.counts["unreadable"]  # doctest: +SKIP
    (1000000, 12)
    """
    require_extra("cluster")
    if partition < 1:
        raise InputError(f"Received partition={partition}; expected at least 1.")
    given = _places(images)
    place = Place(_absolute(os.fspath(out)))
    model = _Model.of(bundle)
    sources = find_photographs(given, strict=strict, open_archives=False)
    manifest = Manifest(
        complete=False,
        model=model.name,
        digest=model.digest,
        given=tuple(given) if len(given) <= _SHOWN else (),
        configuration={
            "engine": "ray", "address": address, "threads": threads, "device": device, "partition": partition,
        },
        versions={**versions(), **{name: metadata.version(name) for name in ("ray", "pyarrow")}},
    )  # fmt: skip
    require_reachable(address)
    with ExitStack() as stack:
        if not is_address(place.where):
            stack.enter_context(locked_folder(Path(place.where)))
        begin(place, manifest, force=force)
        with Work("Listing", quiet=quiet) as listing:
            gone = make_plan(place, _counted(sources, listing), partition)
        missing, done = finished(place, model.digest)
        kept = sum(sum(own.tiers.values()) for own in done.values())
        if missing:
            stack.enter_context(connected(address, threads))
            with Work("Screening partitions", len(missing) + len(done), quiet, len(done)) as work:
                for number, own in map_on_cluster(
                    _PartitionActor, (model, device, place), missing, threads=threads, gpu=device == "cuda"
                ):
                    done[number] = own
                    kept += own.kept
                    work.advance()
        return finish(place, manifest, done, kept, gone)


def screen_dataset(
    dataset: Dataset,
    bundle: str | Path | Bundle = BUNDLED,
    *,
    threads: int | None = None,
    device: Device = "cpu",
) -> Dataset:
    """Screen the photographs of a Ray data set: a lazy data set with a row for each finding.

    Batches stream through actors that hold the network. It is for data that Ray reads, filters and writes in
    its own ways; `screen_on_cluster` writes each finding exactly once, and resumes.

    Parameters
    ----------
    dataset
        Rows with `path`, and with `bytes` (as of `ray.data.read_binary_files(..., include_paths=True)`) or
        `image` (as of `ray.data.read_images(..., include_paths=True)`); with `path` alone each is read where
        it is screened.
    bundle
        A bundle's folder, or an opened bundle; by default the bundled model. It is sent to the machines.
    threads
        How many photographs are screened at the same time, each by an actor with a core of its own; by
        default as many as the cluster has room for.
    device
        Where the network computes, `cpu` or `cuda`; then eight actors share a GPU.

    Returns
    -------
    ray.data.Dataset
        The columns of a table of findings: `image`, `path`, `tier`, `melanoma`, the nine diagnoses, the
        scores, what was measured, `problems`, `reasons`, `model` and `version`.

    Raises
    ------
    InputError
        The extra `cluster` is not installed, or there is no column `path`.
    BundleError
        The bundle was refused.

    Examples
    --------
    >>> import ray, dermsentry  # doctest: +SKIP
    >>> photographs = ray.data.read_binary_files("s3://archive/", include_paths=True)  # doctest: +SKIP
    >>> dermsentry.screen_dataset(photographs).write_parquet("s3://results/")  # doctest: +SKIP
    """
    require_extra("cluster")
    columns = dataset.columns() or []
    if "path" not in columns:
        raise InputError(
            f"Received a data set with the columns {', '.join(columns) or 'none'}; expected path, and "
            "bytes or image (include_paths=True)."
        )
    return dataset.map_batches(
        _BatchActor,
        fn_constructor_args=(_Model.of(bundle), device),
        batch_size=BATCH,
        batch_format="numpy",
        **actors(threads, None, gpu=device == "cuda"),
    )


@dataclass(frozen=True)
class _Model:
    """A bundle as it is sent to other machines; the bundled one is there already."""

    name: str
    digest: str
    files: dict[str, bytes] | None

    @staticmethod
    def of(bundle: str | Path | Bundle) -> _Model:
        opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle, threads=1)
        if opened.folder == bundled():
            return _Model(opened.name, opened.card.digest, None)
        names = (MODEL_FILE, CARD_FILE, LEARNED_FILE)
        files = {own: path.read_bytes() for own in names if (path := opened.folder / own).is_file()}
        return _Model(opened.name, opened.card.digest, files)

    def written(self, folder: Path) -> Path:
        """The bundle's folder on this machine, in `folder` if it was sent."""
        if self.files is None:
            return bundled()
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        return folder


class _Actor:
    """What a worker holds: the model, in a guarded process that is begun with the first photograph.

    So it can be made anywhere without an error, and what is wrong with the model is told by who screens.
    """

    def __init__(self, model: _Model, device: Device) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dermsentry-")
        folder = model.written(Path(self._folder.name))
        self._guarded = GuardedScreener(folder, model.name, device=device)

    def screen(self, sources: Iterable[Source]) -> Iterator[Screened]:
        self._guarded.start()  # before a photograph is in hand, which a refused model is no fault of
        return screen_each(sources, self._guarded.screen, self._guarded.model, threads=FETCHED)


class _PartitionActor(_Actor):
    """Screens one partition after another."""

    def __init__(self, model: _Model, device: Device, place: Place) -> None:
        super().__init__(model, device)
        self._place, self._digest = place, model.digest

    def __call__(self, number: int) -> tuple[int, Of]:
        return number, screen_partition(self._place, number, self.screen, self._digest)


class _BatchActor(_Actor):
    """Screens one batch of a data set after another."""

    def __call__(self, batch: dict[str, Any]) -> Any:
        import pyarrow

        rows = [parquet_row(screened.finding) for screened in self.screen(_sources(batch))]
        return pyarrow.Table.from_pylist(rows, schema=parquet_schema())


def _sources(batch: dict[str, Any]) -> Iterator[Source]:
    contents = batch.get("bytes", batch.get("image"))
    for number, path in enumerate(map(str, batch["path"])):
        if contents is not None:
            yield Source(path, content=contents[number])
        elif is_address(path):
            yield remote_source(photograph_at(path, None))
        else:
            yield Source(path)


def _places(images: str | Path | Iterable[str | Path]) -> list[str]:
    """What was given, as every machine has to see it. Raises InputError."""
    each = [images] if is_place(images) else list(images)  # type: ignore[arg-type]
    given = []
    for one in each:
        if not is_place(one):
            raise InputError(
                f"Received {type(one).__name__}; a cluster takes paths and addresses, which "
                "every machine can read."
            )
        text = os.fspath(one)  # type: ignore[arg-type]
        if is_address(text):
            if shown(text) != text:
                raise InputError(
                    f"Received {shown(text)} with a password or a signature, which would be kept with "
                    "the results; give every machine its credentials by its environment."
                )
            if "::" in text:
                raise InputError(f"Received {text}; expected the address of the archive itself.")
        given.append(_absolute(text))
    return given


def _absolute(text: str) -> str:
    return text if is_address(text) else str(Path(text).absolute())


def _counted(sources: Iterator[Source], work: Work) -> Iterator[Source]:
    for source in sources:
        yield source
        work.advance()
