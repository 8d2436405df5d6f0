"""Write docs/coverage.md, how often 95 % intervals hold the truth: `python docs/make_coverage.py`, minutes.

Lesions are drawn whose melanoma scores are normal, the photographs of one lesion correlated by 0.7, so that
every true figure is known; each set is measured as an evaluation measures it, by the functions it uses.
"""

from __future__ import annotations

import argparse
import itertools
import platform
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

from dermsentry.evaluation.clinical_utility.operating_point import needed_threshold
from dermsentry.stats.calibration import calibration_error, calibration_test
from dermsentry.stats.intervals import NORMAL, Estimate, p_value
from dermsentry.stats.metrics import losses, rank, recall_score
from dermsentry.stats.resampling import Resampler, paired_difference

PAGE = Path(__file__).parent / "coverage.md"
SETS, RESAMPLES, SEED = 300, 200, 0
ALIKE = 0.7  # correlation of the photographs of one lesion, and of two models on one photograph
LESIONS = (100, 300, 600)
PREVALENCES = (0.05, 0.16)
AREAS = (0.7, 0.85, 0.95)
PER_LESION = (1, 3)
EASIER = 1.5  # what the logits of overconfident probabilities are multiplied by
TARGET = 0.95

FIGURES = {
    "AUROC": "`intervals.logit_interval`, what is used",
    "AUROC, DeLong": "DeLong's and Obuchowski's variance on the logit scale, to compare with",
    "AUROC, percentile": "the percentile bootstrap, to compare with",
    "average precision": "`intervals.logit_interval`",
    "sensitivity": "at the threshold that truly finds 95 %: `intervals.proportion_interval`",
    "specificity": "at the same threshold",
    "specificity at 95 %": "`operating_point.needed_threshold`, of the sets where it is estimable",
    "log loss": "`intervals.log_interval`",
    "Brier score": "`intervals.log_interval`",
    "calibration error, calibrated": "`calibration.calibration_error`; the true error is 0",
    "calibration error, overconfident": f"logits times {EASIER}",
    "difference of AUROC": "of a second, equally good model: `resampling.paired_difference`",
}
RATES = {
    "test of calibration": "how often p < 0.05 of probabilities that are calibrated: 5 % is expected",
    "test of a difference": "how often p < 0.05 of two models that are equally good: 5 % is expected",
    "estimable": "how often specificity at 95 % sensitivity is: at 20 melanoma lesions or more",
}


