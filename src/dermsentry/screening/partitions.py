"""Screening in partitions: what each holds is planned once, and each is written whole or not at all.

    plan/000001.json.gz              which photographs are in a partition
    findings/part-000001.parquet     their findings, in the same partition
    manifest.json                    the model, the configuration, versions, counts, and every partition

A photograph is in one partition of the plan, and so has one finding, whoever screens a partition and however
often. A partition is finished where its Parquet file ends with what it is of: this plan and this model. So
nothing but the files decides what is missing, and a run that was stopped anywhere is resumed by another.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from dermsentry.errors import InputError, MissingExtraError, OutputError
from dermsentry.files import to_json
from dermsentry.parallel import map_ordered
from dermsentry.screening.archives import Kind
from dermsentry.screening.finding import SCHEMA, Finding
from dermsentry.screening.inference import Screened
from dermsentry.screening.inputs import (
    Source,
    find_photographs,
    path_hash,
    read_shard,
    remote_source,
)
from dermsentry.screening.place import Place
from dermsentry.screening.remote import is_address, photograph_at
from dermsentry.screening.triage import TIERS
from dermsentry.screening.writers import parquet_row, parquet_schema, utf8

MANIFEST = "manifest.json"
PARTITION = 500
"""Photographs in a partition: seconds of a core, which is what a kill costs at most."""
_PLANS, _FINDINGS = "plan", "findings"
_OF = b"dermsentry"  # the name, in a Parquet file, of what it is of
_PER_PART: dict[Kind, int] = {"zip": 64 << 20, "Parquet": 64 << 20, "HDF5": 64 << 20, "tar": 1 << 30}
"""Bytes of an archive to a partition. A tar is read to its end for each; of the others, what is wanted."""
_AT_ONCE = 16  # files that are read side by side, which at an address take their time

Screen = Callable[[Iterable[Source]], Iterator[Screened]]
"""What screens photographs, and tells what is known of each."""


@dataclass(frozen=True)
class Planned:
    """What a partition holds: a photograph, or a part of an archive (`shard`, such as `2/5`)."""

    path: str
    root: str | None = None
    version: str | None = None
    refused: str = ""
    shard: str = ""

    @property
    def key(self) -> int:
        """64 bits by which it is known, whatever its version."""
        return path_hash(f"{self.path}\0{self.shard}" if self.shard else self.path)


@dataclass(frozen=True)
class Of:
    """What a partition's findings are of, and how many there are; a part of its Parquet file.

    `plan`: SHA-256 of the file of the plan. `again`: photographs that could not be opened, and are tried
    again by another run. `kept`: of an earlier run.
    """

    plan: str
    digest: str
    schema: int
    tiers: dict[str, int]
    again: int = 0
    kept: int = 0


@dataclass(frozen=True)
class Manifest:
    """What screening on a cluster did, as `manifest.json` says beside its findings.

    Parameters
    ----------
    complete
        Whether every partition was finished.
    model, digest
        The model's name and its card's digest.
    given
        The paths and addresses, of all runs; empty where over 100 were given.
    configuration
        The engine and its options.
    versions
        Of Dermsentry, Python and the libraries that findings depend on.
    counts
        `findings`, and of these each tier; `kept` of earlier runs and not screened again; `again`: could not
        be opened, and are tried again by another run; `gone`: were not among those given this time.
    partitions
        File to its number of findings.
    schema
        Number of the findings' schema.

    Examples
    --------
    >>> import dermsentry
    >>> done = dermsentry.screen_on_cluster("archive/", "results/")  # doctest: +SKIP
    >>> done.complete, done.counts["alert"], len(done.partitions)  # doctest: +SKIP
    """

    complete: bool
    model: str
    digest: str
    given: tuple[str, ...]
    configuration: Mapping[str, Any]
    versions: Mapping[str, str]
    counts: Mapping[str, int] = field(default_factory=dict)
    partitions: Mapping[str, int] = field(default_factory=dict)
    schema: int = SCHEMA


def plan_name(number: int) -> str:
    """The file that says which photographs are in a partition."""
    return f"{_PLANS}/{number:06}.json.gz"


def findings_name(number: int) -> str:
    """The file of a partition's findings."""
    return f"{_FINDINGS}/part-{number:06}.parquet"


