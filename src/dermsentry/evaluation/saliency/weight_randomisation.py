"""The control of a saliency map: the same network with weights that mean nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from dermsentry.model import Bundle, read_network


def randomised(network: str | Path | bytes, seed: int = 0) -> bytes:
    """A network, as ONNX bytes, with the values of each of its weight tensors shuffled.

    All layers at once, the last step of the cascade of Adebayo et al. (NeurIPS 2018, section 3.1); shuffled
    rather than drawn again, so that every layer keeps the size of its weights.

    Parameters
    ----------
    network
        A bundle's folder, or ONNX bytes.
    seed
        Random seed of the shuffling.

    Raises
    ------
    ImportError
        The package `onnx` is missing, which the extra `train` brings.
    BundleError
        The bundle was refused.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(network if isinstance(network, bytes) else read_network(network)[1])
    draw = np.random.default_rng(seed)
    tensors = list(model.graph.initializer)
    for node in model.graph.node:
        tensors += [attribute.t for attribute in node.attribute if node.op_type == "Constant"]
    for tensor in tensors:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" and values.size > 1:
            shuffled = draw.permutation(values.ravel()).reshape(values.shape)
            tensor.CopyFrom(numpy_helper.from_array(shuffled, tensor.name))
    return bytes(model.SerializeToString())


def control_of(bundle: Bundle, seed: int = 0) -> Bundle | None:
    """A bundle with its weights shuffled, for the control's class activation; None where `onnx` is missing.

    Its probabilities mean nothing, and it is never written. Raises BundleError if the bundle's files have
    changed.
    """
    import onnxruntime

    try:
        network = randomised(bundle.folder, seed)
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    return replace(bundle, session=session)
