"""The way from files to findings, side by side on every core.

Each thread takes a few photographs from file to finding by itself: decode, fit, quality, network, triage. So
no core waits for another, decoding is never ahead of the network by more than a few photographs, and memory
does not grow with their number. Decoding, resizing and the network let other threads run meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np

from dermsentry.diagnoses import MELANOMA
from dermsentry.images import Pixels, Unreadable, fit, read_photograph
from dermsentry.model import CHUNK, Bundle
from dermsentry.screen.explanation import draw_heat
from dermsentry.screen.familiarity import familiarity
from dermsentry.screen.finding import Finding
from dermsentry.screen.inputs import Source
from dermsentry.screen.quality import Quality, assess
from dermsentry.screen.triage import triage


@dataclass(frozen=True)
class Screened:
    """A finding, and its heat map as PNG where one was wanted and the photograph could be read."""

    finding: Finding
    heat: bytes | None = None


def screen_sources(sources: Sequence[Source], bundle: Bundle, *, heat: bool = False) -> Iterator[Screened]:
    """Screen photographs on the bundle's threads, yielding each as soon as it and all before it are done.

    Raises
    ------
    BundleError
        The network failed.
    """
    with ThreadPoolExecutor(bundle.threads) as pool:
        waiting: deque[Future[list[Screened]]] = deque()
        try:
            for few in _chunks(sources, bundle.threads):
                if len(waiting) >= 4 * bundle.threads:
                    yield from waiting.popleft().result()
                waiting.append(pool.submit(_screen_few, few, bundle, heat))
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _chunks(sources: Sequence[Source], threads: int) -> Iterator[list[Source]]:
    """A single photograph for each thread first, so that something is seen soon; then `CHUNK` at once.

    Few photographs are shared out among the threads.
    """
    shared = -(-len(sources) // threads)
    rest = iter(sources)
    for size in chain(repeat(1, threads), repeat(min(CHUNK, max(1, shared)))):
        few = list(islice(rest, size))
        if not few:
            return
        yield few


def _screen_few(sources: Sequence[Source], bundle: Bundle, heat: bool) -> list[Screened]:
    """Screen a few photographs on the calling thread."""
    card = bundle.card
    read = [_read(source, bundle) for source in sources]
    fitted = [each[0] for each in read if not isinstance(each, Unreadable)]
    if not fitted:
        return [
            Screened(_unreadable(s, e, bundle))
            for s, e in zip(sources, read, strict=True)
            if isinstance(e, Unreadable)
        ]
    outputs = bundle.predict_chunk(np.stack(fitted))
    # Rounded before anything is decided, so that a finding's numbers and its tier never disagree.
    probability = np.clip(np.round(outputs.probability.astype(np.float64), 6), 0, 1).tolist()
    known = [None] * len(fitted)
    if card.familiarity is not None:
        known = np.round(familiarity(outputs.embedding, card.familiarity).astype(np.float64), 4).tolist()
    results: list[Screened] = []
    position = 0
    for source, each in zip(sources, read, strict=True):
        if isinstance(each, Unreadable):
            results.append(Screened(_unreadable(source, each, bundle)))
            continue
        pixels, quality = each
        shares = dict(zip(card.classes, probability[position], strict=True))
        tier, reasons = triage(shares, known[position], quality, card)
        finding = Finding(
            source.name, source.path, tier, shares, known[position], quality, reasons, bundle.name
        )
        melanoma = outputs.heat[position, :, :, card.classes.index(MELANOMA)]
        results.append(Screened(finding, draw_heat(pixels, melanoma) if heat else None))
        position += 1
    return results


def _read(source: Source, bundle: Bundle) -> tuple[Pixels, Quality] | Unreadable:
    size = bundle.card.size
    try:
        root = Path(source.root) if source.root is not None else None
        photograph = read_photograph(Path(source.path), root=root, enough_for=2 * size)
    except Unreadable as unreadable:
        return unreadable
    pixels = fit(photograph.pixels, size, bundle.card.aspect)
    return pixels, assess(pixels, photograph.width, photograph.height)


def _unreadable(source: Source, why: Unreadable, bundle: Bundle) -> Finding:
    return Finding(source.name, source.path, "unreadable", None, None, None, (why.reason,), bundle.name)
