"""From a trained network to a bundle: calibrated, evaluated, with thresholds, and checked against Keras."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from dermsentry.diagnoses import CODES, MELANOMA
from dermsentry.errors import BundleError
from dermsentry.evaluation.calibration_methods import CalibrationMethod, compare_calibrations
from dermsentry.evaluation.clinical_utility.operating_point import threshold_for_sensitivity
from dermsentry.evaluation.measures import melanoma_truth
from dermsentry.evaluation.predictions import evaluate_predictions
from dermsentry.files import plain
from dermsentry.images import Aspect
from dermsentry.model import OUTPUTS, Bundle, LearnedFrom, Outputs, write_bundle
from dermsentry.model.card import HELD_OUT, Card, Cut, SelfTest, Threshold
from dermsentry.stats.calibration import (
    apply_temperature,
    fit_bias_corrected_temperature,
    fit_temperature,
)
from dermsentry.stats.intervals import Estimate, exact_binomial, known
from dermsentry.stats.metrics import roc_auc_score
from dermsentry.stats.resampling import Resampler, paired_difference
from dermsentry.training.batches import Examples, joined
from dermsentry.training.fitted import Fitted, head_logits
from dermsentry.training.networks import REFUSING_NOTHING, RefusalWeights, describe, folded
from dermsentry.training.quantise import quantise
from dermsentry.training.refusal import Sample, fit_refusal

# On a GPU, TensorFloat-32 would round what is calibrated and compared to 10 bits; the bundle never does.
tf.config.experimental.enable_tensor_float_32_execution(False)

ALERT_SENSITIVITY = 0.95
REFER_SENSITIVITY = 0.99
PARITY = {"probability": 1e-4, "embedding": 1e-3, "class_activation": 1e-3, "no_lesion": 1e-3,
          "out_of_distribution": 1e-3}  # fmt: skip
"""The largest difference allowed between Keras and ONNX Runtime, embedding's and class activation's as a
share of their largest value."""
COMPARED = 8
"""Images that Keras and ONNX Runtime are compared on."""
SAME_CLASS = 0.95
"""The share of held-out images whose most probable class quantisation has to keep, within chance."""
ROC_AUC_LOST = 0.02
"""How much of melanoma's AUROC on held-out images it may cost, where there are `FEWEST` of each kind."""
FEWEST = 30
QUANTISED_TOLERANCE = 0.01
"""Of the self-test: on another processor a rounding may differ, and every later one with it."""


