"""Whether a model refuses pictures without a lesion, and what that costs in lesions refused.

Two gates refuse: the photograph's quality (`screening/quality.py`), and the network's no-lesion score
(`training/refusal.py`). Its out-of-distribution score flags lesions unlike those learned from, which are then
never routine. Each is measured alone too, and by source where the photographs have several.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dermsentry.errors import InputError
from dermsentry.model import Bundle
from dermsentry.screening import screen
from dermsentry.screening.triage import NO_LESION_LIMIT, OUT_OF_DISTRIBUTION_LIMIT, Tier
from dermsentry.stats.intervals import Estimate, exact_binomial
from dermsentry.stats.metrics import rank
from dermsentry.stats.resampling import Resampler

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]

SHARES = (0.01, 0.02, 0.05)
"""Shares of the real photographs that a limit may refuse, as the report compares them."""


@dataclass(frozen=True)
class Refusals:
    """What screening made of n files, in the order in which it took them.

    `names` (n): the file's name. `no_lesion`, `out_of_distribution` (n,), from 0 to 1, NaN where unknown:
    unreadable, or a card without such a score. `poor` (n,): of poor quality. `tiers`, `reasons` (n): as
    screening gives them.
    """

    names: tuple[str, ...]
    no_lesion: Floats
    out_of_distribution: Floats
    poor: Truths
    tiers: tuple[Tier, ...]
    reasons: tuple[tuple[str, ...], ...]

    @property
    def without_lesion(self) -> Truths:
        """Whether the no-lesion score of each is above the limit of screening, (n,)."""
        return np.asarray(self.no_lesion > NO_LESION_LIMIT)  # false where NaN

    @property
    def unlike(self) -> Truths:
        """Whether the out-of-distribution score of each is above the limit of screening, (n,)."""
        return np.asarray(self.out_of_distribution > OUT_OF_DISTRIBUTION_LIMIT)  # false where NaN

    @property
    def refused(self) -> Truths:
        """Whether screening could not say, (n,)."""
        return np.array([tier == "cannot-say" for tier in self.tiers], dtype=np.bool_)

    @property
    def readable(self) -> Truths:
        """Whether the file could be read, (n,)."""
        return np.array([tier != "unreadable" for tier in self.tiers], dtype=np.bool_)


@dataclass(frozen=True)
class RefusalGate:
    """How many real lesions and how many pictures without a lesion one gate refuses, or flags.

    `lesions` and `non_lesions` are shares with exact intervals, of the former over lesions.
    """

    name: str = field(metadata={"json": "gate"})
    lesions_refused: int
    non_lesions_refused: int
    lesions: Estimate
    non_lesions: Estimate


@dataclass(frozen=True)
class AtShare:
    """The limit of the no-lesion score that would refuse at most `share` of the real lesions.

    `lesions_refused` are those it refuses, fewer where several have the same score; `non_lesions` is the
    share of pictures without a lesion that it refuses. The limit is chosen on the photographs it
    is evaluated on, again in each resample.
    """

    share: float
    limit: float
    lesions_refused: int
    non_lesions_refused: int
    non_lesions: Estimate


@dataclass(frozen=True)
class Reason:
    """A reason that screening gave, before its colon, and how often for lesions and for other pictures."""

    words: str = field(metadata={"json": "reason"})
    lesions: int
    non_lesions: int


@dataclass(frozen=True)
class Accepted:
    """A picture without a lesion that was not refused: file name, tier, and score where there is one."""

    name: str
    tier: Tier
    no_lesion: float | None


@dataclass(frozen=True)
class SourceRefusal:
    """What one source's photographs of lesions come to, in shares with exact intervals over lesions.

    `refused`: above the limit of the no-lesion score. `flagged`: above that of the out-of-distribution score.
    """

    source: str
    photographs: int
    lesions: int
    refused: Estimate
    flagged: Estimate


@dataclass(frozen=True)
class Refusal:
    """Real lesions against pictures that show none.

    `lesions` and `non_lesions` count the readable files, `unreadable` the others on both sides. `roc_auc`:
    how often a picture without a lesion scores above a real lesion; None where the card has no statistics of
    it.
    `gates`: screening as it is, each gate alone, and what is flagged as out of distribution. `at_share`: what
    other limits of the no-lesion score would give. `sources`: the lesions by source, where several.
    `reasons`: why pictures were refused; one picture may have several. `accepted`: the pictures without a
    lesion that got an opinion, the lowest score first.
    """

    lesions: int
    lesion_groups: int
    non_lesions: int
    unreadable: int
    roc_auc: Estimate | None
    gates: tuple[RefusalGate, ...]
    at_share: tuple[AtShare, ...]
    reasons: tuple[Reason, ...]
    accepted: tuple[Accepted, ...]
    sources: tuple[SourceRefusal, ...]
    resamples: int
    seed: int


def refusals(
    paths: str | Path | Iterable[str | Path], bundle: str | Path | Bundle, *, quiet: bool = True
) -> Refusals:
    """Screen files, and keep the scores of each and why it was refused.

    Parameters
    ----------
    paths
        Files, folders and patterns, as `screen` takes them.
    bundle
        A bundle or its folder.
    quiet
        Show no progress on stderr.

    Raises
    ------
    InputError
        A path does not exist or holds no photographs.
    BundleError
        The bundle was refused.
    """
    found = screen(paths, bundle, quiet=quiet)
    return Refusals(
        names=tuple(Path(f.path).name for f in found),
        # None becomes NaN
        no_lesion=np.array([f.no_lesion for f in found], dtype=np.float64),
        out_of_distribution=np.array([f.out_of_distribution for f in found], dtype=np.float64),
        poor=np.array([f.quality is not None and not f.quality.acceptable for f in found], dtype=np.bool_),
        tiers=tuple(f.tier for f in found),
        reasons=tuple(f.reasons for f in found),
    )


def measure_refusal(
    lesions: Refusals, non_lesions: Refusals, resampler: Resampler, sources: Sequence[str] = ()
) -> Refusal:
    """Compare what screening refuses of real lesions with what it refuses of pictures that show none.

    Parameters
    ----------
    lesions, non_lesions
        What `refusals` gave for real lesions and for pictures that show none.
    resampler
        Of the real lesions, in the order of `lesions`; the other pictures are drawn one by one.
    sources
        Where each photograph of `lesions` comes from, if that is known.

    Returns
    -------
    Refusal
        Unreadable files are counted and left out on both sides: nothing was measured on them.

    Raises
    ------
    InputError
        There is no readable file on one side, or the number of groups is another one.
    """
    if len(resampler) != len(lesions.names):
        raise InputError(
            f"Received {len(resampler)} groups for {len(lesions.names)} photographs; expected one each."
        )
    real, other = np.flatnonzero(lesions.readable), np.flatnonzero(non_lesions.readable)
    for rows, all_of, what in (
        (real, lesions, "photographs"),
        (other, non_lesions, "pictures without a lesion"),
    ):
        if not len(rows):
            raise InputError(f"None of the {len(all_of.names)} {what} could be read; expected at least one.")
    readable = resampler.among(real)
    independent = readable.count()
    first, second = lesions.no_lesion[real], non_lesions.no_lesion[other]
    area: Estimate | None = None
    at_share: tuple[AtShare, ...] = ()
    if not (np.isnan(first).any() or np.isnan(second).any()):
        area, at_share = _by_score(first, second, readable)
    gates = (
        ("screening as it is", lesions.refused, non_lesions.refused),
        ("by quality", lesions.poor, non_lesions.poor),
        ("as no lesion", lesions.without_lesion, non_lesions.without_lesion),
        ("flagged as out of distribution", lesions.unlike, non_lesions.unlike),
    )
    return Refusal(
        lesions=len(real),
        lesion_groups=independent,
        non_lesions=len(other),
        unreadable=len(lesions.names) - len(real) + len(non_lesions.names) - len(other),
        roc_auc=area,
        gates=tuple(_gate(name, own[real], others[other], independent) for name, own, others in gates),
        at_share=at_share,
        reasons=_reasons(lesions, non_lesions),
        accepted=_accepted(non_lesions),
        sources=tuple(_by_source(lesions, real, readable, sources)) if len(set(sources)) > 1 else (),
        resamples=resampler.resamples,
        seed=resampler.seed,
    )


def _gate(name: str, lesions: Truths, non_lesions: Truths, independent: int) -> RefusalGate:
    # Photographs of one lesion are not independent: their share counts as of so many lesions.
    return RefusalGate(
        name=name,
        lesions_refused=int(lesions.sum()),
        non_lesions_refused=int(non_lesions.sum()),
        lesions=exact_binomial(float(lesions.mean()) * independent, independent),
        non_lesions=exact_binomial(int(non_lesions.sum()), len(non_lesions)),
    )


def _by_source(
    lesions: Refusals, real: NDArray[np.int64], readable: Resampler, sources: Sequence[str]
) -> Iterator[SourceRefusal]:
    own = np.array(sources)[real]
    for source in sorted(set(own.tolist())):
        here = own == source
        independent = readable.count(here)
        refused, flagged = (
            exact_binomial(float(found[real][here].mean()) * independent, independent)
            for found in (lesions.without_lesion, lesions.unlike)
        )
        yield SourceRefusal(source, int(here.sum()), independent, refused, flagged)


def _by_score(
    lesions: Floats, non_lesions: Floats, resampler: Resampler
) -> tuple[Estimate | None, tuple[AtShare, ...]]:
    """The score's AUROC, and what a limit gives that refuses each of `SHARES` of the real lesions."""
    lesions, non_lesions = 1 - lesions, 1 - non_lesions  # so that the least alike come first
    order = np.argsort(lesions, kind="stable")
    lesions = lesions[order]
    of_lesions = [f"lesion {resampler.groups[i]}" for i in order]
    alone = [f"picture {i}" for i in range(len(non_lesions))]
    both = Resampler([*of_lesions, *alone], resampler.resamples, resampler.seed)
    real = np.arange(len(both)) < len(lesions)
    score = np.concatenate([lesions, non_lesions])

    def measure(weights: Floats) -> dict[str, Floats]:
        own, others = weights[:, real], weights[:, ~real]
        out = {"roc_auc": np.asarray(rank(real, score, sample_weight=weights).roc_auc())}
        counts = others.sum(axis=1)
        for share in SHARES:
            refused = others * (non_lesions < _limits(lesions, own, share)[:, None])
            unknown = np.full(len(weights), np.nan)
            out[str(share)] = np.divide(refused.sum(axis=1), counts, out=unknown, where=counts > 0)
        return out

    found = both.measure(measure)
    points = []
    for share in SHARES:
        limit = float(_limits(lesions, np.ones((1, len(lesions))), share)[0])
        refused_share = found[str(share)].proportion(len(non_lesions))
        if refused_share is not None:
            refused = int((non_lesions < limit).sum())
            points.append(AtShare(share, 1 - limit, int((lesions < limit).sum()), refused, refused_share))
    return found["roc_auc"].bounded(both.rarer(real)), tuple(points)


