"""The float32 network that a quantised one stands for: what a user without a quantised one would run."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper


def float32_onnx(quantised: bytes) -> bytes:
    """The same network without its 8-bit integers; one that has none comes back as it is.

    Kernels are what their integers mean. Quantisation takes in the activation functions that clip (ReLU,
    ReLU6), which are put back where the integers begin at 0.
    """
    model = onnx.load_from_string(quantised)
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}

    def value(name: str) -> np.ndarray:
        return numpy_helper.to_array(stored[name])

    nodes, same, tensors = [], {}, {}
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            scale, zero = (value(name).astype(np.float32) for name in node.input[1:3])
            if zero:  # goes below 0: no activation function was here
                same[node.output[0]] = node.input[0]
                continue
            ends = {f"{node.output[0]} low": np.float32(0), f"{node.output[0]} high": 255 * scale}
            tensors |= ends
            nodes.append(helper.make_node("Clip", [node.input[0], *ends], [node.output[0]]))
        elif node.op_type == "DequantizeLinear" and node.input[0] in stored:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            integers, scale, zero = (value(name).astype(np.float32) for name in node.input)
            shape = [-1 if i == axis else 1 for i in range(integers.ndim)] if scale.ndim else []
            tensors[node.output[0]] = (integers - zero.reshape(shape)) * scale.reshape(shape)
        elif node.op_type == "DequantizeLinear":
            same[node.output[0]] = node.input[0]
        else:
            nodes.append(node)
    for node in nodes:
        node.input[:] = [origin(name, same) for name in node.input]
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    kept += [
        numpy_helper.from_array(np.asarray(t, np.float32), name)
        for name, t in tensors.items()
        if name in used
    ]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    return bytes(model.SerializeToString())


def origin(name: str, same: dict[str, str]) -> str:
    while name in same:
        name = same[name]
    return name