def begin(place: Place, manifest: Manifest, *, force: bool = False) -> None:
    """Write the manifest of a run that begins.

    Raises
    ------
    OutputError
        The folder holds findings of another model or of other photographs, which are removed with `force`; or
        it cannot be written.
    """
    there = place.read(MANIFEST)
    numbers = {folder: place.numbers(folder) for folder in (_PLANS, _FINDINGS)}
    if force:
        for number in numbers[_FINDINGS]:
            place.remove(findings_name(number))
        for number in numbers[_PLANS]:
            place.remove(plan_name(number))
    elif there is not None:
        manifest = _resumed(place, manifest, there)
    elif any(numbers.values()):
        raise OutputError(
            f"{place.where} holds partitions, and no {MANIFEST} that says what they are of; choose another "
            "folder, or replace them by --force (force=True)."
        )
    place.write(MANIFEST, to_json(manifest).encode())


def _resumed(place: Place, manifest: Manifest, there: bytes) -> Manifest:
    replace_them = "choose another folder, or replace them by --force (force=True)"
    try:
        before = json.loads(there)
        model, digest, schema, given = (before[key] for key in ("model", "digest", "schema", "given"))
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{place.where}/{MANIFEST} is not a manifest of screening; {replace_them}."
        ) from error
    listed = f"{', '.join(given[:3])}{', …' if len(given) > 3 else ''}"
    shown = f"{place.where} holds findings of {listed}"
    if digest != manifest.digest or schema != manifest.schema:
        raise OutputError(f"{shown} by the model {model}; received {manifest.model}; {replace_them}.")
    if given and manifest.given and not set(given) & set(manifest.given):
        raise OutputError(f"{shown}; received {', '.join(manifest.given[:3])}; {replace_them}.")
    both = tuple(dict.fromkeys((*given, *manifest.given)))
    return Manifest(**{**manifest.__dict__, "given": both})


def make_plan(place: Place, sources: Iterable[Source], size: int) -> int:
    """Plan what was not planned before, `size` photographs to a partition; how many planned ones are gone.

    Of each that was planned before 20 bytes are held in memory. What was planned stays in its partition, with
    its new version if it changed.

    Raises
    ------
    OutputError
        The plan cannot be read or written.
    """
    before = _Before(place)
    last = max(before.partitions, default=0)
    waiting: list[Planned] = []
    changed: dict[int, dict[int, Planned]] = {}
    archives: set[str] = set()

    def flush(rows: list[Planned]) -> None:
        nonlocal last
        last += 1
        place.write(plan_name(last), _packed(rows))

    for one in _planned(sources, archives):
        found = before.find(one)
        if found is None and one.shard:
            flush([one])  # a partition of its own
        elif found is None:
            waiting.append(one)
            if len(waiting) == size:
                flush(waiting)
                waiting = []
        elif not found.same:
            changed.setdefault(found.partition, {})[one.key] = one
    if waiting:
        flush(waiting)
    for number, rows in changed.items():
        place.write(
            plan_name(number), _packed([rows.get(own.key, own) for own in read_plan(place, number)[0]])
        )
    return before.gone(archives)


