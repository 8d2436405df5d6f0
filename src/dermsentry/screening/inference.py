"""The way from files to findings, side by side on every core.

Each thread takes one photograph after another from file to finding: decode, fit, quality, network, triage.
So no core waits for another, what a photograph needs stays in one core's cache, and memory does not grow with
their number. Decoding, resizing and the network let other threads run meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dermsentry.diagnoses import MELANOMA
from dermsentry.errors import InputError, require_extra
from dermsentry.image_formats import DICOM, HEAD, format_of
from dermsentry.images import Aspect, Photograph, Unopened, Unreadable, fit, read_bytes, read_photograph
from dermsentry.model import Bundle
from dermsentry.model.card import Floats
from dermsentry.parallel import map_ordered
from dermsentry.screening.finding import Finding
from dermsentry.screening.quality import assess
from dermsentry.screening.saliency import draw_saliency
from dermsentry.screening.triage import triage

if TYPE_CHECKING:
    from dermsentry.screening.guarded import GuardedScreeners
    from dermsentry.screening.inputs import Loaded, Source

AHEAD = 16  # photographs a thread may be ahead of the slowest one before it, or of who takes the findings
MOST_WAITING = 256 * 1024 * 1024
"""Bytes of photographs in archives that wait for a thread."""


@dataclass(frozen=True)
class Screened:
    """A finding, and its saliency map as PNG where one was wanted and the photograph could be read.

    `embedding` (d,): what the network made of the photograph; None where it could not be read.
    `kept`: it was known before, and the photograph not screened.
    """

    finding: Finding
    saliency: bytes | None = None
    embedding: Floats | None = None
    kept: bool = False


def screen_sources(
    sources: Iterable[Source],
    bundle: Bundle | GuardedScreeners,
    *,
    saliency: bool = False,
    known: Callable[[Source], Finding | None] | None = None,
) -> Iterator[Screened]:
    """Screen photographs on the bundle's threads, yielding each as soon as it and all before it are done.

    Parameters
    ----------
    sources
        The photographs, taken one by one.
    bundle
        The model; or processes that have it, so that a file which stops its decoder costs itself alone.
    saliency
        Whether to draw saliency maps.
    known
        The finding of a photograph that was screened before, which is then not read again; called on any
        thread.

    Raises
    ------
    BundleError
        The network failed.
    """

    def screened(source: Source, content: Loaded) -> Screened:
        if not isinstance(bundle, Bundle):
            return bundle.screen(source, content, saliency=saliency)
        photograph = decode(content, name=source.path, fitted=bundle.card.fitted)
        return screen_photograph(photograph, bundle, source.name, source.path, saliency=saliency)

    # One more than the cores: while one waits for the interpreter, another computes (5 % faster on two).
    threads = bundle.threads + (bundle.threads > 1)
    return screen_each(sources, screened, bundle.name, threads=threads, known=known)


def screen_each(
    sources: Iterable[Source],
    screened: Callable[[Source, Loaded], Screened],
    model: str,
    *,
    threads: int,
    known: Callable[[Source], Finding | None] | None = None,
) -> Iterator[Screened]:
    """Take photographs from source to finding, in order, on threads, whatever it is that screens them.

    Parameters
    ----------
    sources
        The photographs, taken one by one.
    screened
        What screens a photograph that was read; raises Unreadable or MemoryError where it cannot be decoded.
    model
        What the findings of unreadable photographs call it.
    threads
        How many photographs are read and screened at the same time.
    known
        The finding of a photograph that was screened before, which is then not read again; called on any
        thread.
    """
    room, waiting = threading.Condition(), [0]

    def fetched() -> Iterator[tuple[Source, Finding | None]]:
        for source in sources:
            if not source.passing or source.refused:
                yield source, None
                continue
            finding = None if known is None else known(source)
            source = source if finding is not None else _fetched(source)
            size = len(source.content) if isinstance(source.content, bytes) else 0
            with room:  # a thread that is done makes some
                while waiting[0] and waiting[0] + size > MOST_WAITING:
                    room.wait()
                waiting[0] += size
            yield source, finding

    def one(item: tuple[Source, Finding | None]) -> Screened:
        source, finding = item
        try:
            if finding is None and known is not None and not source.passing:
                finding = known(source)
            return Screened(finding, kept=True) if finding else _screen_one(source, screened, model)
        finally:
            if source.passing and isinstance(source.content, bytes):
                with room:
                    waiting[0] -= len(source.content)
                    room.notify()

    return map_ordered(one, fetched(), threads=threads, ahead=AHEAD * threads)


def _fetched(source: Source) -> Source:
    """The same photograph with its bytes, or why they cannot be had."""
    try:
        return replace(source, content=source.content() if callable(source.content) else source.content)
    except Unreadable as error:
        return replace(source, content=None, refused=error.reason)


def screen_photograph(
    photograph: Photograph, bundle: Bundle, name: str = "", path: str = "", *, saliency: bool = False
) -> Screened:
    """Screen a decoded photograph; `name` and `path` are what its finding calls it.

    Raises
    ------
    BundleError
        The network failed.
    """
    card = bundle.card
    pixels = fit(photograph.pixels, card.size, card.aspect)
    quality = assess(pixels, photograph.width, photograph.height)
    outputs = bundle.predict_here(pixels[None])
    # Rounded before anything is decided, so that a finding's numbers and its tier never disagree.
    shares = [min(round(float(share), 6), 1.0) for share in outputs.probability[0]]
    probabilities = dict(zip(card.classes, shares, strict=True))
    no_lesion = None if card.no_lesion is None else _score(outputs.no_lesion)
    unlike = None if card.out_of_distribution is None else _score(outputs.out_of_distribution)
    tier, reasons = triage(probabilities, no_lesion, unlike, quality, card)
    reasons = (*reasons, photograph.doubt) if photograph.doubt else reasons
    finding = Finding(name, path, tier, probabilities, no_lesion, unlike, quality, reasons, bundle.name)
    melanoma = outputs.class_activation[0, :, :, card.classes.index(MELANOMA)]
    drawn = draw_saliency(pixels, melanoma) if saliency else None
    return Screened(finding, drawn, outputs.embedding[0])


def unreadable(reason: str, model: str, name: str = "", path: str = "") -> Screened:
    """What screening by `model` says of a file that cannot be read."""
    return Screened(Finding(name, path, "unreadable", None, None, None, None, (reason,), model))


def _score(output: Floats) -> float:
    return min(max(round(float(output[0]), 4), 0.0), 1.0)


def _screen_one(source: Source, screened: Callable[[Source, Loaded], Screened], model: str) -> Screened:
    version = source.known_version()  # before it is read, so that what changes meanwhile is seen as changed
    try:
        if source.refused:
            raise Unreadable(source.refused)
        found = screened(source, _load(source))
    except (Unreadable, MemoryError) as error:
        reason = error.reason if isinstance(error, Unreadable) else "too large to decode"
        found = unreadable(reason, model, source.name, source.path)
        version = None if isinstance(error, Unopened) else version
    return replace(found, finding=replace(found.finding, version=version))


def _load(source: Source) -> Loaded:
    """A photograph's bytes, or what it is in memory. Raises Unreadable."""
    content = source.content
    if callable(content):
        content = content()
    if content is None:
        content = read_bytes(Path(source.path), Path(source.root) if source.root is not None else None)
    return content


def decode(content: Loaded, *, name: str, fitted: tuple[int, Aspect]) -> Photograph:
    """Decode a photograph whose name says what it may be; `fitted`: as in `images.read_photograph`.

    Raises
    ------
    Unreadable
        It is no photograph, or damaged.
    """
    if isinstance(content, bytes):
        if format_of(content[:HEAD]) != DICOM:
            return read_photograph(content, fitted=fitted, name=name)
        read = _dicom()
    elif hasattr(content, "save_as"):  # a data set, which neither an array nor an image of Pillow's has
        read = _dicom()
    else:
        return read_photograph(content)
    return read(content)


def _dicom() -> Callable[..., Photograph]:
    """What decodes a DICOM file or data set. Raises Unreadable where its library is not installed."""
    try:
        require_extra("dicom")
    except InputError as error:
        raise Unopened(f"a DICOM file: {error}".rstrip(".")) from None
    from dermsentry.dicom.files import as_file, read_dicom

    return lambda content: read_dicom(content if isinstance(content, bytes) else as_file(content))
