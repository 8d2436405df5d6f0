"""A linear probe: a frozen EfficientNet-Lite0, and a linear head on its embeddings, fitted in seconds."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.diagnoses import CODES, codes_of
from dermsentry.errors import TrainingError
from dermsentry.files import fingerprint, write_bytes
from dermsentry.progress import track
from dermsentry.stats.logistic import logistic_regression
from dermsentry.stats.metrics import candidate_hits, mean_hit_rate
from dermsentry.training.batches import Examples
from dermsentry.training.configuration import Configuration
from dermsentry.training.fitted import Fitted
from dermsentry.training.pixels import DecodedPhotographs, digest
from dermsentry.training.pretrained import build

PENALTIES = (0.0003, 0.001, 0.003, 0.01)
"""Inverse strengths of the L2 penalty that are tried; the one with the best validation accuracy, each class
counting the same, is kept."""
BATCH = 8
"""Images that are embedded at a time: as fast as 64, in 380 MB less."""
NEVER = -30.0
"""The logit of a class without a training photograph: never the largest, and a probability of nothing."""


def embed(
    configuration: Configuration, decoded: DecodedPhotographs, cache: Path, *, quiet: bool = True
) -> NDArray[np.float32]:
    """Embeddings (N, 1280) of all decoded photographs, kept in `cache` and found there the next time.

    Raises OutputError if `cache` cannot be written.
    """
    key = fingerprint([configuration.network, configuration.weights, digest(decoded.pixels)])
    kept = cache / f"embedding-{key[:16]}.npy"
    if not kept.is_file():
        network = build(configuration)
        trunk = keras.Model(network.input, network.get_layer("embedding").output)
        parts = [
            trunk.predict_on_batch(np.asarray(decoded.pixels[i : i + BATCH]))
            for i in track(range(0, len(decoded.pixels), BATCH), "Embedding", quiet=quiet)
        ]
        file = io.BytesIO()
        np.save(file, np.concatenate(parts).astype(np.float32))
        write_bytes(kept, file.getvalue())
    return np.asarray(np.load(kept))


def fit_head(
    configuration: Configuration, embeddings: NDArray[np.float32], train: Examples, validation: Examples
) -> Fitted:
    """Fit the linear head and give the whole network back, its backbone as it was.

    Multinomial logistic regression on standardised embeddings, classes weighted to count the same
    (scikit-learn, L-BFGS). A photograph of several candidates counts as each of them in part. The history has
    a row per penalty instead of one per epoch.

    Raises
    ------
    TrainingError
        The training part holds a single class, or the validation part nothing.
    """
    from sklearn.preprocessing import StandardScaler

    started = time.perf_counter()
    rows, codes, weights = _expanded(train)
    if len(set(codes)) < 2 or not len(validation):
        raise TrainingError(
            f"The training part holds {len(train)} photographs of {len(set(codes))} class(es), the "
            f"validation part {len(validation)}; expected at least two classes, and some to choose by."
        )
    scaler = StandardScaler().fit(embeddings[train.rows])
    scaled = scaler.transform(embeddings)
    heads, history = [], []
    for i, penalty in enumerate(PENALTIES):
        head = logistic_regression(
            scaled[rows],
            codes,
            penalty,
            sample_weight=weights,
            class_weight="balanced",
            max_iter=300,
            tol=1e-3,
        )
        own, _ = _accuracies(head.predict(scaled[train.rows]), train.labels)
        held, balanced = _accuracies(head.predict(scaled[validation.rows]), validation.labels)
        heads.append(head)
        history.append(
            {
                "epoch": i + 1,
                "penalty": penalty,
                "accuracy": own,
                "val_accuracy": held,
                "val_balanced_accuracy": balanced,
            }
        )
    best = max(range(len(heads)), key=lambda i: history[i]["val_balanced_accuracy"])
    network = build(configuration)
    network.get_layer("logits").set_weights(_unscaled(heads[best], scaler))
    seconds = time.perf_counter() - started
    return Fitted(network, pd.DataFrame(history), best + 1, seconds, len(train) / seconds, embeddings)


def _expanded(train: Examples) -> tuple[NDArray[np.int64], list[str], NDArray[np.float64]]:
    """Row, code and weight of every candidate of every photograph; a photograph's weights add up to 1."""
    expanded = [
        (int(row), code, 1 / len(codes_of(label)))
        for row, label in zip(train.rows, train.labels, strict=True)
        for code in codes_of(label)
    ]
    rows = np.array([row for row, _, _ in expanded], dtype=np.int64)
    return rows, [code for _, code, _ in expanded], np.array([weight for _, _, weight in expanded])


def _accuracies(predicted: NDArray[Any], labels: tuple[str, ...]) -> tuple[float, float]:
    """Accuracy, and the mean over labels of the accuracy on each."""
    hits = candidate_hits(labels, predicted)
    return float(hits.mean()), mean_hit_rate(labels, hits)


def _unscaled(head: Any, scaler: Any) -> list[NDArray[np.float32]]:
    """Kernel (d, 9) and bias (9,) that do to raw embeddings what `head` does to standardised ones."""
    coefficients, intercepts = head.coef_, head.intercept_
    if len(head.classes_) == 2:  # scikit-learn gives one row, the log-odds of the second class
        coefficients = np.vstack([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    columns = [CODES.index(code) for code in head.classes_]
    kernel = np.zeros((coefficients.shape[1], len(CODES)), dtype=np.float32)
    bias = np.full(len(CODES), NEVER, dtype=np.float32)
    kernel[:, columns] = (coefficients / scaler.scale_).T
    bias[columns] = intercepts - coefficients @ (scaler.mean_ / scaler.scale_)
    return [kernel, bias]