@dataclass(frozen=True)
class Cell:
    """A kind of set: lesions, the share that are melanomas, the AUROC, mean photographs of a lesion."""

    lesions: int
    prevalence: float
    area: float
    per_lesion: int

    @property
    def apart(self) -> float:
        """How far melanomas score above others, in standard deviations."""
        return float(norm.ppf(self.area) * 2**0.5)

    def probability(self, score: np.ndarray) -> np.ndarray:
        """That of melanoma at a score, by Bayes' theorem: calibrated."""
        return expit(logit(self.prevalence) + self.apart * score - self.apart**2 / 2)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which photographs are melanomas, the scores of two models, (2, n), and the lesion of each."""
        while True:
            melanoma = rng.random(self.lesions) < self.prevalence
            if 2 <= melanoma.sum() <= self.lesions - 2:
                break
        sizes = rng.integers(1, 2 * self.per_lesion, self.lesions)
        lesion = np.repeat(np.arange(self.lesions), sizes)
        shared = ALIKE if self.per_lesion > 1 else 0.0
        of_lesion, of_photograph = (
            rng.normal(size=(3, self.lesions))[:, lesion],
            rng.normal(size=(3, len(lesion))),
        )
        noise = np.sqrt(shared) * of_lesion + np.sqrt(1 - shared) * of_photograph
        both = np.sqrt(ALIKE) * noise[0] + np.sqrt(1 - ALIKE) * noise[1:]
        return melanoma[lesion], self.apart * melanoma[lesion] + both, lesion

    def truth(self, bins: int) -> dict[str, float]:
        """The figures of endlessly many photographs; `bins` is that of the calibration error."""
        score = np.linspace(-9, 9 + self.apart, 40001)
        density = np.stack(
            [(1 - self.prevalence) * norm.pdf(score), self.prevalence * norm.pdf(score, self.apart)]
        )
        density /= density.sum()
        stated = self.probability(score)
        found, alarms = np.cumsum(density[1][::-1])[::-1], np.cumsum(density[0][::-1])[::-1]
        threshold = self.apart + norm.ppf(1 - TARGET)
        precision = found / (found + alarms)
        sure = expit(EASIER * logit(stated))
        mass = np.cumsum(density.sum(axis=0))
        member = np.minimum((mass * bins).astype(int), bins - 1)
        share = np.bincount(member, density.sum(axis=0))
        gap = np.bincount(member, density[1] - density.sum(axis=0) * sure) / share
        return {
            "AUROC": self.area,
            "average precision": float((density[1] * precision).sum() / self.prevalence),
            "sensitivity": TARGET,
            "specificity": float(norm.cdf(threshold)),
            "specificity at 95 %": float(norm.cdf(threshold)),
            "log loss": float(-(density[1] * np.log(stated) + density[0] * np.log1p(-stated)).sum()),
            "Brier score": float((density[1] * (1 - stated) ** 2 + density[0] * stated**2).sum()),
            "calibration error, calibrated": 0.0,
            "calibration error, overconfident": float(np.sqrt((share * gap**2).sum())),
            "difference of AUROC": 0.0,
        }

    def measure(self, seed: int) -> tuple[dict[str, Estimate | None], dict[str, bool]]:
        """The figures of one set with their intervals, and what each test says."""
        melanoma, scores, lesion = self.draw(np.random.default_rng([SEED, seed]))
        resampler = Resampler([f"{one:05d}" for one in lesion], RESAMPLES, seed)
        stated = self.probability(scores[0])
        alert = scores[0] >= self.apart + norm.ppf(1 - TARGET)

        def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
            first, second = (rank(melanoma, score, sample_weight=weights) for score in scores)
            recall = recall_score(melanoma, alert, labels=[False, True], sample_weight=weights)
            return {
                "area": first.roc_auc(),
                "other": second.roc_auc(),
                "precision": first.average_precision(),
                "sensitivity": recall[:, 1],
                "specificity": recall[:, 0],
                **losses(melanoma, stated, weights),
            }

        found = resampler.measure(statistic)
        groups, others = resampler.count(melanoma), resampler.count(~melanoma)
        rarer = resampler.rarer(melanoma)
        pair = [(found[name], found[name].bounded(rarer)) for name in ("area", "other")]
        apart = paired_difference(*pair)
        needed = needed_threshold(melanoma, stated, resampler, TARGET).specificity
        tested = calibration_test(melanoma, stated, resampler.index)
        overconfident = expit(EASIER * logit(stated))
        figures = {
            "AUROC": pair[0][1],
            "AUROC, DeLong": delong(melanoma, scores[0], lesion),
            "AUROC, percentile": found["area"].interval(),
            "average precision": found["precision"].bounded(rarer),
            "sensitivity": found["sensitivity"].proportion(groups),
            "specificity": found["specificity"].proportion(others),
            "specificity at 95 %": needed,
            "log loss": found["log_loss"].loss(rarer),
            "Brier score": found["brier_score"].loss(rarer),
            "calibration error, calibrated": calibration_error(melanoma, stated, resampler.index),
            "calibration error, overconfident": calibration_error(melanoma, overconfident, resampler.index),
            "difference of AUROC": apart,
        }
        rates = {
            "test of calibration": tested.p_value < 0.05,
            "test of a difference": p_value(apart) < 0.05,
            "estimable": needed is not None,
        }
        return figures, rates


def delong(melanoma: np.ndarray, score: np.ndarray, lesion: np.ndarray) -> Estimate:
    """DeLong's interval of an AUROC on the logit scale, over lesions: Obuchowski, Biometrics 53 (1997)."""
    ranks, own = rankdata(score), np.empty(len(score))
    sides, spread, area = (melanoma, ~melanoma), 0.0, 0.0
    for side in sides:
        own[side] = (ranks[side] - rankdata(score[side])) / (~side).sum()
    own[~melanoma] = 1 - own[~melanoma]
    area = float(own[melanoma].mean())
    for side in sides:
        sums = np.bincount(np.unique(lesion[side], return_inverse=True)[1], own[side] - area) / side.sum()
        spread += (sums**2).sum() * len(sums) / max(len(sums) - 1, 1)
    if not spread or not 0 < area < 1:
        return Estimate(area, area, area)
    half = NORMAL * np.sqrt(spread) / (area * (1 - area))
    return Estimate(area, *(float(expit(logit(area) + sign * half)) for sign in (-1, 1)))


