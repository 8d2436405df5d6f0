"""The networks, and what a bundle takes from them: probability, embedding and class activation in one pass.

Every network takes `image`, (N, size, size, 3) uint8, and rescales it inside. Its last layers are named:
`features` (N, h, w, c), then a linear head (`logits` on their mean) or, in the assignment's network, a dense
layer `hidden` before it. What lies in the middle separates lesions from anything else; see `middle_features`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from dermsentry.diagnoses import CODES
from dermsentry.images import Pixels
from dermsentry.training.devices import shared
from dermsentry.training.efficientnet import LITE, STAGES, multiple_of_8


def cnn(size: int = 180) -> keras.Model:
    """The assignment's network: convolutions of 16, 32 and 64 filters, a dense layer of 128, nine logits."""
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 255, name="rescaling")(image)
    for filters in (16, 32, 64):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(name="features" if filters == 64 else None)(x)
    x = layers.Dense(128, activation="relu", name="hidden")(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(len(CODES), dtype="float32", name="logits")(x), name="cnn")


def efficientnet_lite(name: str, size: int = 180, *, normalised: bool = True) -> keras.Model:
    """An EfficientNet-Lite (no squeeze-and-excitation, ReLU6) with a new linear head.

    Scaled by `LITE` in compound (Tan and Le, ICML 2019): a stage's filters by the width, to multiples of 8;
    its repeats by the depth, rounded up. Lite leaves the stem, the head and the repeats of the first and the
    last stage as they are. 3.4, 4.1 and 4.8 million weights.

    Pixels are scaled to (v - 127) / 128, as its ImageNet weights expect. Without batch normalisation
    (`normalised=False`) its convolutions have a bias instead, as `folded` gives them.
    """
    width, depth = LITE[name]
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="rescaling")(image)
    x = _convolution(x, 32, 3, 2, "stem", normalised)
    for stage, (kernel, stride, expansion, filters, repeats) in enumerate(STAGES):
        scaled = multiple_of_8(filters * width)
        if stage not in (0, len(STAGES) - 1):
            repeats = ceil(repeats * depth)
        for repeat in range(repeats):
            block, stride = f"block{stage}{'abcde'[repeat]}", stride if repeat == 0 else 1
            x = _inverted_bottleneck(x, kernel, stride, expansion, scaled, block, normalised)
    x = _convolution(x, 1280, 1, 1, "head", normalised)
    x = layers.Activation("linear", name="features")(x)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    return keras.Model(image, layers.Dense(len(CODES), dtype="float32", name="logits")(x), name=name)


NETWORKS: dict[str, Callable[[int], keras.Model]] = {
    "cnn": cnn,
    **{name: partial(efficientnet_lite, name) for name in LITE},
}
MIDDLE_STAGES = "345"
"""EfficientNet's stages whose last blocks tell lesions from anything else, chosen by a left-out source."""


@dataclass(frozen=True, eq=False)
class RefusalWeights:
    """Turns middle features f (t,) into the two scores of refusal, above 0.5 each says so.

    `no_lesion` is sigmoid(f · kernel + bias). `out_of_distribution` is sigmoid(scale · d + offset) of the
    distance d = |(f - mean) projection|. Shapes: `kernel` and `mean` (t,), `projection` (t, k), float32; of
    length 1, `kernel` and `mean` count for every feature, as the one row of `projection` does.
    """

    kernel: NDArray[np.float32]
    bias: float
    mean: NDArray[np.float32]
    projection: NDArray[np.float32]
    scale: float
    offset: float


REFUSING_NOTHING = RefusalWeights(
    np.zeros(1, np.float32), -30.0, np.zeros(1, np.float32), np.zeros((1, 1), np.float32), 0.0, -30.0
)
"""Scores of 0, whatever is seen."""


