from __future__ import annotations

import numpy as np
import pytest

from dermsentry.diagnoses import CODES
from dermsentry.judge import evaluate_predictions
from dermsentry.judge.report import summary, write_page


def judged(labels, threshold=0.5, seed=0):
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.full(len(CODES), 0.5), len(labels))
    groups = [str(i) for i in range(len(labels))]
    return evaluate_predictions(labels, probability, groups, threshold=threshold, resamples=30)


@pytest.mark.parametrize(
    ("labels", "threshold"),
    [
        (["MEL", "NV", "NV", "BCC"], None),
        (["NV", "BCC", "NV"], 0.0),
        (["MEL", "MEL"], 1.0),
        (["MEL"], 0.0),
        (["MEL|NV", "NV"], None),
        (["MEL|NV"], 0.5),
        (["PBK|SK", "AK|SCC", "MEL", ""], 1.0),
    ],
)
def test_any_truth_gives_a_page(labels, threshold, tmp_path):
    evaluation = judged(labels, threshold)
    write_page(tmp_path / "page.html", evaluation)
    page = (tmp_path / "page.html").read_text()
    assert "Before you quote a figure" in page
    assert "nan" not in page.replace("name", "").split("<img")[0].lower()
    assert "Synthetic" not in page


def test_a_missing_photograph_does_not_lose_the_page(tmp_path):
    evaluation = judged(["MEL", "NV"], threshold=1.0)
    write_page(tmp_path / "page.html", evaluation, [tmp_path / "gone.jpg", tmp_path / "gone too.jpg"])
    assert (tmp_path / "page.html").is_file()


def test_summary_names_figures_with_their_interval():
    lines = summary(judged(["MEL"] * 5 + ["NV"] * 20)).splitlines()
    assert [line[:22].strip() for line in lines] == [
        "melanoma sensitivity",
        "melanoma specificity",
        "melanoma AUROC",
        "balanced accuracy",
        "accuracy",
    ]
    assert "of 5 found" in lines[0]
    assert " to " in lines[0]
    assert summary(judged(["NV"] * 5)).splitlines()[0].endswith("–")