def coverage(cell: Cell, sets: int) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """How often each interval holds the truth, its mean width, and how often each test rejects."""
    hits: Mapping[str, list[bool]] = defaultdict(list)
    widths: Mapping[str, list[float]] = defaultdict(list)
    tested: Mapping[str, list[bool]] = defaultdict(list)
    truth = cell.truth(int(np.clip(cell.lesions // 10, 1, 10)))
    for seed in range(sets):
        figures, rates = cell.measure(seed)
        for name, figure in figures.items():
            if figure is not None:
                own = truth[name.split(", DeLong")[0].split(", percentile")[0]]
                hits[name].append(figure.low - 1e-9 <= own <= figure.high + 1e-9)
                widths[name].append(figure.high - figure.low)
        for name, rate in rates.items():
            tested[name].append(rate)

    def means(found: Mapping[str, list]) -> dict[str, float]:
        return {name: float(np.mean(own)) for name, own in found.items()}

    return means(hits), means(widths), means(tested)


def cells() -> Iterator[Cell]:
    """The grid."""
    yield from itertools.starmap(Cell, itertools.product(LESIONS, PREVALENCES, AREAS, PER_LESION))


INTRODUCTION = """\
# What the intervals cover

Made by `python docs/make_coverage.py`; do not edit. How often, in per cent, a 95 % interval holds the true
figure: {sets} sets of each kind, {resamples} resamples, random seed {seed}; by chance a share of 95 varies by
{deviation:.1f} (standard deviation). {versions}.

Scores are normal, those of melanomas shifted; a lesion has 1 photograph, or 1 to 5, whose scores correlate by
{alike}. Probabilities are those of Bayes' theorem, and so calibrated. Real scores are not normal, and real
photographs of a lesion may be more or less alike.
"""


def table(titles: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [titles, ["---"] * len(titles), *rows])


def page(sets: int) -> str:
    """The page, a row for each kind of set."""
    rows, every = [], []
    for cell in cells():
        hit, _, tested = coverage(cell, sets)
        every.append(hit)
        own = [f"{cell.lesions:,}", f"{100 * cell.prevalence:.0f} %", f"{cell.area}", str(cell.per_lesion)]
        shown = ["–" if name not in hit else f"{100 * hit[name]:.1f}" for name in FIGURES]
        rows.append([*own, *shown, *(f"{100 * tested[name]:.1f}" for name in RATES)])
    summary = []
    for name, told in FIGURES.items():
        found = [100 * own[name] for own in every if name in own]
        summary.append([name, told, f"{min(found):.1f}", f"{np.mean(found):.1f}"])
    introduction = INTRODUCTION.format(
        sets=sets,
        resamples=RESAMPLES,
        seed=SEED,
        deviation=100 * (0.95 * 0.05 / sets) ** 0.5,
        versions=f"Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}",
        alike=ALIKE,
    )
    parts = [
        introduction,
        table(["figure", "its interval", "worst", "mean"], summary),
        "\n".join(f"- **{name}**: {told}." for name, told in RATES.items()),
        "## Every kind of set",
        table(["lesions", "melanomas", "AUROC", "photographs", *FIGURES, *RATES], rows),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write docs/coverage.md.")
    parser.add_argument("--sets", type=int, default=SETS)
    PAGE.write_text(page(parser.parse_args().sets), encoding="utf-8")


if __name__ == "__main__":
    main()
