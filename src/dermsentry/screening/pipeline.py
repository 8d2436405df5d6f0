"""`screen` and `iter_screen`: from images to findings, and the files that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from dermsentry.files import write_bytes
from dermsentry.model import BUNDLED, Bundle, open_bundle
from dermsentry.progress import track
from dermsentry.screening.finding import Finding
from dermsentry.screening.inference import screen_sources
from dermsentry.screening.inputs import ImageInput, Source, find_photographs, require_own_names
from dermsentry.screening.predictions import Challenge, check_challenge
from dermsentry.screening.writers import findings_file, predictions_file


def screen(
    images: ImageInput | Iterable[ImageInput],
    bundle: str | Path | Bundle = BUNDLED,
    *,
    findings: str | Path | None = None,
    predictions: str | Path | None = None,
    predictions_for: Challenge | None = None,
    saliency: str | Path | None = None,
    threads: int | None = None,
    strict: bool = True,
    quiet: bool = True,
) -> list[Finding]:
    """Screen images: an alert tier for each, and why.

    For a table, `pandas.DataFrame(findings)` has a row for each finding.

    Parameters
    ----------
    images
        One or many of: a path or a string (a file, a folder or a pattern such as `visits/**/*.jpg`), the
        bytes of an image file, a PIL image, or a NumPy array (height, width, 3) of uint8, RGB. Images in
        memory are called `image`, `image_2`, … in the order given, leaving out names that files here have.
    bundle
        A bundle's folder, or an opened bundle; by default the bundled model.
    findings
        A file to write the findings to, as JSON lines.
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
    strict
        Whether a path that does not exist is refused; if not, its finding is `unreadable`.
    quiet
        Whether to show no progress on stderr.

    Returns
    -------
    list of Finding
        One for each image, in order; a file that is given twice is screened once.

    Raises
    ------
    InputError
        A path does not exist or holds no images, an array is no image, two images share a name that a file
        or a saliency map knows them by, or there is no such challenge.
    BundleError
        The bundle was refused.
    OutputError
        A file cannot be written.
    """
    return list(
        iter_screen(
            images, bundle, findings=findings, predictions=predictions, predictions_for=predictions_for,
            saliency=saliency, threads=threads, strict=strict, quiet=quiet,
        )
    )  # fmt: skip


def iter_screen(
    images: ImageInput | Iterable[ImageInput],
    bundle: str | Path | Bundle = BUNDLED,
    *,
    findings: str | Path | None = None,
    predictions: str | Path | None = None,
    predictions_for: Challenge | None = None,
    saliency: str | Path | None = None,
    threads: int | None = None,
    strict: bool = True,
    quiet: bool = True,
) -> Iterator[Finding]:
    """Screen images one after another, yielding each finding while the rest is under way.

    Nothing is screened, and no file written, before the iterator is used; the two files take their place once
    the last finding was taken, saliency maps one by one. What is wrong with the images, their names or the
    bundle is raised by the call itself.

    Parameters
    ----------
    images
        One or many paths, bytes, PIL images or arrays (height, width, 3) of uint8, as `screen` takes them;
        images in memory are held until all are screened.
    bundle
        A bundle's folder, or an opened bundle; by default the bundled model.
    findings
        A file to write the findings to, as JSON lines.
    predictions
        A file to write the nine probabilities of each readable image to, as a CSV.
    predictions_for
        A challenge whose scorer is to take that file, `isic2018` (Task 3), `isic2019` or `isic2020`: its
        columns in place of the nine.
    saliency
        A folder to write saliency maps to, `NAME.png` for each readable image.
    threads
        How many images are screened at the same time; by default one per core.
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
        or a saliency map knows them by, or there is no such challenge.
    BundleError
        The bundle was refused.
    OutputError
        A file cannot be written.
    """
    check_challenge(predictions_for)
    saliency_folder = Path(saliency) if saliency is not None else None
    sources = find_photographs(images, leave_out=saliency_folder, strict=strict)
    if saliency_folder is not None or predictions is not None:
        require_own_names(sources, "a table of predictions" if predictions is not None else "a saliency map")
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle, threads=threads)
    return _screened(
        sources,
        opened,
        findings=Path(findings) if findings is not None else None,
        predictions=Path(predictions) if predictions is not None else None,
        challenge=predictions_for,
        saliency=saliency_folder,
        quiet=quiet,
    )


def _screened(
    sources: list[Source],
    bundle: Bundle,
    *,
    findings: Path | None,
    predictions: Path | None,
    challenge: Challenge | None,
    saliency: Path | None,
    quiet: bool,
) -> Iterator[Finding]:
    with ExitStack() as files:
        writers = []
        if findings is not None:
            writers.append(files.enter_context(findings_file(findings)))
        if predictions is not None:
            writers.append(files.enter_context(predictions_file(predictions, challenge)))
        results = screen_sources(sources, bundle, saliency=saliency is not None)
        for screened in results if quiet else track(results, "Screening", len(sources)):
            for write in writers:
                write(screened.finding)
            if saliency is not None and screened.saliency is not None:
                write_bytes(saliency / f"{screened.finding.image}.png", screened.saliency)
            yield screened.finding
