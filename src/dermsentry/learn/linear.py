"""The quick way: a frozen EfficientNet-Lite0 with ImageNet weights, and a linear head on its embeddings."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.diagnoses import CODES, codes_of
from dermsentry.errors import TrainingError
from dermsentry.files import fingerprint, whole_file
from dermsentry.learn.batches import Examples
from dermsentry.learn.fitting import Configuration, Fitted, build
from dermsentry.learn.pixels import DecodedPhotographs
from dermsentry.progress import track

PENALTIES = (0.0003, 0.001, 0.003, 0.01)
"""Inverse strengths of the L2 penalty that are tried; the one with the best validation accuracy, each class
counting the same, is kept."""


def embed(
    configuration: Configuration, decoded: DecodedPhotographs, cache: Path, *, quiet: bool = True
) -> NDArray[np.float32]:
    """Embeddings (N, 1280) of all decoded photographs, kept in `cache` and found there the next time."""
    network = build(configuration)
    trunk = keras.Model(network.input, network.get_layer("embedding").output)
    sample = np.ascontiguousarray(decoded.pixels[:: max(1, len(decoded.pixels) // 64)])
    key = fingerprint(
        [
            configuration.network,
            str(configuration.size),
            configuration.aspect,
            str(decoded.pixels.shape),
            sample.tobytes().hex(),
        ]
    )
    kept = cache / f"embedding-{key[:16]}.npy"
    if not kept.is_file():
        rows = range(0, len(decoded.pixels), 64)
        parts = [
            trunk.predict_on_batch(np.asarray(decoded.pixels[i : i + 64]))
            for i in track(rows, "Embedding", quiet=quiet)
        ]
        with whole_file(kept) as temporary, temporary.open("wb") as handle:
            np.save(handle, np.concatenate(parts).astype(np.float32))
    return np.asarray(np.load(kept))


def fit_head(
    configuration: Configuration, embeddings: NDArray[np.float32], train: Examples, validation: Examples
) -> Fitted:
    """Fit the linear head and give the whole network back, its backbone as it was.

    Multinomial logistic regression on standardised embeddings, classes weighted to count the same
    (scikit-learn, L-BFGS). A photograph of several candidates counts as each of them in part.

    Raises
    ------
    TrainingError
        The training part holds a single class.
    """
    from sklearn.preprocessing import StandardScaler

    started = time.perf_counter()
    rows, labels, weights = _expanded(train)
    if len(set(labels)) < 2:
        raise TrainingError(
            f"The training part holds one class only ({', '.join(set(labels)) or 'none'}); expected at least two."
        )
    scaler = StandardScaler().fit(embeddings[train.rows])
    x, held_out = scaler.transform(embeddings[rows]), scaler.transform(embeddings[validation.rows])
    tried: list[tuple[float, float, float, float, Any]] = []
    for penalty in PENALTIES:
        head = _head(penalty, configuration, x, labels, weights)
        scores = _balanced(head.predict(held_out), validation.labels)
        tried.append(
            (
                scores[1],
                penalty,
                scores[0],
                _balanced(head.predict(scaler.transform(embeddings[train.rows])), train.labels)[0],
                head,
            )
        )
    best = max(range(len(tried)), key=lambda i: tried[i][0])
    head = tried[best][4]
    network = build(configuration)
    kernel = np.zeros((embeddings.shape[1], len(CODES)), dtype=np.float32)
    bias = np.full(
        len(CODES), -30.0, dtype=np.float32
    )  # a class without a training photograph is never predicted
    coefficients, intercepts = head.coef_, head.intercept_
    if len(head.classes_) == 2:
        coefficients, intercepts = (
            np.vstack([-coefficients, coefficients]) / 2,
            np.concatenate([-intercepts, intercepts]) / 2,
        )
    columns = [CODES.index(code) for code in head.classes_]
    kernel[:, columns] = (coefficients / scaler.scale_).T
    bias[columns] = intercepts - coefficients @ (scaler.mean_ / scaler.scale_)
    network.get_layer("logits").set_weights([kernel, bias])
    history = pd.DataFrame(
        [
            {
                "epoch": i,
                "penalty": t[1],
                "accuracy": t[3],
                "val_accuracy": t[2],
                "val_balanced_accuracy": t[0],
            }
            for i, t in enumerate(tried)
        ]
    )
    seconds = time.perf_counter() - started
    return Fitted(network, history, best + 1, seconds, len(train.rows) / seconds)


def head_logits(network: keras.Model, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (N, 9) from embeddings (N, d): the network's head alone."""
    kernel, bias = network.get_layer("logits").get_weights()
    return np.asarray(embeddings @ kernel + bias, dtype=np.float32)


def _head(
    penalty: float, configuration: Configuration, x: NDArray[Any], labels: list[str], weights: NDArray[Any]
) -> Any:
    from sklearn.linear_model import LogisticRegression

    head = LogisticRegression(
        C=penalty, class_weight="balanced", max_iter=300, tol=1e-3, random_state=configuration.seed
    )
    return head.fit(x, labels, sample_weight=weights)


def _expanded(train: Examples) -> tuple[NDArray[np.int64], list[str], NDArray[np.float64]]:
    rows, labels, weights = [], [], []
    for row, label in zip(train.rows, train.labels, strict=True):
        for code in codes_of(label):
            rows.append(row)
            labels.append(code)
            weights.append(1 / len(codes_of(label)))
    return np.array(rows, dtype=np.int64), labels, np.array(weights)


def _balanced(predicted: Any, labels: tuple[str, ...]) -> tuple[float, float]:
    """Accuracy, and the mean over labels of the accuracy on each."""
    right = np.array([p in codes_of(label) for p, label in zip(predicted, labels, strict=True)])
    names = np.asarray(labels)
    return float(right.mean()), float(np.mean([right[names == name].mean() for name in np.unique(names)]))
