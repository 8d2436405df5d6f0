"""Whether the heat shown as an explanation lies on the lesion, and whether it depends on what was learned.

Heat that lies on the lesion is no proof of a right reason: lesions lie in the middle of most photographs, and
so does much heat. It is therefore compared with chance, with the middle of the picture, with the heat of
another photograph, and with that of a network whose weights were shuffled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermsentry.diagnoses import MELANOMA
from dermsentry.errors import InputError
from dermsentry.evaluation.saliency.masks import Masks
from dermsentry.stats.intervals import Estimate, bootstrap, percentile_interval, proportion_interval

Floats = NDArray[np.float64]

TOLERANCE = 15 / 224
"""How far from the lesion the hottest place may be, as a share of the shorter side: 15 pixels of 224."""


@dataclass(frozen=True)
class Hits:
    """How one kind of heat lies on the lesions.

    `inside`: share of the positive heat that lies inside the mask, the mean over photographs that have any;
    `ratio`: that mean over the masks' mean share of the same pictures, 1 by chance. `pointing`: share of
    photographs whose hottest place is on the lesion or within the tolerance, `hits` their number. The first
    two are None where no photograph has positive heat.
    """

    inside: Estimate | None
    ratio: Estimate | None
    pointing: Estimate
    hits: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "inside": _plain(self.inside),
            "ratio": _plain(self.ratio),
            "pointing": self.pointing.as_dict(),
            "hits": self.hits,
        }


@dataclass(frozen=True)
class Lesions:
    """One set of photographs: what chance would give, and what each kind of heat gives.

    `area`: mean share of the picture that the mask covers, what `Hits.inside` would be by chance.
    `pointing_chance`: mean share within the tolerance, what `Hits.pointing` would be by chance;
    `pointing_centre`: what the middle of the picture would reach. `without_heat` photographs have no positive
    heat anywhere. `exchanged` is the heat of another photograph, None for a single one; `randomised` that of
    the control, None without one.
    """

    photographs: int
    groups: int
    without_heat: int
    area: Estimate
    pointing_chance: Estimate
    pointing_centre: Estimate
    model: Hits
    exchanged: Hits | None
    randomised: Hits | None

    @property
    def rows(self) -> tuple[tuple[str, Hits], ...]:
        """Each kind of heat with its name in words."""
        named = (
            ("this model", self.model),
            ("the heat of another photograph", self.exchanged),
            ("the same network, weights shuffled", self.randomised),
        )
        return tuple((name, hits) for name, hits in named if hits is not None)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "photographs": self.photographs,
            "groups": self.groups,
            "without_heat": self.without_heat,
            "area": self.area.as_dict(),
            "pointing_chance": self.pointing_chance.as_dict(),
            "pointing_centre": self.pointing_centre.as_dict(),
            "model": self.model.as_dict(),
            "exchanged": self.exchanged and self.exchanged.as_dict(),
            "randomised": self.randomised and self.randomised.as_dict(),
        }


@dataclass(frozen=True)
class ExplanationCheck:
    """Heat against lesion masks: over all photographs, and over the melanomas where there are any.

    `rank_correlation`: Spearman's, between the heat and the control's over the places of a photograph, the
    mean over photographs: near 0 where the heat comes from what was learned, near 1 where it comes from the
    network's shape or from the picture alone. `empty` masks held no lesion and were left out.
    """

    all: Lesions
    melanomas: Lesions | None
    rank_correlation: Estimate | None
    empty: int
    resamples: int
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """What `evaluation.json` holds under `explanation`."""
        return {
            "all": self.all.as_dict(),
            "melanomas": self.melanomas and self.melanomas.as_dict(),
            "rank_correlation": _plain(self.rank_correlation),
            "empty_masks": self.empty,
            "tolerance": TOLERANCE,
            "resamples": self.resamples,
            "seed": self.seed,
        }


def check_explanations(
    heat: NDArray[Any],
    masks: Masks,
    truth: Sequence[str],
    groups: Sequence[str],
    *,
    control: NDArray[Any] | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> ExplanationCheck:
    """Measure whether heat lies on the lesions.

    The share of heat inside a mask, against the share of the picture that it covers; and the pointing game
    (Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016, section 4.1): whether the
    hottest place is on the lesion or within `TOLERANCE` of it. Heat is brought to the mask's size bilinearly;
    what speaks against the class is no heat. The control is the test of Adebayo et al., "Sanity Checks for
    Saliency Maps", NeurIPS 2018: heat that stays the same when the weights are random explains nothing.

    Parameters
    ----------
    heat
        One class's share of its logit per place, (n, h, w), such as melanoma's.
    masks
        True where the lesion is, (n, H, W), in the network's geometry: see `fit_mask`.
    truth
        The label of each photograph.
    groups
        The lesion of each photograph, which the bootstrap draws.
    control
        The same heat, (n, h, w), of a network whose weights were shuffled: see `control_of`.
    seed
        Of the bootstrap, and of which photographs exchange their heat.
    resamples
        Of the bootstrap.

    Raises
    ------
    InputError
        Shapes do not fit, heat is not finite, or no mask holds a lesion.
    """
    values, other = _checked(heat, masks, truth, groups, control)
    kept = np.flatnonzero(masks.any(axis=(1, 2))).tolist()
    if not len(kept):
        raise InputError(f"None of the {len(masks)} masks marks a lesion; expected 255 where the lesion is.")
    places = _Places(masks[kept])
    maps = {"model": values[kept]}
    if len(kept) > 1:
        order = np.random.default_rng(seed).permutation(len(kept))
        partner = np.empty_like(order)
        partner[order] = np.roll(order, 1)
        maps["exchanged"] = maps["model"][partner]
    if other is not None:
        maps["randomised"] = other[kept]
    found = {name: places.measure(own) for name, own in maps.items()}
    lesion = [groups[i] for i in kept]
    melanoma = np.array([truth[i] == MELANOMA for i in kept], dtype=np.bool_)
    everything = np.ones(len(kept), dtype=np.bool_)
    alike = None
    if other is not None:
        agreement = np.array(
            [_spearman(one, two) for one, two in zip(values[kept], other[kept], strict=True)]
        )
        alike = _Figures(lesion, everything, resamples, seed).mean(agreement)
    return ExplanationCheck(
        all=_lesions(_Figures(lesion, everything, resamples, seed), places, found),
        melanomas=_lesions(_Figures(lesion, melanoma, resamples, seed), places, found)
        if melanoma.any()
        else None,
        rank_correlation=alike,
        empty=len(masks) - len(kept),
        resamples=resamples,
        seed=seed,
    )


def _checked(
    heat: NDArray[Any],
    masks: Masks,
    truth: Sequence[str],
    groups: Sequence[str],
    control: NDArray[Any] | None,
) -> tuple[Floats, Floats | None]:
    values = np.asarray(heat, dtype=np.float64)
    other = None if control is None else np.asarray(control, dtype=np.float64)
    if values.ndim != 3 or masks.ndim != 3 or not len(values):
        raise InputError(f"Received heat {values.shape} and masks {masks.shape}; expected (n, h, w) of both.")
    if not len(values) == len(masks) == len(truth) == len(groups):
        raise InputError(
            f"Received heat of {len(values)} photographs, {len(masks)} masks, {len(truth)} labels and "
            f"{len(groups)} groups; expected as many of each."
        )
    if other is not None and other.shape != values.shape:
        raise InputError(
            f"Received a control {other.shape} for heat {values.shape}; expected the same shape."
        )
    if not np.isfinite(values).all() or not (other is None or np.isfinite(other).all()):
        raise InputError("Received heat that is not finite numbers; the network has diverged.")
    return values, other


@dataclass(frozen=True, eq=False)
class _Measured:
    """Of each photograph, (n,): the share of heat inside, NaN where there is none; whether it points there.

    A photograph whose hottest places are several has a part of a hit.
    """

    inside: Floats
    pointing: Floats


class _Places:
    """n masks (n, H, W): where they are, and what lies near them."""

    def __init__(self, masks: Masks) -> None:
        from scipy.ndimage import distance_transform_edt

        self.masks = masks
        reach = TOLERANCE * min(masks.shape[1:])
        self._near = np.stack([distance_transform_edt(~mask) <= reach for mask in masks])
        self.area: Floats = masks.mean(axis=(1, 2))
        self.near: Floats = self._near.mean(axis=(1, 2))
        height, width = masks.shape[1:]
        middle = (slice((height - 1) // 2, height // 2 + 1), slice((width - 1) // 2, width // 2 + 1))
        self.centre: Floats = self._near[:, *middle].mean(axis=(1, 2)).round()

    def measure(self, heat: Floats) -> _Measured:
        """Heat (n, h, w) against these masks. Where several places are hottest, each counts its part."""
        height, width = self.masks.shape[1:]
        inside, pointing = np.full(len(heat), np.nan), np.zeros(len(heat))
        for i, (own, mask, near) in enumerate(zip(heat, self.masks, self._near, strict=True)):
            small = Image.fromarray(own.astype(np.float32))
            large = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float64)
            positive = np.maximum(large, 0)
            total = positive.sum()
            if total > 0:
                inside[i] = positive[mask].sum() / total
            pointing[i] = near[large == large.max()].mean()
        return _Measured(inside, pointing)


class _Figures:
    """Means over the photographs `here`, (n,), with intervals, all from the same draws of groups."""

    def __init__(self, groups: Sequence[str], here: Masks, resamples: int, seed: int) -> None:
        self.here = here
        own = [group for group, wanted in zip(groups, here, strict=True) if wanted]
        self.groups = len(set(own))
        drawn = bootstrap(own, lambda weights: {"weights": weights}, resamples=resamples, seed=seed)
        self._weights = np.concatenate([np.ones((1, len(own))), drawn["weights"]])

    def mean(self, values: Floats) -> Estimate | None:
        """Of a value per photograph, (n,), without those that are NaN."""
        found = self._means(values)
        return percentile_interval(float(found[0]), found[1:])

    def share(self, happened: Floats) -> Estimate | None:
        """Of photographs: 1 or 0 for each, or a part, (n,)."""
        found = self._means(happened)
        return proportion_interval(float(found[0]), found[1:], self.groups)

    def ratio(self, above: Floats, below: Floats) -> Estimate | None:
        """Mean over mean, of the photographs whose value `above` is not NaN."""
        found = self._means(above) / self._means(np.where(np.isnan(above), np.nan, below))
        return percentile_interval(float(found[0]), found[1:])

    def _means(self, values: Floats) -> Floats:
        own = values[self.here]
        known = ~np.isnan(own)
        total, count = self._weights @ np.where(known, own, 0.0), self._weights @ known
        mean: Floats = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
        return mean


def _lesions(figures: _Figures, places: _Places, found: dict[str, _Measured]) -> Lesions:
    def hits(own: _Measured) -> Hits:
        return Hits(
            inside=figures.mean(own.inside),
            ratio=figures.ratio(own.inside, places.area),
            pointing=_known(figures.share(own.pointing)),
            hits=round(own.pointing[figures.here].sum()),
        )

    return Lesions(
        photographs=int(figures.here.sum()),
        groups=figures.groups,
        without_heat=int(np.isnan(found["model"].inside[figures.here]).sum()),
        area=_known(figures.mean(places.area)),
        pointing_chance=_known(figures.mean(places.near)),
        pointing_centre=_known(figures.share(places.centre)),
        model=hits(found["model"]),
        exchanged=hits(found["exchanged"]) if "exchanged" in found else None,
        randomised=hits(found["randomised"]) if "randomised" in found else None,
    )


def _spearman(first: Floats, second: Floats) -> float:
    """Spearman's rank correlation of two maps, ties at their mean rank; NaN where one is constant."""
    from scipy.stats import rankdata

    one, two = (rankdata(values) - (values.size + 1) / 2 for values in (first.ravel(), second.ravel()))
    length = float(np.sqrt((one @ one) * (two @ two)))
    return float(one @ two) / length if length > 0 else float("nan")


def _known(figure: Estimate | None) -> Estimate:
    if figure is None:
        raise InputError("Received heat that is not finite numbers; the network has diverged.")
    return figure


def _plain(figure: Estimate | None) -> dict[str, float] | None:
    return None if figure is None else figure.as_dict()
