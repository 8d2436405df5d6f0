"""Whether a model refuses what is no lesion, and what that costs in lesions refused.

Two gates refuse: the photograph's quality (`screening/quality.py`), and how familiar the network finds it
(`training/out_of_distribution.py`). Each is told apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermsentry.errors import InputError
from dermsentry.model import Bundle
from dermsentry.screening import screen
from dermsentry.screening.triage import FAMILIAR, Tier
from dermsentry.stats.intervals import (
    Estimate,
    bootstrap,
    exact_binomial,
    proportion_interval,
)
from dermsentry.stats.metrics import rank

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]

SHARES = (0.01, 0.02, 0.05)
"""Shares of the real photographs that a limit may refuse, as the report compares them."""


@dataclass(frozen=True)
class Refusals:
    """What screening made of n files, in the order in which it took them.

    `names` (n): the file's name. `familiarity` (n,), from 0 to 1, NaN where unknown: unreadable, or a card
    without statistics of it. `poor` (n,): of poor quality. `tiers`, `reasons` (n): as screening gives them.
    """

    names: tuple[str, ...]
    familiarity: Floats
    poor: Truths
    tiers: tuple[Tier, ...]
    reasons: tuple[tuple[str, ...], ...]

    @property
    def unfamiliar(self) -> Truths:
        """Whether each was less familiar than screening wants, (n,)."""
        return np.asarray(self.familiarity < FAMILIAR)  # false where NaN

    @property
    def refused(self) -> Truths:
        """Whether screening could not say, (n,)."""
        return np.array([tier == "cannot-say" for tier in self.tiers], dtype=np.bool_)

    @property
    def readable(self) -> Truths:
        """Whether the file could be read, (n,)."""
        return np.array([tier != "unreadable" for tier in self.tiers], dtype=np.bool_)


@dataclass(frozen=True)
class Gate:
    """How many of the real photographs and of the strange ones one gate refuses.

    `known` and `strange` are shares with exact intervals, of the real ones over lesions.
    """

    name: str
    known_refused: int
    strange_refused: int
    known: Estimate
    strange: Estimate

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "gate": self.name,
            "known_refused": self.known_refused,
            "strange_refused": self.strange_refused,
            "known": self.known.as_dict(),
            "strange": self.strange.as_dict(),
        }


@dataclass(frozen=True)
class AtShare:
    """The limit of familiarity that would refuse at most `share` of the real photographs.

    `known_refused` are those it refuses, fewer where several are equally familiar; `strange` is the share of
    the strange ones that it refuses. The limit is chosen on the very photographs it is judged on, again in
    each resample.
    """

    share: float
    limit: float
    known_refused: int
    strange_refused: int
    strange: Estimate

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "share": self.share,
            "limit": self.limit,
            "known_refused": self.known_refused,
            "strange_refused": self.strange_refused,
            "strange": self.strange.as_dict(),
        }


@dataclass(frozen=True)
class Reason:
    """A reason that screening gave, before its colon, and how many real and strange pictures it was given."""

    words: str
    known: int
    strange: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"reason": self.words, "known": self.known, "strange": self.strange}


@dataclass(frozen=True)
class Accepted:
    """A strange picture that got an opinion: the file's name, its tier and how familiar it was, if known."""

    name: str
    tier: Tier
    familiarity: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"name": self.name, "tier": self.tier, "familiarity": self.familiarity}


@dataclass(frozen=True)
class Refusal:
    """Real lesions against pictures that show none.

    `known` and `strange` count the readable files, `unreadable` the others on both sides. `roc_auc`: how
    often a real lesion is more familiar than a strange picture, its interval never narrower than the exact
    one of as many pictures as the smaller side has; None where the card has no statistics of it.
    `gates`: screening as it is, then each gate alone. `at_share`: what other limits of familiarity would
    give. `reasons`: why pictures were refused; one picture may have several. `accepted`: the strange pictures
    that got an opinion, the most familiar first.
    """

    known: int
    known_groups: int
    strange: int
    unreadable: int
    roc_auc: Estimate | None
    gates: tuple[Gate, ...]
    at_share: tuple[AtShare, ...]
    reasons: tuple[Reason, ...]
    accepted: tuple[Accepted, ...]
    resamples: int
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """What `evaluation.json` holds under `refusal`."""
        return {
            "known": self.known,
            "known_groups": self.known_groups,
            "strange": self.strange,
            "unreadable": self.unreadable,
            "roc_auc": None if self.roc_auc is None else self.roc_auc.as_dict(),
            "gates": [gate.as_dict() for gate in self.gates],
            "at_share": [point.as_dict() for point in self.at_share],
            "reasons": [reason.as_dict() for reason in self.reasons],
            "accepted": [picture.as_dict() for picture in self.accepted],
            "resamples": self.resamples,
            "seed": self.seed,
        }