def _limits(lesions: Floats, weights: Floats, share: float) -> Floats:
    """The highest limits, (r,), below which at most `share` of the ascending scores is; weights (r, n)."""
    total = np.cumsum(weights, axis=1)
    # The slack keeps 2 of 100 at "2 %" from failing by a rounding error.
    within = total <= share * total[:, -1:] * (1 + 1e-12)
    return np.asarray(lesions[np.minimum(within.sum(axis=1), len(lesions) - 1)])


def _reasons(lesions: Refusals, non_lesions: Refusals) -> tuple[Reason, ...]:
    """The reasons of refused pictures, the most frequent among pictures without a lesion first."""
    counts = [
        Counter(
            words.partition(":")[0]
            for tier, own in zip(side.tiers, side.reasons, strict=True)
            if tier == "cannot-say"
            for words in own
        )
        for side in (lesions, non_lesions)
    ]
    every = [Reason(words, counts[0][words], counts[1][words]) for words in {**counts[1], **counts[0]}]
    return tuple(sorted(every, key=lambda reason: (-reason.non_lesions, -reason.lesions, reason.words)))


def _accepted(non_lesions: Refusals) -> tuple[Accepted, ...]:
    found = [
        Accepted(name, tier, None if np.isnan(own) else float(own))
        for name, tier, own in zip(non_lesions.names, non_lesions.tiers, non_lesions.no_lesion, strict=True)
        if tier not in ("cannot-say", "unreadable")
    ]
    return tuple(sorted(found, key=lambda picture: (picture.no_lesion or 0.0, picture.name)))
