"""Screen new photographs with a model bundle: an alert tier for each, why, and the files that say so."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

from dermsentry.files import write_bytes
from dermsentry.model import BUNDLED, Bundle, open_bundle
from dermsentry.progress import track
from dermsentry.screening.finding import Finding
from dermsentry.screening.inference import screen_sources
from dermsentry.screening.inputs import find_photographs, require_own_names
from dermsentry.screening.writers import findings_file, predictions_file

__all__ = ["Finding", "screen"]


def screen(
    paths: Iterable[str | Path],
    bundle: str | Path | Bundle = BUNDLED,
    *,
    findings: str | Path | None = None,
    predictions: str | Path | None = None,
    saliency: str | Path | None = None,
    threads: int | None = None,
    strict: bool = True,
    quiet: bool = True,
) -> Iterator[Finding]:
    """Screen photographs, yielding a `Finding` for each in order, the first while the rest is under way.

    Parameters
    ----------
    paths
        Files, folders and patterns.
    bundle
        A bundle's folder, or an opened bundle; by default the one that the package brings.
    findings
        A file for the findings, as JSON lines.
    predictions
        A file for the probabilities, as the ISIC challenge's CSV.
    saliency
        A folder for saliency maps, `NAME.png` for each readable photograph: where the network saw melanoma.
    threads
        How many photographs are worked on at the same time; by default one per core. An opened bundle has
        its own number.
    strict
        Whether a path that does not exist is refused; if not, it has its finding: unreadable.
    quiet
        Whether to show no progress on stderr.

    The two files take their place once the last finding was taken, saliency maps one by one. What is wrong
    with the paths, the names or the bundle is raised at once, before the first finding.

    Raises
    ------
    InputError
        A path does not exist or holds no photographs; two share a name that a file must tell apart.
    BundleError
        The bundle was refused.
    OutputError
        A file cannot be written.
    """
    saliency_folder = Path(saliency) if saliency is not None else None
    sources = find_photographs(paths, leave_out=saliency_folder, strict=strict)
    if saliency_folder is not None or predictions is not None:
        require_own_names(sources, "the challenge's CSV" if predictions is not None else "a saliency map")
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle, threads=threads)

    def run() -> Iterator[Finding]:
        with ExitStack() as files:
            writers = []
            if findings is not None:
                writers.append(files.enter_context(findings_file(Path(findings))))
            if predictions is not None:
                writers.append(files.enter_context(predictions_file(Path(predictions))))
            results = screen_sources(sources, opened, saliency=saliency_folder is not None)
            for screened in results if quiet else track(results, "Screening", len(sources)):
                for write in writers:
                    write(screened.finding)
                if saliency_folder is not None and screened.saliency is not None:
                    write_bytes(saliency_folder / f"{screened.finding.image}.png", screened.saliency)
                yield screened.finding

    return run()


class _Callable(ModuleType):
    """`dermsentry.screen` is this package and the function of the same name, whichever was reached first."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Iterator[Finding]:
        return screen(*arguments, **keywords)


sys.modules[__name__].__class__ = _Callable
