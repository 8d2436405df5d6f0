"""EfficientNet-Lite in PyTorch: it computes what `dermsentry.training.networks.efficientnet_lite` does.

Batch normalisation keeps its first statistics, so it is a factor and an offset of each filter and is
multiplied into the kernels: two fifths of the time that normalising every activation takes. Weights go in and
out in Keras's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dermsentry.diagnoses import CODES
from dermsentry.training.efficientnet import LITE, STAGES, multiple_of_8

EPSILON = 1e-3
HEAD = 1280


class Convolution(nn.Module):
    """A convolution, of each channel alone where `depthwise`, with fixed batch normalisation and ReLU6."""

    def __init__(
        self,
        entering: int,
        filters: int,
        side: int,
        stride: int = 1,
        *,
        depthwise: bool = False,
        activation: bool = True,
    ) -> None:
        super().__init__()
        self.side, self.stride, self.depthwise, self.activation = side, stride, depthwise, activation
        self.kernel = nn.Parameter(torch.zeros(filters, 1 if depthwise else entering, side, side))
        self.gamma, self.beta = nn.Parameter(torch.ones(filters)), nn.Parameter(torch.zeros(filters))
        self.register_buffer("mean", torch.zeros(filters))
        self.register_buffer("variance", torch.ones(filters))
        self.mean: Tensor
        self.variance: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Of (N, `entering`, h, w), (N, `filters`, h / stride, w / stride), rounded up."""
        scale = self.gamma * torch.rsqrt(self.variance + EPSILON)
        kernel, bias = self.kernel * scale[:, None, None, None], self.beta - self.mean * scale
        padding = self.side // 2
        if self.stride == 2:  # TensorFlow pads the far side first
            short = self.side - 2 if x.shape[-1] % 2 == 0 else self.side - 1
            x, padding = F.pad(x, (short // 2, short - short // 2) * 2), 0
        groups = len(kernel) if self.depthwise else 1
        x = F.conv2d(x, kernel, bias, self.stride, padding, 1, groups)
        return F.relu6(x) if self.activation else x

    def load(self, weights: Sequence[NDArray[Any]]) -> None:
        """Set kernel, gamma, beta, mean and variance, as Keras has them."""
        kernel, *normalisation = weights
        order = (2, 3, 0, 1) if self.depthwise else (3, 2, 0, 1)
        with torch.no_grad():
            self.kernel.copy_(_tensor(kernel.transpose(order)))
            for own, value in zip(self._normalisation(), normalisation, strict=True):
                own.copy_(_tensor(value))

    def weights(self) -> list[NDArray[np.float32]]:
        """What `load` takes."""
        order = (2, 3, 0, 1) if self.depthwise else (2, 3, 1, 0)
        return [_array(self.kernel).transpose(order), *map(_array, self._normalisation())]

    def _normalisation(self) -> tuple[Tensor, ...]:
        return self.gamma, self.beta, self.mean, self.variance


class Block(nn.Module):
    """An inverted bottleneck."""

    def __init__(self, entering: int, filters: int, side: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = entering * expansion
        self.expand = Convolution(entering, wide, 1) if expansion > 1 else nn.Identity()
        self.depthwise = Convolution(wide, wide, side, stride, depthwise=True)
        self.project = Convolution(wide, filters, 1, activation=False)
        self.same = stride == 1 and entering == filters

    def forward(self, x: Tensor) -> Tensor:
        """Of (N, `entering`, h, w), (N, `filters`, h / stride, w / stride), rounded up."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.same else out


class Lite(nn.Module):
    """An EfficientNet-Lite of `LITE` with nine logits."""

    def __init__(self, name: str) -> None:
        super().__init__()
        width, depth = LITE[name]
        self.stem = Convolution(3, 32, 3, 2)
        stages, filters = [], 32
        for i, (side, stride, expansion, wanted, repeats) in enumerate(STAGES):
            count = repeats if i in (0, len(STAGES) - 1) else ceil(repeats * depth)
            blocks = []
            for repeat in range(count):
                scaled = multiple_of_8(wanted * width)
                blocks.append(Block(filters, scaled, side, 1 if repeat else stride, expansion))
                filters = scaled
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = Convolution(filters, HEAD, 1)
        self.logits = nn.Linear(HEAD, len(CODES))

    def forward(self, x: Tensor, dropout: float = 0.0) -> Tensor:
        """Logits (N, 9) of (N, 3, size, size), values from 0 to 255; `dropout` of the embedding."""
        embedding = self.head(self.stages(self.stem((x - 127) / 128))).mean((2, 3))
        logits: Tensor = self.logits(F.dropout(embedding, dropout, training=dropout > 0))
        return logits

    def freeze(self, stages: int) -> None:
        """Train nothing in the stem and the first `stages` stages; of 0, everything."""
        for part in (self.stem, *self.stages[:stages]) if stages else ():
            part.requires_grad_(False)

    def set_weights(self, weights: Sequence[NDArray[Any]]) -> None:
        """Set all weights, in Keras's order."""
        *convolved, kernel, bias = weights
        for i, layer in enumerate(self._convolutions()):
            layer.load(convolved[5 * i : 5 * i + 5])
        with torch.no_grad():
            self.logits.weight.copy_(_tensor(kernel.T))
            self.logits.bias.copy_(_tensor(bias))

    def get_weights(self) -> list[NDArray[np.float32]]:
        """All weights, in Keras's order."""
        convolved = [value for layer in self._convolutions() for value in layer.weights()]
        return [*convolved, _array(self.logits.weight).T, _array(self.logits.bias)]

    def _convolutions(self) -> list[Convolution]:
        return [module for module in self.modules() if isinstance(module, Convolution)]


def rounded_to_integers(kernel: Tensor) -> Tensor:
    """A kernel as `dermsentry.training.quantise` stores it: 8 bits a weight where depthwise, else 7."""
    levels = 127 if kernel.shape[1] == 1 else 64  # ONNX Runtime's 7 bits end at 64
    step = (kernel.abs().amax((1, 2, 3), keepdim=True) / levels).clamp_min(1e-9)
    return torch.round(kernel / step) * step


def _tensor(values: NDArray[Any]) -> Tensor:
    return torch.as_tensor(np.array(values, dtype=np.float32))


def _array(values: Tensor) -> NDArray[np.float32]:
    return np.asarray(values.detach().float().cpu().numpy())
