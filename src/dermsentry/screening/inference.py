"""The way from files to findings, side by side on every core.

Each thread takes one photograph after another from file to finding: decode, fit, quality, network, triage.
So no core waits for another, what a photograph needs stays in one core's cache, and memory does not grow with
their number. Decoding, resizing and the network let other threads run meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dermsentry.diagnoses import MELANOMA
from dermsentry.images import Photograph, Unreadable, fit, read_photograph
from dermsentry.model import Bundle
from dermsentry.model.card import Floats
from dermsentry.parallel import map_ordered
from dermsentry.screening.finding import Finding
from dermsentry.screening.inputs import Source
from dermsentry.screening.quality import assess
from dermsentry.screening.saliency import draw_saliency
from dermsentry.screening.triage import triage

AHEAD = 16  # photographs a thread may be ahead of the slowest one before it, or of who takes the findings


@dataclass(frozen=True)
class Screened:
    """A finding, and its saliency map as PNG where one was wanted and the photograph could be read.

    `embedding` (d,): what the network made of the photograph; None where it could not be read.
    """

    finding: Finding
    saliency: bytes | None = None
    embedding: Floats | None = None


def screen_sources(
    sources: Iterable[Source], bundle: Bundle, *, saliency: bool = False
) -> Iterator[Screened]:
    """Screen photographs on the bundle's threads, yielding each as soon as it and all before it are done.

    Raises
    ------
    BundleError
        The network failed.
    """
    # One more than the cores: while one waits for the interpreter, another computes (5 % faster on two).
    return map_ordered(
        lambda source: _screen_one(source, bundle, saliency),
        sources,
        threads=bundle.threads + (bundle.threads > 1),
        ahead=AHEAD * bundle.threads,
    )


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


def unreadable(reason: str, bundle: Bundle, name: str = "", path: str = "") -> Screened:
    """What screening says of a file that cannot be read."""
    return Screened(Finding(name, path, "unreadable", None, None, None, None, (reason,), bundle.name))


def _score(output: Floats) -> float:
    return min(max(round(float(output[0]), 4), 0.0), 1.0)


def _screen_one(source: Source, bundle: Bundle, saliency: bool) -> Screened:
    if source.refused:
        return unreadable(source.refused, bundle, source.name, source.path)
    try:
        root = Path(source.root) if source.root is not None else None
        content = Path(source.path) if source.content is None else source.content
        photograph = read_photograph(content, root=root, enough_for=2 * bundle.card.size)
    except Unreadable as error:
        return unreadable(error.reason, bundle, source.name, source.path)
    return screen_photograph(photograph, bundle, source.name, source.path, saliency=saliency)
