"""How a network is trained: every option that a run records."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dermsentry.images import Aspect
from dermsentry.training.augmentation import StrongAugmentation
from dermsentry.training.options import Precision, Weights

NetworkName = Literal["cnn", "lite0", "lite1", "lite2"]


@dataclass(frozen=True)
class Phase:
    """Epochs at one image size; `adapting`: whether batch normalisation updates its statistics."""

    epochs: int
    size: int
    adapting: bool = False


@dataclass(frozen=True)
class FineTuning:
    """What the recipe of the bundled model adds to the plain training.

    Parameters
    ----------
    phases
        Image sizes, one after the other.
    weight_decay
        Decoupled, of AdamW (Loshchilov and Hutter, ICLR 2019); biases and batch normalisation are exempt.
    warm_up
        Steps over which the learning rate rises linearly, before it follows half a cosine (Loshchilov and
        Hutter, ICLR 2017) over all phases.
    label_smoothing
        Szegedy et al., CVPR 2016.
    dropout
        Of the embedding.
    mixup, mixed_share
        A `mixed_share` of the batches blends each image with another by a share drawn from
        Beta(`mixup`, `mixup`), and their losses alike (Zhang et al., ICLR 2018).
    ema
        Decay per step of the exponential moving average of the weights, which is what is kept.
    frozen_stages
        How many of EfficientNet's seven stages keep their first weights and statistics, the stem with them;
        0: none, not even the stem.
    augmentation
        How strongly images are changed.
    """

    phases: tuple[Phase, ...]
    weight_decay: float = 0.05
    warm_up: int = 300
    label_smoothing: float = 0.05
    dropout: float = 0.2
    mixup: float = 0.3
    mixed_share: float = 0.5
    ema: float = 0.998
    frozen_stages: int = 0
    augmentation: StrongAugmentation = field(default_factory=StrongAugmentation)


@dataclass(frozen=True)
class Configuration:
    """How a network is trained. Adam; loss: cross-entropy over the candidate classes.

    Parameters
    ----------
    network
        `cnn`, the assignment's three convolutions, or `lite0`, `lite1` or `lite2`, an EfficientNet-Lite.
    epochs, batch_size
        Epochs, and images in a batch.
    learning_rate
        Adam learning rate.
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
    fine_tuning
        The recipe's further options; `epochs` and `size` are then those of its phases.
    """

    network: NetworkName = "cnn"
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    size: int = 180
    aspect: Aspect = "squash"
    augmented: bool = False
    class_weights: bool = False
    weights: Weights = "imagenet"
    precision: Precision = "float32"
    seed: int = 0
    fine_tuning: FineTuning | None = None

    def __post_init__(self) -> None:
        if self.epochs != sum(phase.epochs for phase in self.phases) or self.size != self.phases[-1].size:
            raise ValueError("epochs and size must be those of the phases")

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of fine-tuning, or all epochs as one."""
        if self.fine_tuning:
            return self.fine_tuning.phases
        return (Phase(self.epochs, self.size, adapting=True),)

    def record(self) -> dict[str, Any]:
        """Every option by name, those of fine-tuning only where there is any."""
        options = asdict(self)
        tuning = options.pop("fine_tuning") or {}
        return options | tuning


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
