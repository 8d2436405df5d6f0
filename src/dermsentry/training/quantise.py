"""An exported network with its convolutions in 8-bit integers: half the time, and half the bytes.

Static quantisation by ONNX Runtime (Jacob et al., CVPR 2018): convolutions and the additions between them,
with a scale for each of a kernel's filters and for each activation. The first `IN_FLOAT` of
them and what follows the last, the head, the scores and the class activation, are computed in float32.

Processors without VNNI add two products of an activation (8 bits) and a weight in 16 bits, which weights of
8 bits overflow. So weights that are multiplied this way have 7, and the result is the same on both kinds,
with whatever options the file is opened. Depthwise kernels are multiplied otherwise and keep 8. Figures:
docs/why.md.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermsentry.images import Pixels

CALIBRATED_ON = 256
"""Images that the ranges of activations are taken from."""
IN_FLOAT = 2
"""The first convolutions of a deep network, which stay in float32: what they round is lost to all others
(docs/why.md)."""
DEEP = 10
"""Convolutions; a network of fewer has all of them in 8 bits."""
_OPERATORS = ["Conv", "Add", "Clip", "Relu"]


def quantise(onnx: bytes, pixels: Pixels) -> bytes:
    """The network of `export.to_onnx` with quantised convolutions.

    Parameters
    ----------
    onnx
        The network in float32.
    pixels
        Training images, (M, size, size, 3) uint8; `CALIBRATED_ON` of them, evenly spaced, are used.
    """
    import onnx as onnx_format
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    model = onnx_format.load_from_string(onnx)
    kernels = _widen_kernels(model.graph)
    constants = {tensor.name for tensor in model.graph.initializer}
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    # An addition of a constant is of the pixels' scaling, or of the head.
    nodes = [
        node.name
        for node in model.graph.node
        if node.op_type in _OPERATORS and (node.op_type != "Add" or constants.isdisjoint(node.input))
    ]
    if len(convolutions) > DEEP:
        nodes = nodes[nodes.index(convolutions[IN_FLOAT]) :]
    own = {"quant_type": QuantType.QInt8, "axis": 0, "reduce_range": False}
    depthwise = {name: [own] for name, kernel in kernels.items() if kernel.shape[1] == 1}
    used = pixels[np.linspace(0, len(pixels) - 1, min(len(pixels), CALIBRATED_ON)).astype(int)]
    with tempfile.TemporaryDirectory() as folder, _only_errors():
        path = Path(folder) / "model.onnx"
        quantize_static(
            model,
            path,
            _Reader(used),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            nodes_to_quantize=nodes,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"TensorQuantOverrides": depthwise},
        )
        return path.read_bytes()


class _Reader:
    """What ONNX Runtime's calibration takes its inputs from, one image at a time."""

    def __init__(self, pixels: Pixels) -> None:
        self.left = iter(pixels)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        image = next(self.left, None)
        return None if image is None else {"image": image[None]}


def _widen_kernels(graph: Any) -> dict[str, NDArray[np.float32]]:
    """Store kernels as float32 where a cast from half precision gives them; every kernel by its name."""
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in graph.initializer}
    casts = {
        node.output[0]: node for node in graph.node if node.op_type == "Cast" and node.input[0] in stored
    }
    kernels = {}
    for name in [node.input[1] for node in graph.node if node.op_type == "Conv"]:
        if cast := casts.get(name):
            halves = stored[cast.input[0]]
            values = numpy_helper.to_array(halves).astype(np.float32)
            graph.initializer.remove(halves)
            graph.initializer.append(numpy_helper.from_array(values, name))
            graph.node.remove(cast)
        kernels[name] = numpy_helper.to_array(stored[name]) if name in stored else values
    return kernels


@contextmanager
def _only_errors() -> Iterator[None]:
    """Without ONNX Runtime's advice to optimise the network first: it does that when it opens it."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
