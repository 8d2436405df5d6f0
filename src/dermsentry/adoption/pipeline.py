"""Adopt a bundle on a site's own photographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dermsentry.adoption.fitting import propose, propose_unlabelled
from dermsentry.adoption.photographs import read_photographs, screen_photographs
from dermsentry.adoption.promise import demand
from dermsentry.adoption.results import Adoption
from dermsentry.adoption.site_bundle import write_site_bundle
from dermsentry.files import versions
from dermsentry.model import Bundle, open_bundle, require_place
from dermsentry.stats.prevalence import check_prevalence


def adopt(
    bundle: str | Path | Bundle,
    photographs: str | Path,
    *,
    labels: str | Path | None = None,
    diagnoses: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    out: str | Path | None = None,
    sensitivity: float = 0.95,
    confidence: float = 0.95,
    prevalence: float | None = None,
    seed: int = 0,
    quiet: bool = True,
) -> Adoption:
    """Make a bundle a site's own: calibrated on its photographs, with thresholds that keep a promise.

    Melanoma's probability is recalibrated by two numbers (Platt scaling), which changes no photograph's
    place in the worklist. The alert threshold is set so that at least `sensitivity` of the site's melanomas
    raise an alert, with `confidence`: an order statistic of the melanomas' probabilities, lesions and
    patients counted once (Wilks, Annals of Mathematical Statistics 12 (1941)). Where there are too few
    melanomas nothing is promised, and no site bundle is written.

    Parameters
    ----------
    bundle
        A bundle or its folder; a site bundle can be adopted again.
    photographs
        A folder of photographs of the site, searched to the bottom: best all that came in over some time,
        since a selection promises for that selection alone.
    labels
        A table by image id (the file's name) with `diagnosis`, or `melanoma` as 1 and 0, or ISIC's one-hot
        ground truth; `lesion_id` and `patient_id` tell which photographs belong together. Or a labelled
        collection such as class folders. Without it probabilities are stated for the share of melanomas that
        they suggest (Saerens et al., Neural Computation 14 (2002)), and alerts stay those of the bundle.
    diagnoses, columns
        Of `labels`: what names of diagnoses mean that are not understood, and its headings by our names; see
        `read_collection`.
    out
        The folder of the site bundle, with `adoption.json` and `adoption.html` beside its network and card.
        Where nothing is promised it gets these two alone; a bundle that is there already is never touched
        then.
    sensitivity
        The share of melanomas to be found, above 0 and below 1.
    confidence
        How sure that must be, above 0 and below 1.
    prevalence
        The share of melanomas where the site bundle is to be used, if the photographs have another one: the
        probabilities and the worth of an alert are stated for it.
    seed
        Random seed of the folds and of the bootstrap.
    quiet
        Show no progress on stderr.

    Returns
    -------
    Adoption
        What is promised, the figures before and after with intervals, and what to know before relying on
        it. `refusal` says why nothing was adopted; `bundle` is the site bundle's folder, None without one.

    Raises
    ------
    InputError
        A share is none, the folder holds no photograph, the table names none of them, or every lesion is a
        melanoma.
    BundleError
        The bundle was refused.
    OutputError
        `out` cannot be written, or holds something that is no bundle.

    Examples
    --------
    >>> import dermsentry
    >>> adoption = dermsentry.adopt("dermoscopy", "photographs/Train")
    >>> adoption.refusal.partition(":")[0]
    'These photographs are unlike those that the model learned from'
    """
    demand(0, sensitivity, confidence)  # wrong shares are told before minutes of screening
    if prevalence is not None:
        check_prevalence(prevalence)
    if out is not None:
        require_place(Path(out))
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    collection = read_photographs(
        Path(photographs),
        None if labels is None else Path(labels),
        diagnoses=None if diagnoses is None else Path(diagnoses),
        columns=columns,
    )
    site = screen_photographs(opened, collection, quiet=quiet)
    if labels is None:
        found = propose_unlabelled(site.screened, opened.card, site.counts, seed=seed)
    else:
        found = propose(
            site.screened,
            opened.card,
            site.counts,
            sensitivity=sensitivity,
            confidence=confidence,
            prevalence=prevalence,
            seed=seed,
        )
    beside = tuple(f"{_begun(line)}." for line in site.left_alone)
    about = {
        "fingerprint": site.fingerprint,
        "synthetic": opened.card.synthetic,
        "prevalence_given": prevalence is not None,
        "versions": versions(),
    }
    found = replace(found, warnings=(*found.warnings, *beside), about=about)
    return found if out is None else write_site_bundle(opened, found, Path(out))


def _begun(line: str) -> str:
    """A line with a capital, unless a file's name begins it."""
    return line if "." in line.partition(" ")[0] else line[:1].upper() + line[1:]
