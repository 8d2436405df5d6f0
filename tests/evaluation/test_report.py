from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dermsentry.diagnoses import CODES
from dermsentry.evaluation import evaluate_predictions
from dermsentry.evaluation.report import Hundred, hundred, write_page


def judged(labels, threshold=0.5, seed=0, prevalence=None):
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.full(len(CODES), 0.5), len(labels))
    groups = [str(i) for i in range(len(labels))]
    return evaluate_predictions(
        labels, probability, groups, threshold=threshold, prevalence=prevalence, resamples=30
    )


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


def test_every_probability_is_on_its_side_of_the_threshold(tmp_path):
    probability = np.zeros((3, len(CODES)))
    probability[:, CODES.index("MEL")] = [0.023119, 0.02315, 0.5]
    probability[:, CODES.index("NV")] = 1 - probability[:, CODES.index("MEL")]
    for name in ("missed", "alarm", "found"):
        Image.new("RGB", (30, 30), (200, 150, 120)).save(tmp_path / f"{name}.png")
    evaluation = evaluate_predictions(
        ["MEL", "NV", "MEL"], probability, ["a", "b", "c"], threshold=0.023121, resamples=5
    )
    files = [tmp_path / f"{name}.png" for name in ("missed", "alarm", "found")]
    write_page(tmp_path / "page.html", evaluation, files)
    page = (tmp_path / "page.html").read_text()
    assert "at a melanoma probability of 2.3121\u00a0%" in page
    assert "<strong>2.3119\u00a0%</strong>" in page
    assert "<strong>2.32\u00a0%</strong>" in page or "<strong>2.315\u00a0%</strong>" in page


def test_a_hundred_are_a_hundred():
    assert hundred(0.16, 14 / 16, 55 / 84) == Hundred(0.16, 14, 2, 29, 55)
    assert hundred(0.02, 0.875, 0.65) == Hundred(0.02, 2, 0, 34, 64)
    assert len(hundred(0.02, 0.875, 0.65).each) == 100


@given(st.floats(0.001, 0.999), st.floats(0, 1), st.floats(0, 1))
def test_any_hundred_is_a_hundred(prevalence, sensitivity, specificity):
    found = hundred(prevalence, sensitivity, specificity)
    counts = [found.found, found.missed, found.alarms, found.quiet]
    assert sum(counts) == 100
    assert min(counts) >= 0
    assert abs(found.found + found.missed - 100 * prevalence) < 2


def test_the_page_shows_what_was_measured(tmp_path):
    labels = ["MEL"] * 10 + ["NV"] * 40
    write_page(tmp_path / "page.html", judged(labels, prevalence=0.04))
    page = (tmp_path / "page.html").read_text()
    for plot in ("ROC curve", "Decision curve", "Reliability diagrams", "Confusion matrix"):
        assert f'alt="{plot}' in page
    assert "where 4\u00a0% are melanomas" in page
    order = [page.index(word) for word in ("Before you quote", "at the alert threshold", 'id="methods"')]
    assert order == sorted(order)
    assert "What was not measured" not in page  # of predictions from anywhere
    assert page.count('class="person ') == 204  # two hundreds and the key


def test_the_page_of_nevi_alone_says_what_it_cannot(tmp_path):
    write_page(tmp_path / "page.html", judged(["NV"] * 30, prevalence=0.04))
    page = (tmp_path / "page.html").read_text()
    assert "None of these photographs is a melanoma" in page
    assert "here one of the two is missing" in page
    assert 'alt="Decision curve' not in page
