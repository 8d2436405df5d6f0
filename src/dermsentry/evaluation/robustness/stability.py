"""Whether a model's alerts are stable under corruptions and repeat captures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermsentry.diagnoses import CODES, MELANOMA
from dermsentry.errors import InputError
from dermsentry.evaluation.measures import melanoma_truth, raises_alert
from dermsentry.evaluation.robustness.corruptions import (
    ARTEFACTS,
    CORRUPTIONS,
    SEVERITIES,
    noise_of_equal_energy,
    rms_difference,
    shifted,
    turned,
)
from dermsentry.images import Pixels
from dermsentry.stats.intervals import Estimate, known
from dermsentry.stats.metrics import rank
from dermsentry.stats.resampling import Resampled, Resampler, paired_difference

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]
Predict = Callable[[Pixels], NDArray[Any]]
Step = tuple[str, int]

BATCH = 64
_MEL = CODES.index(MELANOMA)
_LEAST = 1e-6  # probability; keeps log-odds finite


@dataclass(frozen=True)
class Cell:
    """What one corruption at one severity does, over all photographs.

    `roc_auc`: of melanoma on the corrupted photographs, `drop`: by how much that is less than on the clean
    ones (None without melanomas or others). `flips`: share of photographs whose alert appears or disappears.
    `missed`: of the melanomas with an alert, the share that lose it; None without any.
    `change`: mean absolute change of the melanoma probability. `noise_flips`: the flips under
    Gaussian noise of the same root-mean-square difference. `rms`: that difference in grey levels, the mean
    over photographs.
    """

    corruption: str
    severity: int
    roc_auc: Estimate | None
    drop: Estimate | None
    flips: Estimate
    missed: Estimate | None
    change: Estimate
    noise_flips: Estimate
    rms: float = field(metadata={"json": "rms_difference"})


@dataclass(frozen=True)
class Artefact:
    """What one thing at the lesion does: `name`, of `corruptions.ARTEFACTS`.

    `melanomas_missed` of the melanomas with an alert lose it, the share `missed`, None without any: the
    direction that hurts. `false_alarms` of the others without an alert gain one. `flips`: share of
    photographs whose alert appears or disappears.
    """

    name: str
    melanomas_missed: int
    missed: Estimate | None
    false_alarms: int
    flips: Estimate


@dataclass(frozen=True)
class RepeatCapture:
    """What happens when the same lesion is captured again: rotated, mirrored or slightly shifted.

    `flips` is the share of photographs whose decision changes in any of the captures, `flipped` their
    number, `melanomas_flipped` that of the melanomas among them, and `melanomas_missed` that of the melanomas
    with an alert that lose it in any. `flip_rate` is the mean share per capture,
    `by_capture` each one's. `spread`: the median over photographs of the standard deviation of the
    melanoma log-odds over the photograph and its captures.
    """

    flipped: int
    melanomas_flipped: int
    melanomas_missed: int
    flips: Estimate
    flip_rate: Estimate
    by_capture: Mapping[str, Estimate]
    spread: Estimate


@dataclass(frozen=True)
class Robustness:
    """Every corruption at every severity, by `CORRUPTIONS`, single artefacts and the repeat capture.

    `photographs`, `groups` and `melanomas` (photographs) are those measured on, `alerted` the melanomas that
    raise an alert as they are, `roc_auc` is the clean one.
    """

    photographs: int
    groups: int
    melanomas: int
    alerted: int
    threshold: float | None
    roc_auc: Estimate | None
    artefacts: tuple[Artefact, ...]
    cells: tuple[Cell, ...] = field(metadata={"json": "corruptions"})
    repeat: RepeatCapture = field(metadata={"json": "repeat_capture"})
    resamples: int
    seed: int

    @property
    def by_corruption(self) -> dict[str, tuple[Cell, ...]]:
        """The cells of each corruption, by severity."""
        return {name: tuple(cell for cell in self.cells if cell.corruption == name) for name in CORRUPTIONS}

    @property
    def worst(self) -> Cell:
        """The cell in which most decisions flip."""
        return max(self.cells, key=lambda cell: cell.flips.value)


# What a repeat capture of the same lesion may look like.
_CAPTURES: dict[str, Callable[[Pixels], Pixels]] = {
    **{f"turned by {degrees:+d}°": partial(turned, degrees=degrees) for degrees in (-15, -10, -5, 5, 10, 15)},
    **{f"turned by {90 * quarters}°": partial(np.rot90, k=quarters) for quarters in (1, 2, 3)},
    "mirrored": np.fliplr,
    "2 % to the right": partial(shifted, right=0.02, down=0.0),
    "3 % down": partial(shifted, right=0.0, down=0.03),
    "3 % up": partial(shifted, right=0.0, down=-0.03),
    "4 % to the left": partial(shifted, right=-0.04, down=0.0),
}


def measure_robustness(
    predict: Predict,
    pixels: Pixels,
    truth: Sequence[str],
    resampler: Resampler,
    *,
    threshold: float | None,
    progress: Callable[[Sequence[Step]], Iterable[Step]] = iter,
) -> Robustness:
    """Measure which decisions change under corruptions and repeat captures.

    Parameters
    ----------
    predict
        Takes up to 64 photographs (k, size, size, 3) uint8, gives probabilities (k, 9) by `diagnoses.CODES`.
    pixels
        The photographs as the network sees them, (n, size, size, 3) uint8.
    truth
        Their labels. Flips and changes are of all; AUROC of those known to be a melanoma or not.
    resampler
        Of the lesion of each; the clean and the corrupted are measured on the same draws. Its seed is also
        that of the corruptions: a photograph gets the same hairs at every severity, more of them.
    threshold
        The melanoma probability from which an alert is raised; None alerts where melanoma is the most
        probable class.
    progress
        Goes through the corruptions, such as `lambda steps: track(steps, "Corrupting")`.

    Raises
    ------
    InputError
        The lengths do not fit, or there is no photograph.
    """
    _check(pixels, truth, resampler)
    predictor = _Predictor(predict, pixels, threshold)
    clean = predictor.score(lambda picture: picture)
    again = {name: predictor.score(capture) for name, capture in _CAPTURES.items()}
    artefacts = {name: predictor.with_artefact(name, resampler.seed) for name in ARTEFACTS}
    steps = [(name, severity) for name in CORRUPTIONS for severity in SEVERITIES]
    corrupted = [predictor.corrupted(name, severity, resampler.seed) for name, severity in progress(steps)]
    melanoma, told = melanoma_truth(truth)
    figures = _Changes(resampler, melanoma, told, clean)
    return Robustness(
        photographs=len(pixels),
        groups=resampler.count(),
        melanomas=int(melanoma.sum()),
        alerted=int((melanoma & clean.alert).sum()),
        threshold=threshold,
        roc_auc=figures.area and figures.area[1],
        artefacts=tuple(_artefact(name, scores, figures) for name, scores in artefacts.items()),
        cells=tuple(_cell(found, figures) for found in corrupted),
        repeat=_repeat(again, figures),
        resamples=resampler.resamples,
        seed=resampler.seed,
    )


def _check(pixels: Pixels, truth: Sequence[str], groups: Resampler) -> None:
    if not len(pixels):
        raise InputError("Received no photograph to measure robustness on; expected at least one.")
    if not len(pixels) == len(truth) == len(groups):
        raise InputError(
            f"Received {len(pixels)} photographs, {len(truth)} labels and {len(groups)} groups; "
            "expected as many of each."
        )
    if pixels.ndim != 4 or pixels.shape[1] != pixels.shape[2] or pixels.shape[3] != 3:
        raise InputError(f"Received photographs of shape {pixels.shape}; expected (n, size, size, 3).")


@dataclass(frozen=True, eq=False)
class _Scores:
    """The melanoma probability of each photograph, (n,), and whether it raises an alert."""

    melanoma: Floats
    alert: Truths


@dataclass(frozen=True, eq=False)
class _Corrupted:
    """The scores under a corruption, those under noise of equal energy, and its mean difference."""

    corruption: str
    severity: int
    scores: _Scores
    noise: _Scores
    rms: float


@dataclass(frozen=True, eq=False)
class _Predictor:
    """Predicts pictures that exist only while they are predicted: one batch at a time."""

    predict: Predict
    pixels: Pixels
    threshold: float | None

    def score(self, change: Callable[[Pixels], Pixels]) -> _Scores:
        """The scores of every photograph after `change`."""
        return self._joined([self._batch([change(self.pixels[i]) for i in rows]) for rows in self._rows()])

    def with_artefact(self, name: str, seed: int) -> _Scores:
        """The scores of every photograph with one artefact, drawn by the photograph's number."""
        kind, add = list(ARTEFACTS).index(name), ARTEFACTS[name]
        return self._joined(
            [
                self._batch(
                    [add(self.pixels[i], np.random.default_rng((seed, 1000 + kind, i))) for i in rows]
                )
                for rows in self._rows()
            ]
        )

    def corrupted(self, name: str, severity: int, seed: int) -> _Corrupted:
        """What one corruption at one severity leads to; random numbers depend on the photograph's number."""
        kind, corrupt = list(CORRUPTIONS).index(name), CORRUPTIONS[name]
        scores, noise, differences = [], [], []
        for rows in self._rows():
            worse, noisy = [], []
            for i in rows:
                clean = self.pixels[i]
                worse.append(corrupt(clean, severity, np.random.default_rng((seed, kind, i))))
                draw = np.random.default_rng((seed, kind, i, severity))
                noisy.append(noise_of_equal_energy(clean, worse[-1], draw))
                differences.append(rms_difference(clean, worse[-1]))
            scores.append(self._batch(worse))
            noise.append(self._batch(noisy))
        return _Corrupted(
            name, severity, self._joined(scores), self._joined(noise), float(np.mean(differences))
        )

    def _rows(self) -> Iterator[range]:
        for start in range(0, len(self.pixels), BATCH):
            yield range(start, min(start + BATCH, len(self.pixels)))

    def _batch(self, pictures: Sequence[Pixels]) -> Floats:
        probability = np.asarray(self.predict(np.stack(pictures)), dtype=np.float64)
        if probability.shape != (len(pictures), len(CODES)):
            expected = f"{len(pictures)} photographs by {len(CODES)} classes"
            raise InputError(f"Received probabilities of shape {probability.shape}; expected {expected}.")
        if not np.isfinite(probability).all():
            raise InputError("The network gave no number for a photograph; it has diverged.")
        return probability

    def _joined(self, parts: Sequence[Floats]) -> _Scores:
        probability = np.concatenate(parts)
        return _Scores(probability[:, _MEL], raises_alert(probability, self.threshold))