@dataclass(frozen=True)
class Calibrated:
    """What a calibration does to logits (N, 9): probabilities are softmax((logits + biases) / temperature).

    `compared` are the methods it was chosen among, `prior` the share of each class that probabilities are
    stated for, where it was shifted.
    """

    temperature: float
    biases: NDArray[np.float64]
    compared: tuple[CalibrationMethod, ...] = ()
    prior: Mapping[str, float] | None = None

    def probability(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """The calibrated probabilities, (N, 9)."""
        return apply_temperature(logits + self.biases, self.temperature)


def calibrate(
    logits: NDArray[np.float32],
    labels: Sequence[str],
    groups: Sequence[str] = (),
    *,
    compare: bool = False,
    evenness: float = 0.0,
    seed: int = 0,
) -> Calibrated:
    """Calibrate on images that did not train the network.

    Parameters
    ----------
    logits, labels, groups
        Logits (N, 9), and the label and the group of each image; `groups` only for `compare`.
    compare
        Choose among `calibration_methods.METHODS` by cross-validation over groups, instead of a temperature.
    evenness
        Shift the prior from these images' own shares of the classes (0) towards equal ones (1), along a
        geometric mean: probabilities are stated for that case mix (Saerens et al., Neural Computation 2002).
    seed
        Random seed of the cross-validation.

    Raises
    ------
    InputError
        No label is known, or a logit is not finite.
    """
    compared = compare_calibrations(logits, labels, groups, seed=seed) if compare else ()
    method = next((method.method for method in compared if method.chosen), "temperature")
    temperature, biases = 1.0, np.zeros(len(CODES))
    if method == "temperature":
        temperature = fit_temperature(logits, labels)
    elif method == "bias-corrected temperature":
        temperature, scaled = fit_bias_corrected_temperature(logits, labels)
        biases = scaled * temperature
    found = Calibrated(temperature, biases, compared)
    return _shift_prior(found, logits, evenness) if evenness else found


def _shift_prior(found: Calibrated, logits: NDArray[np.float32], evenness: float) -> Calibrated:
    own = found.probability(logits).mean(axis=0)
    wanted = own ** (1 - evenness)
    wanted = wanted / wanted.sum()
    prior = {code: round(float(share), 4) for code, share in zip(CODES, wanted, strict=True)}
    return replace(found, biases=found.biases + found.temperature * np.log(wanted / own), prior=prior)


def make_bundle(
    fitted: Fitted,
    validation: Examples,
    calibration: Examples,
    groups: Mapping[str, Sequence[str]],
    known: Sample,
    folder: Path,
    *,
    name: str,
    aspect: Aspect,
    training: Mapping[str, Any],
    learned_from: LearnedFrom | None = None,
    compare: bool = False,
    evenness: float = 0.0,
    sources: Sequence[str] = (),
    pictures: Sequence[NDArray[np.uint8]] = (),
    quantised: bool = False,
    resamples: int = 200,
    seed: int = 0,
) -> Bundle:
    """Calibrate a fitted network, evaluate it on its validation images, and write its bundle.

    Parameters
    ----------
    fitted
        Its network may get other biases in its last layer.
    validation, calibration
        Images held out of training. `calibration` calibrates, or all where it is empty; together they choose
        the thresholds and the limits of the two scores of refusal.
    groups
        Of `validation`, and for `compare` of `calibration`: the group of each image.
    known
        Some of the training images; see `fit_refusal` and `quantise`.
    folder, name, aspect, training
        Where the bundle is written, and what its card says; see `Card`.
    learned_from
        Hashes of the photographs of train, validation and calibration; see `contamination.learned_from`.
    compare, evenness
        See `calibrate`. With `compare` the card holds the comparison.
    sources
        Of the images of `validation`, then of `calibration`: where each comes from, if that is known.
    pictures
        More images without a lesion, (height, width, 3) uint8; see `fit_refusal`.
    quantised
        Compute convolutions in 8-bit integers; see `quantise`. Calibration, thresholds and figures are then
        of the quantised network, and the card holds what it cost.
    resamples
        Of the bootstrap behind each interval.
    seed
        Random seed of the comparison and of `fit_refusal`.

    Raises
    ------
    InputError
        Nothing is held out, or the network has diverged.
    BundleError
        ONNX Runtime does not give what Keras gives, or quantisation costs more than `check_cost` allows.
    OutputError
        The folder cannot be written.
    """
    network = fitted.network
    held_out = joined(validation, calibration)
    pixels = held_out.gather(slice(None))
    logits, first = fitted.logits(held_out), len(validation)
    evaluation: dict[str, Any] = {}
    if quantised and np.isfinite(logits).all():  # what has diverged is refused below
        if any(isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers):
            network = folded(network)
        trial = quantise(to_onnx(network, 1.0, REFUSING_NOTHING), known.pixels)
        rough = head_logits(network, _run(trial, "embedding", pixels))
        own = groups.get("calibration") or [f"calibration {i}" for i in range(len(calibration))]
        resampler = Resampler([*groups["validation"], *own], resamples, seed)
        evaluation["quantisation"] = check_cost(held_out.labels, logits, rough, resampler, name)
        logits = rough
        training = {**training, "configuration": {**training["configuration"], "quantised": True}}
    fitting = slice(first if len(calibration) else 0, None)
    calibrated = calibrate(
        logits[fitting],
        held_out.labels[fitting],
        groups.get("calibration", ()),
        compare=compare,
        evenness=evenness,
        seed=seed,
    )
    if calibrated.biases.any():
        kernel, bias = network.get_layer("logits").get_weights()
        network.get_layer("logits").set_weights([kernel, bias + calibrated.biases.astype(np.float32)])
    if calibrated.prior:
        training = {**training, "configuration": {**training["configuration"], "prior": calibrated.prior}}
    probability = calibrated.probability(logits)
    evaluated = evaluate_predictions(
        validation.labels, probability[:first], groups["validation"], resamples=resamples
    )
    evaluation |= {"validation": plain(evaluated.overall), "classes": list(CODES)}
    if compare:
        evaluation["validation"]["melanoma_roc_auc"] = plain(evaluated.melanoma.roc_auc)
        evaluation["calibration"] = plain(calibrated.compared)
    thresholds = choose_thresholds(probability, held_out.labels, sources)
    evaluation |= _at_alert(probability, held_out.labels, thresholds["alert"].value)
    away = Sample(pixels, sources or [""] * len(pixels))
    refusal = fit_refusal(network, known, away, pictures=pictures, seed=seed)
    onnx = to_onnx(network, calibrated.temperature, refusal.weights)
    card = Card(
        name=name,
        size=int(network.input.shape[1]),
        aspect=aspect,
        temperature=calibrated.temperature,
        thresholds=thresholds,
        no_lesion=refusal.no_lesion,
        out_of_distribution=refusal.out_of_distribution,
        evaluation=evaluation,
        training=training,
    )
    sample = np.resize(pixels[:COMPARED], (COMPARED, *pixels.shape[1:]))  # fewer are repeated
    check_parity(network, calibrated.temperature, refusal.weights, onnx, card, sample)
    if quantised:
        onnx = quantise(onnx, known.pixels)
        if refusal.no_lesion and refusal.out_of_distribution:
            scores = (_run(onnx, score, pixels) for score in ("no_lesion", "out_of_distribution"))
            refused, flagged = (float((own > 0.5).mean()) for own in scores)
            card = replace(
                card,
                no_lesion=replace(refusal.no_lesion, held_out_refused=refused),
                out_of_distribution=replace(refusal.out_of_distribution, held_out_flagged=flagged),
            )
        test = SelfTest(
            seed=0,
            probability=(0.0,) * len(CODES),
            class_activation_mean=0.0,
            no_lesion=0.0,
            out_of_distribution=0.0,
            tolerance=QUANTISED_TOLERANCE,
        )
        card = replace(card, self_test=test)
    return write_bundle(folder, onnx, card, learned_from)


def check_cost(
    labels: Sequence[str],
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    resampler: Resampler,
    name: str,
) -> dict[str, Any]:
    """What quantisation cost on held-out images: `same_class`, melanoma's AUROC before and after, its drop.

    Raises BundleError if significantly fewer than `SAME_CLASS` keep their most probable class (exact
    binomial, 95 %), or the AUROC falls by more than `ROC_AUC_LOST`.

    Parameters
    ----------
    labels
        Of the images.
    before, after
        Logits (N, 9) in float32, and quantised.
    resampler
        Of the images' groups, for the AUROC's intervals.
    name
        The bundle's name, for the error.
    """
    same = int((before.argmax(axis=1) == after.argmax(axis=1)).sum())
    share = exact_binomial(same, len(labels))
    cost: dict[str, Any] = {"images": len(labels), "same_class": plain(share)}
    problem = f"{same} of {len(labels)} held-out images keep their class" if share.high < SAME_CLASS else ""
    melanoma, told = melanoma_truth(labels)
    if len(np.unique(melanoma[told])) == 2:
        truth = melanoma[told]
        scores = {
            kind: apply_temperature(logits[told], 1.0)[:, CODES.index(MELANOMA)]
            for kind, logits in (("float32", before), ("int8", after))
        }
        own = resampler.among(told)
        found = own.measure(
            lambda weights: {
                kind: roc_auc_score(truth, score, sample_weight=weights) for kind, score in scores.items()
            }
        )
        rarer = own.rarer(truth)
        areas = {kind: (area, known(area.bounded(rarer))) for kind, area in found.items()}
        was, now = (areas[kind][1].value for kind in scores)
        cost["melanoma_roc_auc"] = {kind: plain(area) for kind, (_, area) in areas.items()}
        cost["melanoma_roc_auc"]["drop"] = plain(paired_difference(areas["float32"], areas["int8"]))
        if not problem and was - now > ROC_AUC_LOST and min(truth.sum(), (~truth).sum()) >= FEWEST:
            problem = f"melanoma's AUROC falls from {was:.3f} to {now:.3f}"
    if problem:
        raise BundleError(f"{name}: quantised, {problem}; run it again without quantisation.")
    return cost


def choose_thresholds(
    probability: NDArray[np.float64], labels: Sequence[str], sources: Sequence[str] = ()
) -> dict[Cut, Threshold]:
    """The melanoma probabilities to alert from (95 % sensitivity) and to refer from (99 %).

    Each is the lowest that any source needs whose melanomas are enough for it to be estimated (one missed
    melanoma is at most the share that may be), or all together: what holds on average misses more at the
    hospital whose photographs are the hardest, and a new one may be like that.

    Parameters
    ----------
    probability
        Of the classes, (N, 9).
    labels
        Of the images. Without a melanoma among them the thresholds are 0.5 and 0.25, and say that nobody
        chose them.
    sources
        Where each image comes from; empty for one source.
    """
    melanoma, told = melanoma_truth(labels)
    truth, score = melanoma[told], probability[told, CODES.index(MELANOMA)]
    source = np.array(sources or [""] * len(labels))[told]
    chosen: dict[Cut, Threshold] = {}
    cuts: tuple[tuple[Cut, float, float], ...] = (
        ("alert", ALERT_SENSITIVITY, 0.5),
        ("refer", REFER_SENSITIVITY, 0.25),
    )
    for cut, target, otherwise in cuts:
        if not truth.any():
            chosen[cut] = Threshold(otherwise, target, None, "nothing: no melanoma was held out")
            continue
        where, point = "", threshold_for_sensitivity(truth, score, target)
        for name in np.unique(source):
            here = source == name
            if truth[here].sum() * (1 - target) < 1 or here.all():
                continue
            own = threshold_for_sensitivity(truth[here], score[here], target)
            if own.threshold < point.threshold:
                where, point = f", {name}", own
        value = float(np.clip(point.threshold, 0.0, 1.0))
        chosen[cut] = Threshold(value, target, point.sensitivity, f"validation and calibration{where}")
    return chosen


def _at_alert(
    probability: NDArray[np.float64], labels: Sequence[str], threshold: float
) -> dict[str, dict[str, Estimate]]:
    """The share of the held-out images without melanoma that raise no alert; nothing where there is none."""
    melanoma, told = melanoma_truth(labels)
    others = told & ~melanoma
    if not others.any() or not melanoma.any():
        return {}
    quiet = int((probability[others, CODES.index(MELANOMA)] < threshold).sum())
    return {HELD_OUT: {"specificity": exact_binomial(quiet, int(others.sum()))}}


def rounded(network: keras.Model, size: int | None = None) -> keras.Model:
    """An `efficientnet_lite`, `folded`, its kernels rounded to half precision: half the bytes in ONNX."""
    halved = folded(network, size)
    halved.set_weights(
        [w if w.ndim < 2 else w.astype(np.float16).astype(np.float32) for w in halved.get_weights()]
    )
    return halved


def to_onnx(network: keras.Model, temperature: float, refusal: RefusalWeights) -> bytes:
    """The network as ONNX with a bundle's outputs; input `image`, uint8.

    Large tensors whose values half precision holds exactly are stored so: half the bytes, the same network.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf2onnx imports what its libraries have renamed
        import tf2onnx

        logging.getLogger("tf2onnx").setLevel(logging.ERROR)
        function, given = _compiled(network, temperature, refusal)
        with _copies_freed():
            model, _ = tf2onnx.convert.from_function(function, input_signature=given, opset=17)
    _store_halves(model.graph)
    return bytes(model.SerializeToString())


def _compiled(network: keras.Model, temperature: float, refusal: RefusalWeights) -> tuple[Any, list[Any]]:
    """What gives a bundle's outputs by name for `image`, keeping no layer's maps, and its signature."""
    outputs = describe(network, temperature, refusal)
    size = int(network.input.shape[1])
    given = [tf.TensorSpec((None, size, size, 3), tf.uint8, name="image")]

    @tf.function(input_signature=given)  # type: ignore[untyped-decorator]
    def bundle(image: Any) -> dict[str, Any]:
        return dict(zip(OUTPUTS, outputs(image), strict=True))

    return bundle, given


@contextmanager
def _copies_freed() -> Iterator[None]:
    """Free what refers to itself soon: tf2onnx copies the whole graph, weights too, in each of its passes.

    Without this, dozens of copies wait for a full collection: 1.2 GB for EfficientNet-Lite0.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()  # what is there already, TensorFlow's above all, is not looked through again each time
    gc.collect()  # whose count decides how soon the next full collection is worth it
    gc.set_threshold(5000, 1, 1)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
        gc.collect()


def _store_halves(graph: Any) -> None:
    """Store tensors as half precision, followed by a cast that ONNX Runtime does once, where none changes."""
    from onnx import TensorProto, helper, numpy_helper

    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < 256:
            continue
        with np.errstate(over="ignore"):  # what is too large for halves stays as it is
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
    refusal: RefusalWeights,
    onnx: bytes,
    card: Card,
    pixels: NDArray[np.uint8],
) -> None:
    """Compare ONNX Runtime with Keras at batch 1 and the whole batch. Raises BundleError beyond `PARITY`."""
    session = _session(onnx)
    function, _ = _compiled(network, temperature, refusal)
    for count in (1, len(pixels)):
        found = function(tf.constant(pixels[:count]))
        expected = [np.asarray(found[name]) for name in OUTPUTS]
        got = Outputs(*session.run(list(OUTPUTS), {"image": pixels[:count]}))
        for (what, allowed), wanted in zip(PARITY.items(), expected, strict=True):
            scale = (
                1.0
                if what in ("probability", "no_lesion", "out_of_distribution")
                else max(1.0, float(np.abs(wanted).max()))
            )
            difference = float(np.abs(getattr(got, what) - wanted).max()) / scale
            if not difference <= allowed:
                raise BundleError(
                    f"{card.name}: {what} differs by {difference:.2g} between Keras and ONNX Runtime at "
                    f"batch {count}; at most {allowed:g} is allowed."
                )


def _run(onnx: bytes, output: str, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """An output of the network for each image, one at a time as in screening."""
    session = _session(onnx)
    each = [session.run([output], {"image": pixels[i : i + 1]})[0] for i in range(len(pixels))]
    return np.concatenate(each)


def _session(onnx: bytes) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