def _convolution(
    x: Any, filters: int, kernel: int, stride: int, name: str, normalised: bool, activation: bool = True
) -> Any:
    """A convolution over all channels, or over each alone where `filters` is 0."""
    settings = {"strides": stride, "padding": "same", "use_bias": not normalised, "name": f"{name}_conv"}
    if filters:
        x = layers.Conv2D(filters, kernel, **settings)(x)
    else:
        x = layers.DepthwiseConv2D(kernel, **settings)(x)
    if normalised:
        x = layers.BatchNormalization(epsilon=1e-3, synchronized=shared(), name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if activation else x


def _inverted_bottleneck(
    x: Any, kernel: int, stride: int, expansion: int, filters: int, name: str, normalised: bool
) -> Any:
    entering = x
    if expansion > 1:
        x = _convolution(x, x.shape[-1] * expansion, 1, 1, f"{name}_expand", normalised)
    x = _convolution(x, 0, kernel, stride, f"{name}_depthwise", normalised)
    x = _convolution(x, filters, 1, 1, f"{name}_project", normalised, activation=False)
    same = stride == 1 and entering.shape[-1] == filters
    return layers.Add(name=f"{name}_add")([entering, x]) if same else x


def folded(network: keras.Model, size: int | None = None) -> keras.Model:
    """An `efficientnet_lite` that computes the same without batch normalisation: it is in the convolutions.

    At another input `size`, if one is given.

    With mean m, variance v, scale g and offset b, each kernel is multiplied by g / sqrt(v + epsilon), and the
    bias is b - m·g / sqrt(v + epsilon).
    """
    plain = efficientnet_lite(network.name, size or int(network.input.shape[1]), normalised=False)
    for layer in plain.layers:
        if not layer.weights:
            continue
        own = network.get_layer(layer.name).get_weights()
        if layer.name.endswith("_conv"):
            normalisation = network.get_layer(layer.name.removesuffix("_conv") + "_bn")
            gamma, beta, mean, variance = normalisation.get_weights()
            scale = gamma / np.sqrt(variance + normalisation.epsilon)
            depthwise = isinstance(layer, layers.DepthwiseConv2D)
            own = [own[0] * (scale[:, None] if depthwise else scale), beta - mean * scale]
        layer.set_weights(own)
    return plain


def middle_features(network: keras.Model, pixels: Pixels, batch_size: int = 8) -> NDArray[np.float32]:
    """Mean and standard deviation over places of each channel of the network's middle layers, (N, t).

    They are the last blocks of `MIDDLE_STAGES`, or the layer `features` where a network has no such stages.
    """
    trunk = keras.Model(network.input, _middle(network))
    starts = range(0, len(pixels), batch_size)
    return np.concatenate([trunk.predict_on_batch(pixels[i : i + batch_size]) for i in starts])


def _middle(network: keras.Model) -> Any:
    blocks = [layer for layer in network.layers if re.fullmatch(r"block\d[a-z]_add", layer.name)]
    last = {layer.name[len("block")]: layer.output for layer in blocks}
    chosen = [last[stage] for stage in MIDDLE_STAGES if stage in last]
    parts = [
        part(layer, axis=(1, 2))
        for layer in chosen or [network.get_layer("features").output]
        for part in (ops.mean, ops.std)
    ]
    return ops.concatenate(parts, axis=1)


def describe(
    network: keras.Model, temperature: float, refusal: RefusalWeights
) -> Callable[[Any], tuple[Any, Any, Any, Any, Any]]:
    """A function of pixels that gives (probability, embedding, class_activation, no_lesion,
    out_of_distribution) of a float32 network.

    `class_activation` (N, h, w, 9) is each place's share of the logits: summed over places, plus the bias, it
    is the logits. For a mean-pooled linear head that is the class activation map (Zhou et al., CVPR 2016);
    behind a ReLU layer the same holds with the units that are off left out, exactly, since the network is
    linear there; the bias of those that are on is shared evenly among the places.
    """
    names = {layer.name for layer in network.layers}
    features = network.get_layer("features").output
    trunk = keras.Model(network.input, [features, _middle(network)])
    kernel, bias = network.get_layer("logits").weights
    _, height, width, channels = features.shape
    places = height * width

    def outputs(image: Any) -> tuple[Any, Any, Any, Any, Any]:
        last, middle = trunk(image, training=False)
        no_lesion = ops.sum(middle * refusal.kernel, axis=1) + refusal.bias
        centred = middle - refusal.mean
        projection = np.broadcast_to(refusal.projection, (middle.shape[1], refusal.projection.shape[1]))
        distance = ops.sqrt(ops.sum(ops.square(ops.matmul(centred, projection)), axis=1))
        unlike = refusal.scale * distance + refusal.offset
        flat = ops.reshape(last, (-1, places, channels))
        if "hidden" in names:
            hidden_kernel, hidden_bias = network.get_layer("hidden").weights
            units = hidden_kernel.shape[-1]
            by_place = ops.matmul(
                ops.transpose(flat, (1, 0, 2)), ops.reshape(hidden_kernel, (places, channels, units))
            )
            by_place = by_place + hidden_bias / places
            before = ops.sum(by_place, axis=0)
            embedding = ops.relu(before)
            on = ops.cast(before > 0, "float32")
            activation = ops.matmul(ops.transpose(by_place, (1, 0, 2)) * ops.expand_dims(on, 1), kernel)
        else:
            embedding = ops.mean(flat, axis=1)
            activation = ops.matmul(flat, kernel) / places
        logits = ops.matmul(embedding, kernel) + bias
        shaped = ops.reshape(activation, (-1, height, width, len(CODES)))
        scores = ops.sigmoid(no_lesion), ops.sigmoid(unlike)
        return ops.softmax(logits / temperature), embedding, shaped, *scores

    return outputs


def candidate_crossentropy(y_true: Any, y_pred: Any) -> Any:
    """-log of the probability of the candidate classes together, per photograph, from logits (N, 9).

    With one candidate this is categorical cross-entropy.
    """
    y_pred = ops.cast(y_pred, "float32")
    candidates = ops.where(y_true > 0, y_pred, -1e9)
    return ops.logsumexp(y_pred, axis=-1) - ops.logsumexp(candidates, axis=-1)


def accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where the most probable class is a candidate, per photograph."""
    return ops.cast(
        ops.sum(y_true * ops.one_hot(ops.argmax(y_pred, axis=-1), len(CODES)), axis=-1) > 0, "float32"
    )
