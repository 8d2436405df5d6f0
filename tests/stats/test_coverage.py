"""Whether the 95 % intervals hold the truth in 95 of 100 sets, and that docs/coverage.md says so."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats as theirs

from docs.make_coverage import FIGURES, LESIONS, PAGE, RATES, Cell, cells, coverage, delong

USED = [name for name, told in FIGURES.items() if "to compare with" not in told]
SETS = 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell", [Cell(100, 0.05, 0.95, 3), Cell(100, 0.16, 0.85, 1), Cell(300, 0.16, 0.85, 3)], ids=str
)
def test_the_intervals_cover(cell: Cell) -> None:
    held, widths, rejected = coverage(cell, SETS)
    least = theirs.binom.ppf(0.001, SETS, 0.95) / SETS
    assert {name: share for name, share in held.items() if name in USED and share < least} == {}
    assert all(width > 0 for width in widths.values())
    assert held["AUROC, percentile"] < held["AUROC"]
    for name in ("test of calibration", "test of a difference"):
        assert rejected[name] <= theirs.binom.ppf(0.999, SETS, 0.05) / SETS


def test_the_page_shows_that_they_cover() -> None:
    rows = [[text.strip() for text in row.split("|")[1:-1]] for row in PAGE.read_text().splitlines()]
    found = {row[0]: (float(row[2]), float(row[3])) for row in rows if row and row[0] in FIGURES}
    assert set(found) == set(FIGURES)
    # The worst is 15 melanomas, each in several photographs that are much alike, at an AUROC of 0.95.
    assert {name: found[name] for name in USED if found[name][0] < 88.5 or found[name][1] < 94.5} == {}
    kinds = [row for row in rows if row and re.fullmatch("|".join(map(str, LESIONS)), row[0])]
    assert len(kinds) == len(list(cells()))
    assert all(len(row) == 4 + len(FIGURES) + len(RATES) for row in kinds)


def test_the_truths_are_those_of_many_photographs() -> None:
    cell = Cell(60_000, 0.16, 0.85, 1)
    melanoma, scores, _ = cell.draw(np.random.default_rng(0))
    stated, truth = cell.probability(scores[0]), cell.truth(10)
    assert stated.mean() == pytest.approx(melanoma.mean(), abs=0.005)
    assert delong(melanoma, scores[0], np.arange(len(melanoma))).value == pytest.approx(
        truth["AUROC"], abs=0.01
    )
    assert ((stated - melanoma) ** 2).mean() == pytest.approx(truth["Brier score"], abs=0.003)
