"""Whether class activation, shown as saliency, falls on the lesion and depends on what was learned.

Activation on the lesion is no proof of a right reason: lesions are in the middle of most photographs, and so
is much activation. It is therefore compared with chance, with the middle of the picture, with the activation
of another photograph, and with that of a network whose weights were shuffled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermsentry.errors import InputError
from dermsentry.evaluation.measures import melanoma_truth
from dermsentry.evaluation.saliency.masks import Masks
from dermsentry.stats.intervals import Estimate, known
from dermsentry.stats.resampling import Resampler

Floats = NDArray[np.float64]

TOLERANCE = 15 / 224
"""How far from the lesion the highest place may be, as a share of the shorter side: 15 pixels of 224."""


@dataclass(frozen=True)
class Hits:
    """Where one kind of class activation falls.

    `inside`: share of the positive activation inside the mask, the mean over photographs that have any;
    `ratio`: that mean over the masks' mean share of the same pictures, 1 by chance. `pointing`: share of
    photographs whose highest place is on the lesion or within the tolerance, `hits` their number. The first
    two are None where no photograph has positive activation.
    """

    inside: Estimate | None
    ratio: Estimate | None
    pointing: Estimate
    hits: int


@dataclass(frozen=True)
class Lesions:
    """One set of photographs: what chance would give, and what each kind of activation gives.

    `area`: mean share of the picture that the mask covers, what `Hits.inside` would be by chance.
    `pointing_chance`: mean share within the tolerance, what `Hits.pointing` would be by chance;
    `pointing_centre`: what the middle of the picture would reach. `without_activation` photographs have no
    positive activation anywhere. `exchanged` is the activation of another photograph, None for a single one;
    `randomised` that of the control, None without one.
    """

    photographs: int
    groups: int
    without_activation: int = field(metadata={"json": "without_heat"})
    area: Estimate
    pointing_chance: Estimate
    pointing_centre: Estimate
    model: Hits
    exchanged: Hits | None
    randomised: Hits | None

    @property
    def rows(self) -> tuple[tuple[str, Hits], ...]:
        """Each kind of activation with its name in words."""
        named = (
            ("this model", self.model),
            ("another photograph's activation", self.exchanged),
            ("the same network, weights shuffled", self.randomised),
        )
        return tuple((name, hits) for name, hits in named if hits is not None)


@dataclass(frozen=True)
class SaliencyCheck:
    """Class activation against lesion masks: over all photographs, and over the melanomas if there are any.

    `rank_correlation`: Spearman's, between the activation and the control's over the places of a
    photograph, the mean over photographs: near 0 where it comes from what was learned, near 1 where it comes
    from the network's shape or from the picture alone. `empty` masks held no lesion and were left out.
    """

    all: Lesions
    melanomas: Lesions | None
    rank_correlation: Estimate | None
    empty: int = field(metadata={"json": "empty_masks"})
    resamples: int
    seed: int
    tolerance: float = TOLERANCE


def check_saliency(
    activation: NDArray[Any],
    masks: Masks,
    truth: Sequence[str],
    resampler: Resampler,
    *,
    control: NDArray[Any] | None = None,
) -> SaliencyCheck:
    """Measure whether class activation falls on the lesions.

    The share of activation inside a mask, against the share of the picture that it covers; and the pointing
    game (Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016, section 4.1): whether
    the highest place is on the lesion or within `TOLERANCE` of it. Activation is brought to the mask's size
    bilinearly; negative activation speaks against the class and counts as none. The control is the test of
    Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018: a map that stays the same when the
    weights are random explains nothing.

    Parameters
    ----------
    activation
        One class's share of its logit per place, (n, h, w), such as melanoma's.
    masks
        True where the lesion is, (n, H, W), in the network's geometry: see `fit_mask`.
    truth
        The label of each photograph.
    resampler
        Of the lesion of each photograph. Its seed also decides which photographs exchange their maps.
    control
        The same, (n, h, w), of a network whose weights were shuffled: see `control_of`.

    Raises
    ------
    InputError
        Shapes do not fit, activation is not finite, or no mask holds a lesion.
    """
    values, other = _checked(activation, masks, truth, resampler, control)
    kept = np.flatnonzero(masks.any(axis=(1, 2))).tolist()
    if not len(kept):
        raise InputError(f"None of the {len(masks)} masks marks a lesion; expected 255 where the lesion is.")
    places = _Places(masks[kept])
    maps = {"model": values[kept]}
    if len(kept) > 1:
        order = np.random.default_rng(resampler.seed).permutation(len(kept))
        partner = np.empty_like(order)
        partner[order] = np.roll(order, 1)
        maps["exchanged"] = maps["model"][partner]
    if other is not None:
        maps["randomised"] = other[kept]
    found = {name: places.measure(own) for name, own in maps.items()}
    own = resampler.among(np.array(kept))
    melanoma = melanoma_truth([truth[i] for i in kept])[0]
    alike = None
    if other is not None:
        pairs = zip(values[kept], other[kept], strict=True)
        alike = own.mean(np.array([_spearman(one, two) for one, two in pairs])).interval()
    return SaliencyCheck(
        all=_lesions(own, np.ones(len(kept), dtype=np.bool_), places, found),
        melanomas=_lesions(own.among(melanoma), melanoma, places, found) if melanoma.any() else None,
        rank_correlation=alike,
        empty=len(masks) - len(kept),
        resamples=own.resamples,
        seed=own.seed,
    )


def _checked(
    activation: NDArray[Any],
    masks: Masks,
    truth: Sequence[str],
    groups: Resampler,
    control: NDArray[Any] | None,
) -> tuple[Floats, Floats | None]:
    values = np.asarray(activation, dtype=np.float64)
    other = None if control is None else np.asarray(control, dtype=np.float64)
    if values.ndim != 3 or masks.ndim != 3 or not len(values):
        raise InputError(
            f"Received activation {values.shape} and masks {masks.shape}; expected (n, h, w) of both."
        )
    if not len(values) == len(masks) == len(truth) == len(groups):
        raise InputError(
            f"Received the activation of {len(values)} photographs, {len(masks)} masks, {len(truth)} labels "
            f"and {len(groups)} groups; expected as many of each."
        )
    if other is not None and other.shape != values.shape:
        raise InputError(
            f"Received a control {other.shape} for activation {values.shape}; expected the same shape."
        )
    if not np.isfinite(values).all() or not (other is None or np.isfinite(other).all()):
        raise InputError("Received activation that is not finite numbers; the network has diverged.")
    return values, other


@dataclass(frozen=True, eq=False)
class _Measured:
    """Of each photograph, (n,): the share of activation inside, NaN without any; whether it points there.

    A photograph whose highest places are several has a part of a hit.
    """

    inside: Floats
    pointing: Floats


class _Places:
    """n masks (n, H, W): where they are, and what is near them."""

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

    def measure(self, activation: Floats) -> _Measured:
        """Activation (n, h, w) against these masks. Several highest places count in part."""
        height, width = self.masks.shape[1:]
        inside, pointing = np.full(len(activation), np.nan), np.zeros(len(activation))
        for i, (own, mask, near) in enumerate(zip(activation, self.masks, self._near, strict=True)):
            small = Image.fromarray(own.astype(np.float32))
            large = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float64)
            positive = np.maximum(large, 0)
            total = positive.sum()
            if total > 0:
                inside[i] = positive[mask].sum() / total
            pointing[i] = near[large == large.max()].mean()
        return _Measured(inside, pointing)


def _lesions(resampler: Resampler, here: Masks, places: _Places, found: dict[str, _Measured]) -> Lesions:
    """The figures of the photographs `here`, (n,), whose lesions `resampler` draws."""
    groups = resampler.count()

    def share(happened: Floats) -> Estimate:
        return known(resampler.mean(happened[here]).proportion(groups))

    def hits(own: _Measured) -> Hits:
        inside, area = own.inside[here], places.area[here]
        mean = resampler.mean(inside)
        ratio = mean / resampler.mean(np.where(np.isnan(inside), np.nan, area))
        return Hits(
            inside=mean.interval(),
            ratio=ratio.interval(),
            pointing=share(own.pointing),
            hits=round(own.pointing[here].sum()),
        )

    return Lesions(
        photographs=int(here.sum()),
        groups=groups,
        without_activation=int(np.isnan(found["model"].inside[here]).sum()),
        area=known(resampler.mean(places.area[here]).interval()),
        pointing_chance=known(resampler.mean(places.near[here]).interval()),
        pointing_centre=share(places.centre),
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
