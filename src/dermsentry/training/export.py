"""From a trained network to a bundle: calibrated, with thresholds, checked against Keras on real pixels."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from dermsentry.diagnoses import CODES, MELANOMA
from dermsentry.errors import BundleError
from dermsentry.evaluation.clinical_utility.operating_point import threshold_for_sensitivity
from dermsentry.evaluation.measures import melanoma_truth
from dermsentry.images import Aspect
from dermsentry.model import OUTPUTS, Bundle, Outputs, write_bundle
from dermsentry.model.card import Card, Cut, Threshold
from dermsentry.stats.calibration import apply_temperature, fit_temperature
from dermsentry.training.networks import OutOfDistributionWeights, describe, folded
from dermsentry.training.out_of_distribution import fit_out_of_distribution

ALERT_SENSITIVITY = 0.95
REFER_SENSITIVITY = 0.99
PARITY = {"probability": 1e-4, "embedding": 1e-3, "class_activation": 1e-3, "out_of_distribution": 1e-3}
"""The largest difference allowed between Keras and ONNX Runtime, embedding's and class activation's as a
share of their largest value."""


def export_bundle(
    network: keras.Model,
    folder: Path,
    *,
    name: str,
    known: NDArray[np.uint8],
    pixels: NDArray[np.uint8],
    labels: Sequence[str],
    probability: NDArray[np.float64],
    temperature: float,
    aspect: Aspect,
    training: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    seed: int = 0,
) -> Bundle:
    """Write a bundle of a float32 network.

    Parameters
    ----------
    known
        Training photographs, (M, size, size, 3) uint8, at most as many as `out_of_distribution.drawn` gives:
        what is in distribution.
    pixels, labels, probability
        The photographs held out of training for validation and calibration: (N, size, size, 3) uint8, N
        labels, (N, 9) calibrated. They choose the thresholds, and the limit of the out-of-distribution score.
    temperature
        What calibrated the probabilities.
    training, evaluation
        What the card says of them; see `Card`.
    seed
        Of `fit_out_of_distribution`.

    Raises
    ------
    BundleError
        ONNX Runtime does not give what Keras gives.
    OutputError
        The folder cannot be written.
    """
    weights, out_of_distribution = fit_out_of_distribution(network, known, pixels, seed=seed)
    onnx = to_onnx(network, temperature, weights)
    card = Card(
        name=name,
        size=int(network.input.shape[1]),
        aspect=aspect,
        temperature=temperature,
        thresholds=choose_thresholds(probability, labels),
        out_of_distribution=out_of_distribution,
        evaluation=evaluation,
        training=training,
    )
    sample = np.resize(pixels[:32], (32, *pixels.shape[1:]))  # fewer are repeated
    check_parity(network, temperature, weights, onnx, card, sample)
    return write_bundle(folder, onnx, card)


def calibrate(
    logits: NDArray[np.float32], labels: Sequence[str], calibration: NDArray[np.bool_]
) -> tuple[float, NDArray[np.float64]]:
    """The temperature, and the probabilities (N, 9) at it, of logits (N, 9).

    `calibration` (N,) says which photographs fit the temperature; where it is none, all do.
    """
    fitting = calibration if calibration.any() else np.ones(len(labels), dtype=bool)
    known = [label for label, used in zip(labels, fitting, strict=True) if used]
    temperature = fit_temperature(logits[fitting], known)
    return temperature, apply_temperature(logits, temperature)


def choose_thresholds(probability: NDArray[np.float64], labels: Sequence[str]) -> dict[Cut, Threshold]:
    """The melanoma probabilities to alert from (95 % sensitivity) and to refer from (99 %), from (N, 9).

    Without a melanoma among the photographs they are 0.5 and 0.25, and say that nobody chose them.
    """
    melanoma, told = melanoma_truth(labels)
    truth, score = melanoma[told], probability[told, CODES.index(MELANOMA)]
    chosen: dict[Cut, Threshold] = {}
    cuts: tuple[tuple[Cut, float, float], ...] = (
        ("alert", ALERT_SENSITIVITY, 0.5),
        ("refer", REFER_SENSITIVITY, 0.25),
    )
    for cut, target, otherwise in cuts:
        if not truth.any():
            chosen[cut] = Threshold(otherwise, target, None, "nothing: no melanoma was held out")
            continue
        point = threshold_for_sensitivity(truth, score, target)
        value = float(np.clip(point.threshold, 0.0, 1.0))
        chosen[cut] = Threshold(value, target, point.sensitivity, "validation and calibration")
    return chosen


def rounded(network: keras.Model) -> keras.Model:
    """An `efficientnet_lite0`, folded, its kernels rounded to half precision: half the bytes in ONNX."""
    plain = folded(network)
    plain.set_weights(
        [w if w.ndim < 2 else w.astype(np.float16).astype(np.float32) for w in plain.get_weights()]
    )
    return plain


def to_onnx(network: keras.Model, temperature: float, out_of_distribution: OutOfDistributionWeights) -> bytes:
    """The network as ONNX with a bundle's outputs; input `image`, uint8.

    Large tensors whose values half precision holds exactly are stored so: half the bytes, the same network.
    """
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf2onnx imports what its libraries have renamed
        import tf2onnx

        logging.getLogger("tf2onnx").setLevel(logging.ERROR)
        outputs = describe(network, temperature, out_of_distribution)
        size = int(network.input.shape[1])

        given = [tf.TensorSpec((None, size, size, 3), tf.uint8, name="image")]

        @tf.function(input_signature=given)  # type: ignore[untyped-decorator]
        def bundle(image: Any) -> dict[str, Any]:
            return dict(zip(OUTPUTS, outputs(image), strict=True))

        model, _ = tf2onnx.convert.from_function(bundle, input_signature=given, opset=17)
    _store_halves(model.graph)
    return bytes(model.SerializeToString())


def _store_halves(graph: Any) -> None:
    """Store tensors as half precision, followed by a cast that ONNX Runtime does once, where none changes."""
    from onnx import TensorProto, helper, numpy_helper

    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < 256:
            continue
        halves = values.astype(np.float16)
        if not np.array_equal(halves.astype(np.float32), values):
            continue
        name = tensor.name
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(halves, f"{name}/half"))
        cast = helper.make_node("Cast", [f"{name}/half"], [name], f"{name}/cast", to=TensorProto.FLOAT)
        graph.node.insert(0, cast)


def check_parity(
    network: keras.Model,
    temperature: float,
    out_of_distribution: OutOfDistributionWeights,
    onnx: bytes,
    card: Card,
    pixels: NDArray[np.uint8],
) -> None:
    """Compare ONNX Runtime with Keras at batch 1 and the whole batch. Raises BundleError beyond `PARITY`."""
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    outputs = describe(network, temperature, out_of_distribution)
    for count in (1, len(pixels)):
        expected = [np.asarray(value) for value in outputs(pixels[:count])]
        got = Outputs(*session.run(list(OUTPUTS), {"image": pixels[:count]}))
        for (what, allowed), wanted in zip(PARITY.items(), expected, strict=True):
            scale = (
                1.0
                if what in ("probability", "out_of_distribution")
                else max(1.0, float(np.abs(wanted).max()))
            )
            difference = float(np.abs(getattr(got, what) - wanted).max()) / scale
            if not difference <= allowed:
                raise BundleError(
                    f"{card.name}: {what} differs by {difference:.2g} between Keras and ONNX Runtime at "
                    f"batch {count}; at most {allowed:g} is allowed."
                )
