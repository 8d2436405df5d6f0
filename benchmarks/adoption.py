"""Does adoption keep what it promises? Simulated on predictions for a source that the model never saw.

    PYTHONPATH=. python benchmarks/adoption.py EVALUATION... [--draws 200] [--sensitivity 0.95]

EVALUATION is a folder with `predictions.csv` and `truth.csv`, as `dermsentry evaluate --out` writes them: one
source each. Lesions are drawn at random until there are 100, 200 and 500 photographs; on these the bundle is
adopted, on the source's other lesions the result is measured. `--melanomas 0.02` leaves out melanomas until
that is their share. Where the melanomas drawn are too few for the sensitivity, what they can promise (all
found) is promised instead, as `adopt` tells.

Prints, for each number of photographs, over the draws: melanomas drawn, the sensitivity promised, the one
reached (each lesion by the share of its photographs that raise an alert), the share of draws that reached
what was promised (the confidence is expected), specificity, and melanoma's calibration error before and
after; medians with the 5th and the 95th percentile. Takes a minute: no photograph is opened.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dermsentry.adoption.fitting import Screened, propose
from dermsentry.adoption.results import Counts
from dermsentry.diagnoses import MELANOMA, is_melanoma
from dermsentry.model import read_network
from dermsentry.stats.calibration import calibration_error, platt_scaled
from dermsentry.stats.resampling import group_index

COUNTS = (100, 200, 500)
CARD = read_network()[0]
NOTHING = Counts(*[0] * 12)


def main() -> None:
    parser = argparse.ArgumentParser(description="Does adoption keep what it promises?")
    parser.add_argument("evaluations", type=Path, nargs="+")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--sensitivity", type=float, default=0.95)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--melanomas", type=float, help="keep so many that this is their share")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = []
    for folder in options.evaluations:
        source = read_source(folder)
        if options.melanomas:
            source = with_share(*source, options.melanomas, options.seed)
        for count in COUNTS:
            rng = np.random.default_rng([options.seed, count])
            drawn = [one_draw(*source, count, options, rng) for _ in range(options.draws)]
            rows.append(as_row(folder.name, count, [one for one in drawn if one is not None]))
    print(pd.DataFrame(rows).to_string(index=False))


def read_source(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Melanoma's probability, whether it is one, and the lesion as a number, of those that are one or not."""
    stated = pd.read_csv(folder / "predictions.csv", dtype={"image": str}).set_index("image")[MELANOMA]
    table = pd.read_csv(folder / "truth.csv", dtype=str).fillna("")
    answers = [is_melanoma(label) for label in table["diagnosis"]]
    table = table.assign(melanoma=answers)[[answer is not None for answer in answers]]
    score = table["image"].map(stated).to_numpy(dtype=np.float64)
    return score, table["melanoma"].to_numpy(dtype=bool), group_index(list(table["group"]))


def with_share(
    score: np.ndarray, truth: np.ndarray, group: np.ndarray, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same with fewer melanoma lesions, chosen at random, as a clinic with fewer has them."""
    wanted = share / (1 - share) * (~truth).sum()
    lesions = np.random.default_rng(seed).permutation(np.unique(group[truth]))
    sizes = np.bincount(group[truth], minlength=int(group.max()) + 1)[lesions].cumsum()
    kept = ~truth | np.isin(group, lesions[: int(np.searchsorted(sizes, wanted)) + 1])
    return score[kept], truth[kept], np.unique(group[kept], return_inverse=True)[1]


def one_draw(
    score: np.ndarray,
    truth: np.ndarray,
    group: np.ndarray,
    count: int,
    options: argparse.Namespace,
    rng: np.random.Generator,
) -> dict[str, float] | None:
    """Adopt on `count` photographs of lesions drawn, measure on the others; None where none is a melanoma."""
    order = rng.permutation(int(group.max()) + 1)
    sizes = np.bincount(group)[order].cumsum()
    here = np.isin(group, order[: int(np.searchsorted(sizes, count)) + 1])
    rest = ~here
    labels = np.where(truth, MELANOMA, "NV")
    own = Screened(
        score[here], list(labels[here]), group[here].astype(str).tolist(),
        np.zeros(here.sum(), bool), *[np.full(here.sum(), np.nan)] * 2,
    )  # fmt: skip
    wanted = options.sensitivity
    for _ in range(2):
        found = propose(own, CARD, NOTHING, sensitivity=wanted, confidence=options.confidence, resamples=2)
        if found.demand is None or not found.demand.melanomas:
            return None
        if not found.refusal:
            break
        wanted = found.demand.attainable
    assert found.alert is not None
    scaled = platt_scaled(score[rest], found.slope, found.intercept)
    alerts = scaled >= found.alert.now
    lesion = np.unique(group[rest & truth], return_inverse=True)[1]
    of_each = np.bincount(lesion, alerts[truth[rest]]) / np.bincount(lesion)
    reached = float(of_each.mean())
    return {
        "melanomas": float(found.demand.melanomas),
        "promised": wanted,
        "reached": reached,
        "kept": float(reached >= wanted),
        "specificity": float((~alerts[~truth[rest]]).mean()),
        "before": _error(truth[rest], score[rest], group[rest]),
        "after": _error(truth[rest], scaled, group[rest]),
    }


def _error(truth: np.ndarray, stated: np.ndarray, group: np.ndarray) -> float:
    found = calibration_error(truth, stated, group)
    return float("nan") if found is None else found.value


def as_row(name: str, count: int, drawn: Sequence[dict[str, float]]) -> dict[str, object]:
    table = pd.DataFrame(drawn)

    def middle(column: str) -> str:
        low, mid, high = np.percentile(table[column], [5, 50, 95])
        return f"{mid:.3f} ({low:.3f}-{high:.3f})"

    return {
        "source": name,
        "photographs": count,
        "draws": len(table),
        "melanomas": f"{table['melanomas'].median():.0f}",
        "promised": middle("promised"),
        "reached": middle("reached"),
        "promise kept": f"{table['kept'].mean():.3f}",
        "specificity": middle("specificity"),
        "ECE before": f"{table['before'].mean():.3f}",
        "ECE after": middle("after"),
        "ECE <= 0.05": f"{(table['after'] <= 0.05).mean():.3f}",
    }


if __name__ == "__main__":
    main()
