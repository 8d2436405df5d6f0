"""How a network is trained: every option that a run records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dermsentry.images import Aspect
from dermsentry.training.options import Precision, Schedule, Weights

NetworkName = Literal["cnn", "lite0", "lite1", "lite2"]


@dataclass(frozen=True)
class Configuration:
    """How a network is trained. Adam; loss: cross-entropy over the candidate classes.

    Parameters
    ----------
    network
        `cnn`, the assignment's three convolutions, or `lite0`, `lite1` or `lite2`, an EfficientNet-Lite.
    epochs, batch_size
        Epochs, and images in a batch.
    learning_rate, schedule
        Adam learning rate, and how it changes: `constant`, `cosine` or `plateau`.
    patience
        Epochs without a higher validation accuracy after which training stops; None: it does not.
    size, aspect
        The network's side in pixels, and how an image is made square.
    augmented
        Whether images are changed at random, differently in each epoch.
    class_weights
        Whether each class counts the same in the loss.
    weights
        What an EfficientNet-Lite begins with: ImageNet's, or those of the bundled dermoscopy model.
    precision
        What is computed in while training; the result is always float32.
    seed
        Random seed.
    """

    network: NetworkName = "cnn"
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    schedule: Schedule = "constant"
    patience: int | None = None
    size: int = 180
    aspect: Aspect = "squash"
    augmented: bool = False
    class_weights: bool = False
    weights: Weights = "imagenet"
    precision: Precision = "float32"
    seed: int = 0


def best_precision() -> Precision:
    """bfloat16 where this machine multiplies matrices in it; float32 elsewhere.

    That is AMX, or NVIDIA GPUs of compute capability 8.0 (Ampere) and later; older ones convolve in float32.
    AVX-512's bfloat16 alone is no gain: a step of `cnn` was a fifth slower with it (docs/why.md).
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        able = all(found.get("compute_capability", (0, 0)) >= (8, 0) for found in details)
        return "mixed_bfloat16" if able else "float32"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "float32"
    return "mixed_bfloat16" if "amx_bf16" in flags.split() else "float32"
