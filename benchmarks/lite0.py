"""A network of EfficientNet-Lite0's size and shape as ONNX, for benchmarks when no trained bundle is at hand.

A photograph costs what it costs a trained Lite0; the weights are drawn at random, the answers mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dermsentry.diagnoses import CODES
from dermsentry.training.efficientnet import STAGES

FEATURES, MIDDLE = 1280, 112

Layer = tuple[NDArray[np.float32], NDArray[np.float32]]
Weights = Callable[[str, tuple[int, ...]], Layer]


def random_weights(seed: int = 0) -> Weights:
    """Kernel and bias for a layer, scaled so that activations neither die nor explode."""
    rng = np.random.default_rng(seed)

    def draw(_: str, shape: tuple[int, ...]) -> Layer:
        spread = np.sqrt(2 / np.prod(shape[1:]))
        kernel, bias = rng.normal(0, spread, shape), rng.normal(0, 0.1, shape[0])
        return kernel.astype(np.float32), bias.astype(np.float32)

    return draw


def lite0_onnx(size: int = 192, weights: Weights | None = None) -> bytes:
    """The network with the inputs and outputs of a bundle, batch normalisation already folded in."""
    draw = weights or random_weights()
    nodes: list[Any] = []
    tensors: dict[str, Any] = {"low": np.float32(0), "high": np.float32(6), "axes": np.array([2, 3])}

    def conv(
        name: str, source: str, shape: tuple[int, ...], stride: int, side: int, group: int = 1
    ) -> tuple[str, int]:
        tensors[f"{name}.w"], tensors[f"{name}.b"] = draw(name, shape)
        kernel, after = shape[2], -(-side // stride)
        padding = max((after - 1) * stride + kernel - side, 0)
        pads = [padding // 2, padding // 2, padding - padding // 2, padding - padding // 2]
        inputs = [source, f"{name}.w", f"{name}.b"]
        form = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": pads, "group": group}
        nodes.append(helper.make_node("Conv", inputs, [name], **form))
        return name, after

    def relu6(source: str) -> str:
        nodes.append(helper.make_node("Clip", [source, "low", "high"], [f"{source}.relu6"]))
        return f"{source}.relu6"

    tensors |= {"mean": np.float32(127), "spread": np.float32(1 / 128)}
    nodes += [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["channels"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["channels", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "spread"], ["scaled"]),
    ]
    here, side = conv("stem", "scaled", (32, 3, 3, 3), 2, size)
    here, channels, block = relu6(here), 32, 0
    middle = ""
    for kernel, first_stride, expansion, wide, repeats in STAGES:
        for repeat in range(repeats):
            before, name = here, f"block{block}"
            stride = first_stride if repeat == 0 else 1
            inner = channels * expansion
            if expansion > 1:
                here, side = conv(f"{name}.expand", here, (inner, channels, 1, 1), 1, side)
                here = relu6(here)
            here, side = conv(f"{name}.depthwise", here, (inner, 1, kernel, kernel), stride, side, inner)
            here, side = conv(f"{name}.project", relu6(here), (wide, inner, 1, 1), 1, side)
            if stride == 1 and channels == wide:
                nodes.append(helper.make_node("Add", [here, before], [f"{name}.sum"]))
                here = f"{name}.sum"
            channels, block = wide, block + 1
        middle = here if wide == MIDDLE else middle
    here, side = conv("head", here, (FEATURES, channels, 1, 1), 1, side)
    features = relu6(here)
    shares, side = conv("shares", features, (len(CODES), FEATURES, 1, 1), 1, side)
    nodes += [
        helper.make_node("Transpose", [shares], ["class_activation"], perm=[0, 2, 3, 1]),
        helper.make_node("ReduceMean", [shares, "axes"], ["logits"], keepdims=0),
        helper.make_node("Softmax", ["logits"], ["probability"], axis=1),
        helper.make_node("ReduceMean", [features, "axes"], ["embedding"], keepdims=0),
        helper.make_node("ReduceMean", [middle, "axes"], ["middle.mean"], keepdims=1),
        helper.make_node("Sub", [middle, "middle.mean"], ["middle.off"]),
        helper.make_node("Mul", ["middle.off", "middle.off"], ["middle.square"]),
        helper.make_node("ReduceMean", ["middle.square", "axes"], ["middle.variance"], keepdims=1),
        helper.make_node("Sqrt", ["middle.variance"], ["middle.spread"]),
        helper.make_node("Concat", ["middle.mean", "middle.spread"], ["middle.features"], axis=1),
        helper.make_node("Mul", ["middle.features", "known.w"], ["known.each"]),
        helper.make_node("ReduceSum", ["known.each", "all"], ["known"], keepdims=0),
        helper.make_node("Add", ["known", "known.b"], ["margin"]),
        helper.make_node("Sigmoid", ["margin"], ["no_lesion"]),
        helper.make_node("Sigmoid", ["margin"], ["out_of_distribution"]),
    ]
    tensors |= {
        "known.w": np.zeros((1, 2 * MIDDLE, 1, 1), np.float32),
        "known.b": np.float32(-30),
        "all": np.array([1, 2, 3]),
    }
    outputs = {
        "probability": [len(CODES)],
        "embedding": [FEATURES],
        "class_activation": [side, side, len(CODES)],
        "no_lesion": [],
        "out_of_distribution": [],
    }
    graph = helper.make_graph(
        nodes,
        "lite0",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", size, size, 3])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", *shape]) for n, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())
