"""Fetching a set: list it, see what is there already, fetch the rest, and say what came of it."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from dermsentry.diagnoses import name_of
from dermsentry.errors import ArchiveError, OutputError
from dermsentry.fetching import archive
from dermsentry.fetching.archive import ArchiveImage, find_collection, find_image, images_by_id, images_of
from dermsentry.fetching.changes import Change, find_changes
from dermsentry.fetching.folder import (
    RECORD,
    read_sums,
    require_own,
    write_changes,
    write_metadata,
    write_sums,
)
from dermsentry.fetching.sets import Wanted, wanted
from dermsentry.fetching.transfer import THREADS, Connection, GoneProblem, Problem, connect
from dermsentry.files import sha256, versions, whole_file, write_json
from dermsentry.image_formats import SUFFIXES
from dermsentry.parallel import map_ordered
from dermsentry.progress import track

FAILURES_IN_A_ROW = 12
"""So many photographs in a row that cannot be fetched: it is the network, and not the photographs."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Fetched:
    """What came of a fetch; the fields are those of `fetch.json`.

    Attributes
    ----------
    schema
        Number of the schema of `fetch.json`.
    name
        The set, such as `isic9` or `collection 212`; `set` in the file.
    folder
        Where it was written; not in the file.
    source, title
        The address of the archive's API, and the collection's name there; `""` for isic9.
    images
        How many photographs the set has.
    fetched, kept, replaced
        How many were fetched, how many were there already and whole, and how many of those that were fetched
        had been changed since an earlier fetch.
    failed
        Why a photograph could not be fetched, by ISIC id.
    missing
        Ids that the archive does not have, or does not make public.
    licences
        How many photographs have each licence (`copyright_license`).
    changes
        Files whose class folder the archive does not bear out; `changes.csv`, and their number here.
    finished
        When it was done, in UTC; None where it was interrupted.
    versions
        With what it was fetched.

    Examples
    --------
    >>> import dermsentry
    >>> fetched = dermsentry.fetch("ham10000", "ham10000")  # doctest: +SKIP
    >>> fetched.complete, fetched.images, fetched.licences  # doctest: +SKIP
    >>> fetched.failed, fetched.missing  # doctest: +SKIP
    """

    derived: ClassVar[tuple[str, ...]] = ("contradicted",)

    schema: int = field(default=1, init=False)
    name: str = field(metadata={"json": "set"})
    folder: Path = field(metadata={"json": None})
    source: str
    title: str
    images: int = 0
    fetched: int = 0
    kept: int = 0
    replaced: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    licences: Mapping[str, int] = field(default_factory=dict)
    changes: tuple[Change, ...] = field(default=(), metadata={"json": None})
    finished: str | None = None
    versions: dict[str, str] = field(default_factory=versions)

    def __repr__(self) -> str:
        return (
            f"<Fetched {self.name} to {self.folder}: {self.fetched + self.kept:,} of {self.images:,} "
            f"photographs, {len(self.failed) + len(self.missing):,} could not be fetched>"
        )

    @property
    def complete(self) -> bool:
        """Whether every photograph of the set is there."""
        return not self.failed and not self.missing

    @property
    def contradicted(self) -> int:
        """How many files are in another class folder than the archive's diagnosis."""
        return sum(change.kind == "contradicted" for change in self.changes)


@dataclass(frozen=True)
class _Result:
    """What came of one photograph: the SHA-256 of its files by path, or why it failed."""

    isic_id: str
    state: Literal["fetched", "kept", "replaced", "failed"]
    sums: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