def _planned(sources: Iterable[Source], archives: set[str]) -> Iterator[Planned]:
    """What to plan of each source; an archive, whose path joins `archives`, in parts by its size."""
    for source in sources:
        version = source.known_version()
        if source.archive is None:
            yield Planned(source.path, source.root, version, source.refused)
            continue
        archives.add(source.path)
        parts = max(1, -(-source.archive.size // _PER_PART[source.archive.kind]))
        for part in range(1, parts + 1):
            yield Planned(source.path, None, version, "", f"{part}/{parts}")


@dataclass(frozen=True)
class _Found:
    partition: int
    same: bool


class _Before:
    """What an earlier run planned."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.partitions = place.numbers(_PLANS)
        keys, versions, partitions = array("Q"), array("Q"), array("I")
        for number, (rows, _) in zip(
            self.partitions, _side_by_side(lambda own: read_plan(place, own), self.partitions), strict=True
        ):
            for row in rows:
                keys.append(row.key)
                versions.append(_state(row))
                partitions.append(number)
        order = np.argsort(np.asarray(keys, np.uint64), kind="stable")
        self._keys = np.asarray(keys, np.uint64)[order]
        self._versions = np.asarray(versions, np.uint64)[order]
        self._partitions = np.asarray(partitions, np.uint32)[order]
        self._met = np.zeros(len(order), bool)

    def find(self, one: Planned) -> _Found | None:
        at = int(np.searchsorted(self._keys, np.uint64(one.key)))
        if at == len(self._keys) or self._keys[at] != np.uint64(one.key):
            return None
        self._met[at] = True
        return _Found(int(self._partitions[at]), bool(self._versions[at] == np.uint64(_state(one))))

    def gone(self, archives: set[str]) -> int:
        """How many were not met again; parts of an archive that now has other parts are removed."""
        count = 0
        for number in map(int, np.unique(self._partitions[~self._met])):
            rows = [row for row in read_plan(self._place, number)[0] if not self._is_met(row)]
            count += sum(row.path not in archives for row in rows)
            if any(row.shard and row.path in archives for row in rows):
                self._place.remove(findings_name(number))
                self._place.remove(plan_name(number))
        return count

    def _is_met(self, row: Planned) -> bool:
        return bool(self._met[int(np.searchsorted(self._keys, np.uint64(row.key)))])


def _state(row: Planned) -> int:
    return path_hash(f"{row.version}\0{row.refused}")


def _packed(rows: list[Planned]) -> bytes:
    text = json.dumps([[own.path, own.root, own.version, own.refused, own.shard] for own in rows])
    return gzip.compress(text.encode(), mtime=0)


def read_plan(place: Place, number: int) -> tuple[list[Planned], str]:
    """What a partition holds, and the SHA-256 of the file that says so. Raises OutputError."""
    data = place.read(plan_name(number))
    if data is None:
        raise OutputError(
            f"{place.where} has no {plan_name(number)}; --out has to be on storage that every machine sees."
        )
    try:
        rows = [Planned(*row) for row in json.loads(gzip.decompress(data))]
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise OutputError(f"{place.where}/{plan_name(number)} is damaged: {error}.") from error
    return rows, hashlib.sha256(data).hexdigest()


def finished(place: Place, digest: str) -> tuple[list[int], dict[int, Of]]:
    """The partitions that are to be screened, and what is known of each that is finished already.

    Raises
    ------
    OutputError
        They cannot be read.
    """
    planned, there = place.numbers(_PLANS), set(place.numbers(_FINDINGS))

    def look(number: int) -> Of | None:
        own = read_findings(place, number)[1] if number in there else None
        current = own is not None and own.plan == read_plan(place, number)[1]
        return own if current and own is not None and own.digest == digest and not own.again else None

    looked = zip(planned, _side_by_side(look, planned), strict=True)
    done = {number: own for number, own in looked if own is not None}
    return [number for number in planned if number not in done], done


def read_findings(place: Place, number: int) -> tuple[Any, Of | None]:
    """The table of a partition's findings, and what they are of; None where there is no whole one."""
    from pyarrow import ArrowInvalid, parquet

    data = place.read(findings_name(number))
    if data is None:
        return None, None
    try:
        table = parquet.read_table(io.BytesIO(data))
        return table, Of(**json.loads(table.schema.metadata[_OF]))
    except (ArrowInvalid, OSError, ValueError, KeyError, TypeError):  # a file that is cut off, or no such one
        return None, None


def screen_partition(place: Place, number: int, screen: Screen, digest: str) -> Of:
    """Screen what a partition holds, and write its findings: whole, or not at all.

    Findings of an earlier run, by the same model and of photographs that did not change, are kept.

    Parameters
    ----------
    place
        Where the plan is, and where the findings go.
    number
        The partition's.
    screen
        What screens photographs, here or in a guarded process.
    digest
        The model's.

    Raises
    ------
    OutputError
        The plan cannot be read, or the findings not written.
    """
    import pyarrow
    from pyarrow import parquet

    rows, plan = read_plan(place, number)
    table, of = read_findings(place, number)
    if of is not None and of.plan == plan and of.digest == digest and not of.again:
        return of  # who screened it was ended before it could tell
    known: dict[tuple[str, str], dict[str, Any]] = {}
    if of is not None and of.digest == digest and of.schema == SCHEMA:
        known = {(row["path"], row["version"]): row for row in table.to_pylist() if row["version"]}
    found: list[dict[str, Any]] = []
    kept = again = 0

    def wanted() -> Iterator[Source]:
        nonlocal kept
        for source in _sources(rows):
            version = source.known_version() if known else None
            before = None if version is None else known.get((utf8(source.path), version))
            if before is None:
                yield source
            else:
                kept += 1
                found.append(before)

    refused = {row.path for row in rows if row.refused}
    for screened in screen(wanted()):
        finding = screened.finding
        found.append(parquet_row(finding))
        again += _to_try_again(finding, refused)
    counts = Counter(row["tier"] for row in found)
    of = Of(plan, digest, SCHEMA, {tier: counts[tier] for tier in TIERS if counts[tier]}, again, kept)
    told = {_OF: json.dumps(asdict(of)).encode()}
    out = pyarrow.BufferOutputStream()
    parquet.write_table(
        pyarrow.Table.from_pylist(found, schema=parquet_schema().with_metadata(told)), out, compression="zstd"
    )
    place.write(findings_name(number), out.getvalue().to_pybytes())
    return of


def _to_try_again(finding: Finding, refused: set[str]) -> bool:
    """Whether it could not be opened, which may go well another time."""
    return finding.tier == "unreadable" and finding.version is None and finding.path not in refused


def _sources(rows: list[Planned]) -> Iterator[Source]:
    for row in rows:
        if row.shard:
            yield from _members(row)
        elif row.refused:
            yield Source(row.path, refused=row.refused)
        elif is_address(row.path):
            yield remote_source(photograph_at(row.path, row.version))
        else:
            yield Source(row.path, row.root, version=row.version)


def _members(row: Planned) -> Iterator[Source]:
    """The photographs of an archive that are in this part of it."""
    shard = read_shard(row.shard)
    try:
        yield from find_photographs([row.path], strict=False, shard=shard)
    except MissingExtraError:
        raise
    except InputError as error:  # the address cannot be reached
        if shard.has(row.path):
            yield Source(row.path, refused=str(error).rstrip("."))


def counts_of(done: Mapping[int, Of], gone: int) -> dict[str, int]:
    """What all partitions add up to."""
    tiers: Counter[str] = Counter()
    for own in done.values():
        tiers.update(own.tiers)
    return {
        "findings": tiers.total(),
        **{tier: tiers[tier] for tier in TIERS},
        "again": sum(own.again for own in done.values()),
        "gone": gone,
    }


def finish(place: Place, manifest: Manifest, done: Mapping[int, Of], kept: int, gone: int) -> Manifest:
    """Write the manifest of a run that is done, and give it back.

    Raises
    ------
    OutputError
        It cannot be written, or a partition is not where it was written.
    """
    lost = sorted(set(done) - set(place.numbers(_FINDINGS)))
    if lost:
        raise OutputError(
            f"{place.where} has no {findings_name(lost[0])}, which another machine wrote; --out has to be on "
            "storage that every machine sees."
        )
    there = place.read(MANIFEST)
    given = tuple(json.loads(there)["given"]) if there is not None else manifest.given
    finding_counts = {findings_name(number): sum(own.tiers.values()) for number, own in sorted(done.items())}
    whole = Manifest(
        **{
            **manifest.__dict__,
            "complete": True,
            "given": given,
            "counts": {**counts_of(done, gone), "kept": kept},
            "partitions": finding_counts,
        }
    )
    place.write(MANIFEST, to_json(whole).encode())
    return whole


def _side_by_side(look: Callable[[int], Any], numbers: list[int]) -> Iterator[Any]:
    return map_ordered(look, numbers, threads=_AT_ONCE, ahead=2 * _AT_ONCE)
