"""What follows from what a model saw: labels that are probably wrong, and what lies far from all others."""

from __future__ import annotations

import numpy as np
import pytest

from dermsentry.audit.content import Neighbours, far_out, label_issues


def noisy(seed: int = 0) -> tuple[np.ndarray, np.ndarray, set[int]]:
    """Probabilities of 300 photographs of three classes, their labels as one-hot, and the rows relabelled."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, 300)
    logits = rng.normal(0, 0.7, (300, 3)) + 4 * np.eye(3)[truth]
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wrong = set(rng.choice(300, 15, replace=False).tolist())
    given = np.array([(k + 1) % 3 if i in wrong else k for i, k in enumerate(truth)])
    return probability, np.eye(3, dtype=bool)[given], wrong


def test_planted_wrong_labels_are_found_and_few_others() -> None:
    probability, allowed, wrong = noisy()
    found = label_issues(probability, allowed)
    rows = [row for row, _ in found]
    assert len(wrong & set(rows)) >= 13
    assert len(rows) <= 20
    assert set(rows[:10]) <= wrong  # the surest first
    assert all(not allowed[row, suggested] for row, suggested in found)


def test_a_label_of_several_candidates_is_wrong_only_where_none_of_them_is_meant() -> None:
    probability, allowed, _ = noisy()
    allowed[0] = [True, True, False]
    probability[0] = [0.02, 0.03, 0.95]
    assert (0, 2) in label_issues(probability, allowed)
    probability[0] = [0.03, 0.95, 0.02]
    assert 0 not in [row for row, _ in label_issues(probability, allowed)]
    allowed[0] = False
    assert 0 not in [row for row, _ in label_issues(probability, allowed)]


def test_a_class_of_few_photographs_has_no_threshold() -> None:
    probability, allowed, _ = noisy()
    few = allowed[:, 2].nonzero()[0][4:]
    allowed[few] = False
    assert all(suggested != 2 for _, suggested in label_issues(probability, allowed))


def test_what_is_far_from_all_others_is_found_and_its_own_group_does_not_hide_it() -> None:
    rng = np.random.default_rng(1)
    embeddings = rng.normal(0, 0.05, (60, 8)) + np.eye(8)[0]
    embeddings[[7, 8]] = np.eye(8)[1]
    groups = np.arange(60)
    groups[8] = groups[7]
    away = Neighbours(embeddings, groups).distances(0, 60)
    assert sorted(far_out(away)) == [7, 8]
    assert far_out(away[:10]) == []
    assert np.allclose(Neighbours(embeddings, groups).distances(20, 60), away[20:])


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_far_out_in_a_cloud(seed: int) -> None:
    embeddings = np.random.default_rng(seed).normal(0, 0.1, (80, 6)) + 1
    assert len(far_out(Neighbours(embeddings, np.arange(80)).distances(0, 80))) <= 2