def fetch(
    what: str | int,
    out: str | Path,
    *,
    say: Callable[[str], object] | None = None,
    quiet: bool = True,
) -> Fetched:
    """Rebuild a set from the ISIC Archive: photographs by id, with their licences and present labels.

    Four photographs are fetched at a time, and no more than ten requests started in a second. What fails in
    passing is tried again, with growing pauses and after as long as the server asks. Proxies are those of the
    environment (`HTTPS_PROXY`, `NO_PROXY`). Run it again to resume: what is there and whole is not fetched
    again.

    Parameters
    ----------
    what
        `isic9`, the nine-class set in its class folders; `ham10000` or `isic2019`; or the number of a
        collection of the archive, such as 212.
    out
        A new folder, or that of an earlier fetch of the same set. A photograph is moved there only when its
        size, and its checksum where the server gives one, are right.
    say
        Called with a sentence for how much is to be fetched, for each photograph that could not be, and for
        each long pause.
    quiet
        Show no progress on stderr.

    Returns
    -------
    Fetched
        What was fetched and what not, and for isic9 where the archive contradicts the class folders. A
        photograph that cannot be fetched is a line in `failed`, not an error.

    Raises
    ------
    InputError
        There is no such set or collection, `out` is another folder, or the proxy settings cannot be used.
    OutputError
        `out` cannot be written, or has too little space.
    ArchiveError
        The archive cannot be reached, or its answers are not understood.

    Examples
    --------
    >>> import dermsentry
    >>> fetched = dermsentry.fetch("ham10000", "ham10000")  # doctest: +SKIP
    >>> fetched.complete  # doctest: +SKIP
    """
    folder, told, stopping = Path(out), say or _ignore, threading.Event()
    chosen = wanted(what)
    require_own(folder, chosen.name)
    with connect(urlsplit(archive.API).scheme == "https", stopping, told) as connection:
        title = "" if chosen.collection is None else find_collection(connection, chosen.collection).name
        result = Fetched(name=chosen.name, folder=folder, source=archive.API, title=title)
        write_json(folder / RECORD, result)
        found = _list(connection, chosen, quiet)
        missing = tuple(isic_id for isic_id in chosen.places if isic_id not in found)
        files = {isic_id: _paths(chosen, isic_id, found.get(isic_id)) for isic_id in (*found, *missing)}
        result = replace(
            result,
            images=len(found) + len(missing),
            missing=missing,
            licences=dict(Counter(image.copyright_license for image in found.values()).most_common()),
            changes=find_changes(files, found) if chosen.places else (),
        )
        write_metadata(folder, list(found.values()))
        if chosen.places:
            write_changes(folder, result.changes)
        for isic_id in missing:
            told(f"{isic_id}: the archive has no public photograph of this id.")
        return _fetch_all(connection, found, files, result, quiet)


def _ignore(sentence: str) -> None:
    """The caller did not ask."""


def _list(connection: Connection, chosen: Wanted, quiet: bool) -> dict[str, ArchiveImage]:
    if chosen.collection is None:
        images = images_by_id(connection, list(chosen.places))
    else:
        images = images_of(connection, chosen.collection)
    total = len(chosen.places) or None
    return {image.isic_id: image for image in track(images, "Listing", total=total, quiet=quiet)}


def _fetch_all(
    connection: Connection,
    found: Mapping[str, ArchiveImage],
    files: Mapping[str, Sequence[str]],
    result: Fetched,
    quiet: bool,
) -> Fetched:
    folder = result.folder
    known = read_sums(folder)
    _require_space(folder, found, files, connection.say)
    sums = {path: digest for path, digest in known.items() if (folder / path).is_file()}
    counts: Counter[str] = Counter()
    failed: dict[str, str] = {}
    in_a_row = 0

    def one(image: ArchiveImage) -> _Result:
        return _fetch_one(connection, folder, image, files[image.isic_id], known)

    results = map_ordered(
        one, found.values(), threads=THREADS, ahead=2 * THREADS, stopping=connection.stopping
    )
    try:
        for got in track(results, "Fetching", total=len(found), quiet=quiet):
            counts[got.state] += 1
            sums.update(got.sums)
            in_a_row = in_a_row + 1 if got.reason else 0
            if got.reason:
                failed[got.isic_id] = got.reason
                connection.say(f"{got.isic_id}: {got.reason}.")
            if in_a_row == FAILURES_IN_A_ROW:
                raise ArchiveError(
                    f"{in_a_row} photographs in a row could not be fetched, the last because {got.reason}. "
                    "Check the network and the proxy settings; run it again to resume."
                )
        result = replace(result, finished=datetime.now(UTC).isoformat(timespec="seconds"))
    finally:
        results.close()
        result = replace(
            result,
            fetched=counts["fetched"] + counts["replaced"],
            kept=counts["kept"],
            replaced=counts["replaced"],
            failed=failed,
        )
        write_sums(folder, sums)
        write_json(folder / RECORD, result)
    return result


