"""The recipe's PyTorch network computes what Keras's does, with the same weights."""

from __future__ import annotations

import numpy as np
import onnx as onnx_format
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from dermsentry.training.efficientnet import LITE
from dermsentry.training.export import rounded, to_onnx
from dermsentry.training.networks import REFUSING_NOTHING, efficientnet_lite
from dermsentry.training.quantise import IN_FLOAT, quantise
from examples import pictures

torch = pytest.importorskip("torch", reason="only the bundled model's recipe needs PyTorch")

from recipes.dermoscopy.network import Lite, rounded_to_integers


def drawn_weights(name: str, seed: int = 0) -> list[NDArray[np.float32]]:
    """Weights that keep activations within their range, normalisation with statistics of its own."""
    rng = np.random.default_rng(seed)
    network = efficientnet_lite(name, 32)
    weights = []
    for variable in network.weights:
        kind, shape = variable.name, tuple(variable.shape)
        if kind == "moving_variance":
            value = rng.uniform(0.5, 2, shape)
        elif kind == "gamma":
            value = rng.uniform(0.7, 1.3, shape)
        elif kind == "kernel" and len(shape) != 4:
            value = rng.normal(0, 0.1, shape)
        elif len(shape) == 4:
            fan = shape[0] * shape[1] * (1 if shape[-1] == 1 and shape[2] > 1 else shape[2])
            value = rng.normal(0, (3 / fan) ** 0.5, shape)
        else:
            value = rng.normal(0, 0.2, shape)
        weights.append(value.astype(np.float32))
    return weights


@pytest.mark.parametrize(("name", "size"), [("lite0", 64), ("lite2", 45)])
def test_it_gives_kerass_logits(name: str, size: int) -> None:
    weights = drawn_weights(name)
    pixels = pictures(("MEL", "NV", "BCC"), size)
    keras_network = efficientnet_lite(name, size)
    keras_network.set_weights(weights)
    expected = keras_network.predict(pixels, verbose=0)
    network = Lite(name)
    network.set_weights(weights)
    with torch.no_grad():
        logits = network(torch.as_tensor(pixels).permute(0, 3, 1, 2).float()).numpy()
    assert np.ptp(expected, axis=0).max() > 1
    np.testing.assert_allclose(logits, expected, atol=5e-3)


@pytest.mark.parametrize("name", LITE)
def test_weights_come_back_as_they_were_set(name: str) -> None:
    weights = drawn_weights(name, seed=2)
    network = Lite(name)
    network.set_weights(weights)
    for own, given in zip(network.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(own, given)


@pytest.mark.parametrize(("stages", "trained"), [(0, None), (1, 1), (3, 3), (7, 7)])
def test_freezing_stops_at_a_stage(stages: int, trained: int | None) -> None:
    network = Lite("lite1")
    network.freeze(stages)
    free = {name.partition(".")[0] for name, p in network.named_parameters() if p.requires_grad}
    of_stages = {
        int(name.split(".")[1])
        for name, p in network.named_parameters()
        if p.requires_grad and name.startswith("stages.")
    }
    assert of_stages == set(range(trained or 0, 7))
    assert ("stem" in free) == (trained is None)
    assert {"head", "logits"} <= free


def test_dropout_drops_parts_of_the_embedding_and_nothing_at_0() -> None:
    network = Lite("lite0")
    network.set_weights(drawn_weights("lite0"))
    pixels = torch.full((2, 3, 32, 32), 90.0)
    with torch.no_grad():
        assert torch.equal(network(pixels), network(pixels))
        assert not torch.equal(network(pixels, 0.5), network(pixels, 0.5))


def test_rounded_kernels_are_those_that_a_quantised_bundle_stores() -> None:
    """Of the convolutions that are quantised; folding scales a whole filter, which changes no integer."""
    network = efficientnet_lite("lite0", 32)
    network.set_weights(drawn_weights("lite0"))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    graph = onnx_format.load_from_string(
        quantise(to_onnx(rounded(network), 1.0, REFUSING_NOTHING), pixels)
    ).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node}
    plain = rounded(network)
    kernels = [
        (layer.get_weights()[0], "depthwise" in layer.name)
        for layer in plain.layers
        if layer.name.endswith("_conv")
    ]
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == len(kernels)
    for i, (node, (kernel, depthwise)) in enumerate(zip(convolutions, kernels, strict=True)):
        source = made.get(node.input[1])
        if i < IN_FLOAT:
            assert source is None or source.op_type != "DequantizeLinear"
            continue
        values, scales = (tensors[name] for name in source.input[:2])
        stored = values.astype(np.float32) * scales[:, None, None, None]
        own = torch.as_tensor(kernel.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1)).copy())
        np.testing.assert_allclose(rounded_to_integers(own).numpy(), stored, rtol=1e-5, atol=1e-7)
