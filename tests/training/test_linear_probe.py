"""The linear head on a frozen network: fitted as scikit-learn fits it, and put back into the network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dermsentry.diagnoses import CODES
from dermsentry.errors import OutputError, TrainingError
from dermsentry.training import linear_probe
from dermsentry.training.batches import Examples
from dermsentry.training.configuration import Configuration
from dermsentry.training.fitted import head_logits, predict_logits
from dermsentry.training.linear_probe import embed, fit_head
from dermsentry.training.pixels import DecodedPhotographs
from examples import pictures

LITE0 = Configuration(network="lite0", size=32)
LABELS = tuple(("MEL", "NV", "NV", "PBK|SK", "SK")[i % 5] for i in range(70))
PIXELS = pictures(LABELS)
DECODED = DecodedPhotographs(PIXELS, {}, 32, "squash")


def part(rows: range, labels: tuple[str, ...] = LABELS) -> Examples:
    return Examples(PIXELS, np.array(rows), tuple(labels[i] for i in rows))


TRAIN, VALIDATION = part(range(50)), part(range(50, 70))


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> NDArray[np.float32]:
    return embed(LITE0, DECODED, tmp_path_factory.mktemp("cache"))


def test_the_network_says_what_its_head_says_of_embeddings(embeddings: NDArray[np.float32]) -> None:
    assert embeddings.shape == (70, 1280)
    fitted = fit_head(LITE0, embeddings, TRAIN, VALIDATION)
    logits = head_logits(fitted.network, embeddings)
    np.testing.assert_allclose(predict_logits(fitted.network, part(range(70))), logits, rtol=1e-3, atol=1e-3)
    best = fitted.history.iloc[fitted.best_epoch - 1]
    assert best["val_balanced_accuracy"] == fitted.history["val_balanced_accuracy"].max()
    codes = [CODES[i] for i in logits[50:].argmax(axis=1)]
    right = [code in label for code, label in zip(codes, LABELS[50:], strict=True)]
    assert np.mean(right) == pytest.approx(best["val_accuracy"])
    assert np.mean(right) > 0.8
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    absent = [CODES.index(code) for code in CODES if code not in ("MEL", "NV", "PBK", "SK")]
    assert shares[:, absent].max() < 1e-6


@pytest.mark.parametrize("codes", [("MEL", "NV"), ("BCC", "MEL", "NV")])
def test_the_head_is_scikit_learns(codes: tuple[str, ...]) -> None:
    """Two classes too, where scikit-learn gives one row instead of two."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    labels = tuple(codes[i % len(codes)] for i in range(70))
    values = rng.normal(3, 2, (70, 1280)).astype(np.float32)
    values[:, 0] = 7.0  # a direction without spread
    for i, label in enumerate(labels):
        values[i, 1 + codes.index(label)] += 3
    fitted = fit_head(LITE0, values, part(range(50), labels), part(range(50, 70), labels))
    penalty = fitted.history.iloc[fitted.best_epoch - 1]["penalty"]
    head = LogisticRegression(C=penalty, class_weight="balanced", max_iter=300, tol=1e-3, random_state=0)
    expected = make_pipeline(StandardScaler(), head).fit(values[:50], labels[:50]).predict_proba(values)
    logits = head_logits(fitted.network, values).astype(float)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares[:, [CODES.index(c) for c in sorted(codes)]], expected, atol=2e-3)


def test_candidates_count_in_part() -> None:
    rows, codes, weights = linear_probe._expanded(
        replace(TRAIN, rows=TRAIN.rows[2:5], labels=TRAIN.labels[2:5])
    )
    assert list(zip(rows.tolist(), codes, weights, strict=True)) == [
        (2, "NV", 1.0), (3, "PBK", 0.5), (3, "SK", 0.5), (4, "SK", 1.0),
    ]  # fmt: skip


def test_balanced_accuracy_is_over_labels() -> None:
    predicted = np.array(["NV", "NV", "NV", "SK", "MEL"])
    own, balanced = linear_probe._accuracies(predicted, ("NV", "NV", "NV", "PBK|SK", "NV"))
    assert own == pytest.approx(4 / 5)
    assert balanced == pytest.approx((3 / 4 + 1) / 2)


@pytest.mark.parametrize(
    ("train", "validation", "complaint"),
    [
        (part(range(50), ("NV",) * 70), VALIDATION, r"50 photographs of 1 class\(es\)"),
        (TRAIN, part(range(0)), "the validation part 0"),
        (part(range(0)), VALIDATION, r"0 photographs of 0 class\(es\)"),
    ],
)
def test_too_little_to_learn_from_is_a_training_error(
    embeddings: NDArray[np.float32], train: Examples, validation: Examples, complaint: str
) -> None:
    with pytest.raises(TrainingError, match=complaint):
        fit_head(LITE0, embeddings, train, validation)


def test_a_label_that_is_two_candidates_alone_can_be_learned(embeddings: NDArray[np.float32]) -> None:
    labels = tuple("PBK|SK" if label == "SK" else label for label in LABELS)
    fitted = fit_head(LITE0, embeddings, part(range(50), labels), part(range(50, 70), labels))
    assert fitted.history["val_accuracy"].max() > 0.8


def test_embeddings_are_kept_and_belong_to_their_pixels(
    embeddings: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = DecodedPhotographs(PIXELS[:3], {}, 32, "squash")
    first = embed(LITE0, few, tmp_path)
    np.testing.assert_allclose(first, embeddings[:3], rtol=1e-3, atol=1e-3)

    def refuse(_: object) -> None:
        raise AssertionError("embedded again")

    monkeypatch.setattr(linear_probe, "build", refuse)
    np.testing.assert_array_equal(embed(LITE0, few, tmp_path), first)
    changed = PIXELS[:3].copy()
    changed[1, 5, 5, 0] ^= 1
    with pytest.raises(AssertionError, match="embedded again"):
        embed(LITE0, replace(few, pixels=changed), tmp_path)


def test_embeddings_that_cannot_be_kept_are_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OutputError, match="Cannot write"):
        embed(LITE0, DecodedPhotographs(PIXELS[:1], {}, 32, "squash"), tmp_path / "cache")