@dataclass(frozen=True, eq=False)
class _Changes:
    """What changes against the clean photographs, measured on the same draws."""

    resampler: Resampler
    melanoma: Truths
    told: Truths
    clean: _Scores

    def share(self, happened: NDArray[Any]) -> Estimate:
        """Of photographs: true or false for each, or a share of its own, (n,)."""
        return known(self.resampler.mean(happened).proportion(self.resampler.count()))

    def flips(self, scores: _Scores) -> Estimate:
        """The share of photographs whose decision differs from the clean photograph's."""
        return self.share(scores.alert != self.clean.alert)

    def lost(self, scores: _Scores) -> Truths:
        """Which melanomas with an alert lose it, (n,)."""
        return self.melanoma & self.clean.alert & ~scores.alert

    def missed(self, scores: _Scores) -> Estimate | None:
        """The share of the melanomas with an alert that lose it."""
        alerted = self.melanoma & self.clean.alert
        if not alerted.any():
            return None
        among = self.resampler.among(alerted)
        return among.mean(self.lost(scores)[alerted]).proportion(among.count())

    @cached_property
    def area(self) -> tuple[Resampled, Estimate] | None:
        """The AUROC of melanoma on the clean photographs."""
        return self.area_of(self.clean)

    @cached_property
    def rarer(self) -> float:
        """The effective number of lesions of melanoma or of others, whichever are fewer."""
        return self.resampler.among(self.told).rarer(self.melanoma[self.told]) if self.told.any() else 0.0

    def drop(self, area: tuple[Resampled, Estimate] | None) -> Estimate | None:
        """By how much an AUROC is less than that of the clean photographs."""
        if area is None or self.area is None:
            return None
        return paired_difference(self.area, area)

    def area_of(self, scores: _Scores) -> tuple[Resampled, Estimate] | None:
        """The AUROC of melanoma; None with fewer than two lesions of melanoma or of others."""
        if self.rarer < 2:
            return None
        truth, score = self.melanoma[self.told], scores.melanoma[self.told]

        def statistic(weights: Floats) -> dict[str, Floats]:
            return {"area": rank(truth, score, sample_weight=weights[:, self.told]).roc_auc()}

        found = self.resampler.measure(statistic)["area"]
        return found, known(found.bounded(self.rarer))

    def median(self, values: Floats) -> Estimate:
        """The lower weighted median of a value per photograph, (n,)."""
        order = np.argsort(values)

        def statistic(weights: Floats) -> dict[str, Floats]:
            total = np.cumsum(weights[:, order], axis=1)
            return {"median": values[order][(total >= total[:, -1:] / 2).argmax(axis=1)]}

        return known(self.resampler.measure(statistic)["median"].interval())


