"""A trained network, and what it gives for images."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermsentry.training.batches import Examples
from dermsentry.training.devices import predict


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained float32 network with the weights that are kept, and how it came to them.

    `history` has a row per epoch, or per penalty of a linear probe; `best_epoch` counts from 1; `seconds` is
    the training time over all sittings. `embeddings` (M, d) of the photographs, where only the head was
    trained. `devices`: how many shared each batch at the last sitting.
    """

    network: keras.Model
    history: pd.DataFrame
    best_epoch: int
    seconds: float
    images_per_second: float
    embeddings: NDArray[np.float32] | None = None
    devices: int = 1

    def logits(self, examples: Examples) -> NDArray[np.float32]:
        """Logits (N, 9) of images, in their order."""
        if self.embeddings is None:
            return predict_logits(self.network, examples)
        return head_logits(self.network, self.embeddings[examples.rows])


def predict_logits(network: keras.Model, examples: Examples, batch_size: int = 64) -> NDArray[np.float32]:
    """Logits (N, 9) of images, in their order."""
    parts = [
        predict(network, examples.gather(slice(start, start + batch_size)))
        for start in range(0, len(examples), batch_size)
    ]
    return np.concatenate(parts).astype(np.float32)


def head_logits(network: keras.Model, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (N, 9) from embeddings (N, d): the network's head alone."""
    kernel, bias = network.get_layer("logits").get_weights()
    return np.asarray(embeddings @ kernel + bias, dtype=np.float32)