def _paths(chosen: Wanted, isic_id: str, image: ArchiveImage | None) -> tuple[str, ...]:
    """The files of a photograph, with the suffix that it has in the archive."""
    suffix = PurePosixPath(urlsplit(image.files.full.url).path).suffix.lower() if image else ""
    suffix = suffix if suffix in SUFFIXES else ".jpg"
    return tuple(f"{place}{suffix}" for place in chosen.places.get(isic_id, (isic_id,)))


def _require_space(
    folder: Path,
    found: Mapping[str, ArchiveImage],
    files: Mapping[str, Sequence[str]],
    say: Callable[[str], object],
) -> None:
    sizes = [
        image.files.full.size
        for isic_id, image in found.items()
        for path in files[isic_id]
        if not (folder / path).is_file()
    ]
    needed = sum(sizes)
    if needed:
        say(f"To be written: {len(sizes):,} files, {needed / 1e6:,.1f} MB.")
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"{folder} has {free / 1e9:,.1f} GB of free space, and {needed / 1e9:,.1f} GB are still to be "
            "fetched. Choose another folder or free space."
        )


def _fetch_one(
    connection: Connection,
    folder: Path,
    image: ArchiveImage,
    paths: Sequence[str],
    known: Mapping[str, str],
) -> _Result:
    there = {path: folder / path for path in paths if (folder / path).is_file()}
    whole = {path: sha256(file) for path, file in there.items() if _has_size(file, image)}
    whole = {path: digest for path, digest in whole.items() if known.get(path, digest) == digest}
    if len(whole) == len(paths):
        return _Result(image.isic_id, "kept", whole)
    first = next(iter(whole), paths[0])
    if not whole:
        try:
            whole[first] = _save(connection, image, folder / first)
        except Problem as problem:
            return _Result(image.isic_id, "failed", reason=problem.reason)
    for path in paths:
        if path not in whole:
            with whole_file(folder / path) as temporary:
                shutil.copyfile(folder / first, temporary)
            whole[path] = whole[first]
    return _Result(image.isic_id, "replaced" if there else "fetched", whole)


def _has_size(file: Path, image: ArchiveImage) -> bool:
    return file.stat().st_size == image.files.full.size


def _save(connection: Connection, image: ArchiveImage, path: Path) -> str:
    try:
        return connection.save(image.files.full.url, image.files.full.size, path)
    except GoneProblem:
        # An address is signed for a while only, and a large set takes longer.
        full = find_image(connection, image.isic_id).files.full
        return connection.save(full.url, full.size, path)


def summary(result: Fetched) -> Iterator[str]:
    """What came of a fetch, in lines for a terminal."""
    failed = len(result.failed) + len(result.missing)
    replaced = f" ({result.replaced:,} of them changed since)" if result.replaced else ""
    yield (
        f"{result.images:,} photographs of {result.title or result.name}: {result.fetched:,} "
        f"fetched{replaced}, {result.kept:,} there already, {failed:,} could not be fetched"
    )
    if result.licences:
        yield "Licences: " + ", ".join(f"{name} {count:,}" for name, count in result.licences.items())
    kinds = Counter(change.kind for change in result.changes)
    if kinds:
        yield "Class folders: " + ", ".join(f"{count:,} files {kind}" for kind, count in kinds.most_common())
    pairs = Counter((c.folder, c.archive) for c in result.changes if c.kind == "contradicted")
    for (folder, label), count in pairs.most_common():
        yield f"  {name_of(folder)} by its folder, {name_of(label)} in the archive: {count:,}"