def _cell(found: _Corrupted, figures: _Changes) -> Cell:
    area = figures.area_of(found.scores)
    change = np.abs(found.scores.melanoma - figures.clean.melanoma)
    return Cell(
        corruption=found.corruption,
        severity=found.severity,
        roc_auc=area and area[1],
        drop=figures.drop(area),
        flips=figures.flips(found.scores),
        missed=figures.missed(found.scores),
        change=known(figures.resampler.mean(change).interval()),
        noise_flips=figures.flips(found.noise),
        rms=found.rms,
    )


def _artefact(name: str, scores: _Scores, figures: _Changes) -> Artefact:
    others = figures.told & ~figures.melanoma
    return Artefact(
        name=name,
        melanomas_missed=int(figures.lost(scores).sum()),
        missed=figures.missed(scores),
        false_alarms=int((others & scores.alert & ~figures.clean.alert).sum()),
        flips=figures.flips(scores),
    )


def _repeat(again: Mapping[str, _Scores], figures: _Changes) -> RepeatCapture:
    flips = np.stack([scores.alert != figures.clean.alert for scores in again.values()])
    flipped = np.asarray(flips.any(axis=0))
    stated = np.stack([scores.melanoma for scores in (figures.clean, *again.values())])
    stated = stated.clip(_LEAST, 1 - _LEAST)
    odds = np.log(stated / (1 - stated))
    return RepeatCapture(
        flipped=int(flipped.sum()),
        melanomas_flipped=int((flipped & figures.melanoma).sum()),
        melanomas_missed=int(np.any([figures.lost(scores) for scores in again.values()], axis=0).sum()),
        flips=figures.share(flipped),
        flip_rate=figures.share(flips.mean(axis=0)),
        by_capture={name: figures.share(own) for name, own in zip(again, flips, strict=True)},
        spread=figures.median(odds.std(axis=0)),
    )
