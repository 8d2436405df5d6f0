"""What screening says about one image: a line of `findings.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from html import escape
from typing import Any

from dermsentry.diagnoses import MELANOMA, name_of
from dermsentry.errors import InputError
from dermsentry.screening.quality import Quality
from dermsentry.screening.triage import Tier
from dermsentry.stats.numbers import percent

SCHEMA = 3
"""Of a line of `findings.jsonl`; in schema 2 `no_lesion` was `out_of_distribution`, in schema 1
`familiarity`, 1 less the score."""


@dataclass(frozen=True, repr=False)
class Finding:
    """The finding for one image; its fields are those of a line of `findings.jsonl`.

    Parameters
    ----------
    schema
        Number of the schema, set by this version.
    image
        The file's stem, or the name given to an image in memory.
    path
        The file's path or address as given; of an archive, its path and the photograph's own; or the name
        given to an image in memory.
    tier
        `alert`, `refer`, `routine`, `cannot-say` or `unreadable`.
    melanoma
        Calibrated probability of melanoma, from 0 to 1; None if unreadable. Taken from `probabilities`.
    probabilities
        Calibrated probability of each of the nine diagnoses by code; None if unreadable.
    no_lesion
        Score from 0 to 1: above 0.5 it is no image of a lesion, and not assessed. None if unreadable or where
        the model has no such score.
    out_of_distribution
        Score from 0 to 1: above 0.5 the lesion is unlike the training images, and never `routine`. None if
        unreadable or where the model has no such score.
    quality
        What was measured on the image, and what is wrong with it; None if unreadable.
    reasons
        Why it is in this tier, or why it could not be read, in words.
    model
        Name of the model and the start of its digest.
    version
        What tells the photograph from an earlier one of the same path, such as its size and time; None where
        nothing does, as of an image in memory or what could not be opened.

    Examples
    --------
    >>> import numpy, dermsentry
    >>> [finding] = dermsentry.screen(numpy.full((300, 300, 3), 200, numpy.uint8))
    >>> finding.image, finding.tier, finding.reasons[0]
    ('image', 'cannot-say', 'no lesion in view: retake with the lesion in the middle')
    """

    schema: int = field(init=False, default=SCHEMA)
    image: str
    path: str
    tier: Tier
    melanoma: float | None = field(init=False)
    probabilities: Mapping[str, float] | None
    no_lesion: float | None
    out_of_distribution: float | None
    quality: Quality | None
    reasons: tuple[str, ...]
    model: str
    version: str | None = None

    def __post_init__(self) -> None:
        melanoma = None if self.probabilities is None else self.probabilities[MELANOMA]
        object.__setattr__(self, "melanoma", melanoma)

    @property
    def likeliest(self) -> str | None:
        """The code of the most probable diagnosis."""
        if self.probabilities is None:
            return None
        return max(self.probabilities, key=self.probabilities.__getitem__)

    def __repr__(self) -> str:
        return f"Finding({self.image!r}, {self.tier!r}, melanoma {percent(self.melanoma)})"

    def _repr_html_(self) -> str:
        """The finding as a small table, for notebooks."""
        likeliest = "–" if self.likeliest is None else name_of(self.likeliest)
        rows = {
            "image": self.path,
            "tier": self.tier,
            "melanoma": percent(self.melanoma),
            "most probable": likeliest,
            "reasons": "; ".join(self.reasons),
            "model": self.model,
        }
        cells = (f"<tr><th>{name}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
        return f"<table>{''.join(cells)}</table>"


def finding_of(given: Mapping[str, Any]) -> Finding:
    """A finding from its fields as JSON has them. Raises ValueError, KeyError or TypeError."""
    quality = given["quality"]
    if quality is not None:
        quality = {own.name: quality[own.name] for own in fields(Quality)}
        quality = Quality(**quality | {"problems": tuple(quality["problems"])})
    own = {one.name: given[one.name] for one in fields(Finding) if one.init}
    return Finding(**own | {"quality": quality, "reasons": tuple(given["reasons"])})


def read_finding(line: bytes | str) -> Finding:
    """Read a line of `findings.jsonl`. Raises InputError."""
    try:
        return finding_of(json.loads(line))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"no finding as this version writes them ({type(error).__name__}: {error})."
        ) from error
