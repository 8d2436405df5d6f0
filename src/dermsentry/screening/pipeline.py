"""`screen` and `iter_screen`: from images to findings, and the files that hold them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

from dermsentry.errors import DataWarning
from dermsentry.files import write_bytes
from dermsentry.model import BUNDLED, Bundle, Device, open_bundle
from dermsentry.progress import track
from dermsentry.screening.finding import Finding
from dermsentry.screening.guarded import GuardedScreeners
from dermsentry.screening.inference import screen_sources
from dermsentry.screening.inputs import (
    ImageInput,
    Source,
    find_photographs,
    only_local,
    path_hash,
    places,
    read_shard,
    require_own_names,
)
from dermsentry.screening.kept_findings import KeptFindings, Run, check_findings, open_findings
from dermsentry.screening.predictions import Challenge, check_challenge
from dermsentry.screening.writers import Write, check_table, predictions_file, table_file


def screen(
    images: ImageInput | Iterable[ImageInput],
    bundle: str | Path | Bundle | GuardedScreeners = BUNDLED,
    *,
    findings: str | Path | None = None,
    force: bool = False,
    shard: str | None = None,
    table: str | Path | None = None,
    predictions: str | Path | None = None,
    predictions_for: Challenge | None = None,
    saliency: str | Path | None = None,
    threads: int | None = None,
    device: Device = "cpu",
    guarded: bool = False,
    strict: bool = True,
    quiet: bool = True,
) -> list[Finding]:
    """Screen images: an alert tier for each, and why.

    For a table, `pandas.DataFrame(findings)` has a row for each finding.

    Parameters
    ----------
    images
        One or many of: a path or a string (a file, a folder, a pattern such as `visits/**/*.jpg`, a zip, tar,
        Parquet or HDF5 file, or an address that `fsspec` knows, such as `s3://bucket/visits`), the bytes of
        an image file, a PIL image, a DICOM data set of pydicom's, or a NumPy array (height, width, 3) of
        uint8, RGB. Images in memory are called `image`, `image_2`, … in the order given, leaving out names
        that files here have.
    bundle
        A bundle's folder, or an opened bundle, or guarded processes that have one; by default the bundled
        model.
    findings
        A file to add each finding to as soon as it is known, as JSON lines. What it has already by path, size
        and time is read from it, not screened again: call it again to resume. A file beside it, its name
        ending in `.run.json`, says what it is of.
    force
        Whether findings of another model, collection or shard in that file are replaced; if not, refused.
    shard
        Screen one of so many parts, such as `3/40`: by a hash of the path, the same everywhere.
    table
        A file to write the findings to as a table when the run ends: `.csv` or `.parquet`.
    predictions
        A file to write the nine probabilities of each readable image to, as a CSV.
    predictions_for
        A challenge whose scorer is to take that file, `isic2018` (Task 3), `isic2019` or `isic2020`: its
        columns in place of the nine.
    saliency
        A folder to write saliency maps to, `NAME.png` for each readable image: where the network saw
        melanoma.
    threads
        How many images are screened at the same time; by default one per core. An opened bundle has its own
        number.
    device
        Where the network computes, `cpu` or `cuda`. An opened bundle has its own.
    guarded
        Whether files are screened in processes of their own, one per thread (Linux), so that one which
        crashes, holds or fills its decoder costs itself alone; without, this process ends with it. They take
        0.2 s to begin. What is in memory is screened here.
    strict
        Whether a path that does not exist is refused; if not, its finding is `unreadable`.
    quiet
        Whether to show no progress on stderr.

    Returns
    -------
    list of Finding
        One for each image, in order; a file that is given twice is screened once, one that `findings` has
        already not again.

    Raises
    ------
    InputError
        A path does not exist or holds no images, an array is no image, two images share a name that a file
        or a saliency map knows them by, there is no such challenge or shard, an extra is not installed, or
        an address cannot be reached.
    BundleError
        The bundle was refused.
    OutputError
        A file cannot be written, or `findings` are of another model, collection or shard.

    Examples
    --------
    >>> import numpy, dermsentry
    >>> skin = numpy.full((300, 300, 3), 200, numpy.uint8)
    >>> [finding.tier for finding in dermsentry.screen([skin, b"no image"])]
    ['cannot-say', 'unreadable']
    """
    return list(
        iter_screen(
            images, bundle, findings=findings, force=force, shard=shard, table=table, predictions=predictions,
            predictions_for=predictions_for, saliency=saliency, threads=threads, device=device,
            guarded=guarded, strict=strict, quiet=quiet,
        )
    )  # fmt: skip


def iter_screen(
    images: ImageInput | Iterable[ImageInput],
    bundle: str | Path | Bundle | GuardedScreeners = BUNDLED,
    *,
    findings: str | Path | None = None,
    force: bool = False,
    shard: str | None = None,
    table: str | Path | None = None,
    predictions: str | Path | None = None,
    predictions_for: Challenge | None = None,
    saliency: str | Path | None = None,
    threads: int | None = None,
    device: Device = "cpu",
    guarded: bool = False,
    strict: bool = True,
    quiet: bool = True,
) -> Iterator[Finding]:
    """Screen images one after another, yielding each finding while the rest is under way.

    Nothing is screened, and no file written, before the iterator is used. `findings` grow with each one; the
    tables take their place once the last was taken, saliency maps one by one. What is wrong with the images,
    their names or the bundle is raised by the call itself; with what an iterator gives or an archive holds,
    when it comes to that.

    Parameters
    ----------
    images
        One or many paths, addresses, bytes, PIL images, DICOM data sets or arrays (height, width, 3) of
        uint8, as `screen` takes them; of an iterator each is taken when its turn comes.
    bundle
        A bundle's folder, or an opened bundle, or guarded processes that have one; by default the bundled
        model.
    findings
        A file to add each finding to as soon as it is known, as JSON lines. What it has already by path, size
        and time is read from it, not screened again: call it again to resume. A file beside it, its name
        ending in `.run.json`, says what it is of.
    force
        Whether findings of another model, collection or shard in that file are replaced; if not, refused.
    shard
        Screen one of so many parts, such as `3/40`: by a hash of the path, the same everywhere.
    table
        A file to write the findings to as a table when the run ends: `.csv` or `.parquet`.
    predictions
        A file to write the nine probabilities of each readable image to, as a CSV.
    predictions_for
        A challenge whose scorer is to take that file, `isic2018` (Task 3), `isic2019` or `isic2020`: its
        columns in place of the nine.
    saliency
        A folder to write saliency maps to, `NAME.png` for each readable image.
    threads
        How many images are screened at the same time; by default one per core.
    device
        Where the network computes, `cpu` or `cuda`.
    guarded
        Whether files are screened in processes of their own, one per thread (Linux), so that one which
        crashes, holds or fills its decoder costs itself alone; without, this process ends with it. They take
        0.2 s to begin. What is in memory is screened here.
    strict
        Whether a path that does not exist is refused; if not, its finding is `unreadable`.
    quiet
        Whether to show no progress on stderr.

    Returns
    -------
    iterator of Finding
        One for each image, in order, a file that is given twice once. Memory stays flat, whatever their
        number.

    Raises
    ------
    InputError
        A path does not exist or holds no images, an array is no image, two images share a name that a file
        or a saliency map knows them by, there is no such challenge or shard, an extra is not installed, or
        an address cannot be reached.
    BundleError
        The bundle was refused.
    OutputError
        A file cannot be written, or `findings` are of another model, collection or shard.

    Examples
    --------
    >>> import numpy, dermsentry
    >>> pictures = (numpy.full((300, 300, 3), light, numpy.uint8) for light in (10, 200))
    >>> for finding in dermsentry.iter_screen(pictures):
    ...     print(finding.image, finding.reasons[0])
    image too dark: retake with more light
    image_2 no lesion in view: retake with the lesion in the middle
    """
    check_challenge(predictions_for)
    part = None if shard is None else read_shard(shard)
    if table is not None:
        check_table(Path(table))
    saliency_folder = Path(saliency) if saliency is not None else None

    def found() -> Iterator[Source]:
        return find_photographs(images, leave_out=saliency_folder, strict=strict, shard=part)

    sources, total = found(), None
    if only_local(images):
        if saliency_folder is not None or predictions is not None:
            what = "a table of predictions" if predictions is not None else "a saliency map"
            require_own_names(found(), what)
        total = None if quiet else sum(1 for _ in found())
    if isinstance(bundle, GuardedScreeners):
        bundle.start()
    elif not isinstance(bundle, Bundle):
        bundle = open_bundle(bundle, threads=threads, device=device)
    run = Run(bundle.name, bundle.card.digest, places(images), part)
    if findings is not None:
        check_findings(Path(findings), run, force=force)
    return _screened(
        sources,
        bundle,
        findings=None if findings is None else lambda: open_findings(Path(findings), run, force=force),
        tables=[
            *([] if table is None else [lambda: table_file(Path(table))]),
            *([] if predictions is None else [lambda: predictions_file(Path(predictions), predictions_for)]),
        ],
        saliency=saliency_folder,
        guarded=guarded,
        total=total,
        quiet=quiet,
    )


def _screened(
    sources: Iterator[Source],
    bundle: Bundle | GuardedScreeners,
    *,
    findings: Callable[[], AbstractContextManager[KeptFindings]] | None,
    tables: list[Callable[[], AbstractContextManager[Write]]],
    saliency: Path | None,
    guarded: bool,
    total: int | None,
    quiet: bool,
) -> Iterator[Finding]:
    with ExitStack() as files:
        kept = None if findings is None else files.enter_context(findings())
        writers = [files.enter_context(table()) for table in tables]
        drawn: dict[int, str] = {}
        known = None if kept is None else partial(kept.find, saliency=saliency)
        if guarded and isinstance(bundle, Bundle):
            screeners = GuardedScreeners(
                bundle.folder, threads=bundle.threads, device=bundle.device, opened=bundle
            )
            bundle = files.enter_context(screeners)
        results = screen_sources(sources, bundle, saliency=saliency is not None, known=known)
        for screened in results if quiet else track(results, "Screening", total):
            finding = screened.finding
            if saliency is not None and screened.saliency is not None:
                _draw(saliency / f"{finding.image}.png", screened.saliency, finding, drawn)
            if kept is not None and not screened.kept:
                kept.add(finding)
            for write in writers:
                write(finding)
            yield finding
        if kept is not None:
            kept.finish()


def _draw(path: Path, picture: bytes, finding: Finding, drawn: dict[int, str]) -> None:
    """Write a saliency map; the second of a name, which in archives is known only now, is told instead."""
    other = drawn.setdefault(path_hash(finding.image), finding.path)
    if other == finding.path:
        write_bytes(path, picture)
    else:
        warnings.warn(
            f"no saliency map of {finding.path}: it has the name of {other}.", DataWarning, stacklevel=3
        )