def refusals(paths: Iterable[str | Path], bundle: str | Path | Bundle, *, quiet: bool = True) -> Refusals:
    """Screen files, and keep how familiar each was and why it was refused.

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
    found = list(screen(paths, bundle, quiet=quiet))
    known = np.array([np.nan if f.familiarity is None else f.familiarity for f in found], dtype=np.float64)
    return Refusals(
        names=tuple(Path(f.path).name for f in found),
        familiarity=known,
        poor=np.array([f.quality is not None and not f.quality.acceptable for f in found], dtype=np.bool_),
        tiers=tuple(f.tier for f in found),
        reasons=tuple(f.reasons for f in found),
    )


def measure_refusal(
    known: Refusals,
    strange: Refusals,
    groups: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> Refusal:
    """Compare what screening refuses of real lesions with what it refuses of pictures that show none.

    Parameters
    ----------
    known, strange
        What `refusals` gave for real lesions and for pictures that show none.
    groups
        The lesion of each real photograph, in the order of `known`. The bootstrap draws lesions, and strange
        pictures one by one.
    seed, resamples
        Of the bootstrap.

    Returns
    -------
    Refusal
        Unreadable files are counted and left out on both sides: nothing was measured on them.

    Raises
    ------
    InputError
        There is no readable file on one side, or the number of groups is another one.
    """
    if len(groups) != len(known.names):
        raise InputError(
            f"Received {len(groups)} groups for {len(known.names)} photographs; expected one each."
        )
    real, other = np.flatnonzero(known.readable), np.flatnonzero(strange.readable)
    for rows, all_of, what in ((real, known, "photographs"), (other, strange, "pictures without a lesion")):
        if not len(rows):
            raise InputError(f"None of the {len(all_of.names)} {what} could be read; expected at least one.")
    lesions = [groups[row] for row in real.tolist()]
    independent = len(set(lesions))
    first, second = known.familiarity[real], strange.familiarity[other]
    area: Estimate | None = None
    at_share: tuple[AtShare, ...] = ()
    if not (np.isnan(first).any() or np.isnan(second).any()):
        area, at_share = _by_familiarity(first, second, lesions, resamples, seed)
    gates = (
        ("screening as it is", known.refused, strange.refused),
        ("by quality", known.poor, strange.poor),
        ("by familiarity", known.unfamiliar, strange.unfamiliar),
    )
    return Refusal(
        known=len(real),
        known_groups=independent,
        strange=len(other),
        unreadable=len(known.names) - len(real) + len(strange.names) - len(other),
        roc_auc=area,
        gates=tuple(_gate(name, own[real], others[other], independent) for name, own, others in gates),
        at_share=at_share,
        reasons=_reasons(known, strange),
        accepted=_accepted(strange),
        resamples=resamples,
        seed=seed,
    )


def _gate(name: str, known: Truths, strange: Truths, independent: int) -> Gate:
    # Photographs of one lesion are not independent: their share counts as of so many lesions.
    return Gate(
        name=name,
        known_refused=int(known.sum()),
        strange_refused=int(strange.sum()),
        known=exact_binomial(float(known.mean()) * independent, independent),
        strange=exact_binomial(int(strange.sum()), len(strange)),
    )


def _by_familiarity(
    known: Floats, strange: Floats, lesions: Sequence[str], resamples: int, seed: int
) -> tuple[Estimate | None, tuple[AtShare, ...]]:
    """The AUROC of familiarity, and what a limit gives that refuses each of `SHARES` of the real ones."""
    order = np.argsort(known, kind="stable")
    known = known[order]
    drawn_from = [*(f"lesion {lesions[i]}" for i in order), *(f"picture {i}" for i in range(len(strange)))]
    real = np.arange(len(drawn_from)) < len(known)
    score = np.concatenate([known, strange])

    def measure(weights: Floats) -> dict[str, Floats]:
        own, others = weights[:, : len(known)], weights[:, len(known) :]
        out = {"roc_auc": np.asarray(rank(real, score, sample_weight=weights).roc_auc())}
        counts = others.sum(axis=1)
        for share in SHARES:
            refused = others * (strange < _limits(known, own, share)[:, None])
            unknown = np.full(len(weights), np.nan)
            out[str(share)] = np.divide(refused.sum(axis=1), counts, out=unknown, where=counts > 0)
        return out

    value = {name: float(found[0]) for name, found in measure(np.ones((1, len(score)))).items()}
    drawn = bootstrap(drawn_from, measure, resamples=resamples, seed=seed)
    points = []
    for share in SHARES:
        limit = float(_limits(known, np.ones((1, len(known))), share)[0])
        found = proportion_interval(value[str(share)], drawn[str(share)], len(strange))
        if found is not None:
            refused = int((strange < limit).sum())
            points.append(AtShare(share, limit, int((known < limit).sum()), refused, found))
    # Where the two never overlap, the bootstrap would call an area of 1 certain.
    smaller = min(len(set(lesions)), len(strange))
    return proportion_interval(value["roc_auc"], drawn["roc_auc"], smaller), tuple(points)


def _limits(known: Floats, weights: Floats, share: float) -> Floats:
    """The highest limits, (r,), below which at most `share` of the known, ascending, lies; weights (r, n)."""
    total = np.cumsum(weights, axis=1)
    # The slack keeps 2 of 100 at "2 %" from failing by a rounding error.
    within = total <= share * total[:, -1:] * (1 + 1e-12)
    return np.asarray(known[np.minimum(within.sum(axis=1), len(known) - 1)])


def _reasons(known: Refusals, strange: Refusals) -> tuple[Reason, ...]:
    """The reasons of refused pictures, the most frequent among the strange first."""
    counts = [
        Counter(
            words.partition(":")[0]
            for tier, own in zip(side.tiers, side.reasons, strict=True)
            if tier == "cannot-say"
            for words in own
        )
        for side in (known, strange)
    ]
    every = [Reason(words, counts[0][words], counts[1][words]) for words in {**counts[1], **counts[0]}]
    return tuple(sorted(every, key=lambda reason: (-reason.strange, -reason.known, reason.words)))


def _accepted(strange: Refusals) -> tuple[Accepted, ...]:
    found = [
        Accepted(name, tier, None if np.isnan(own) else float(own))
        for name, tier, own in zip(strange.names, strange.tiers, strange.familiarity, strict=True)
        if tier not in ("cannot-say", "unreadable")
    ]
    return tuple(sorted(found, key=lambda picture: (-(picture.familiarity or 0.0), picture.name)))
