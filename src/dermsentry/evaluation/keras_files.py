"""Anyone's Keras model by its file, as `evaluation.any_model` takes a network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from dermsentry.errors import InputError, require_extra
from dermsentry.evaluation.any_model import Network, Scaling, require_safe, scaled_colours
from dermsentry.images import Pixels
from dermsentry.progress import stderr_held_back


def open_keras(path: Path, scaling: Scaling, size: int | None = None) -> tuple[Network, int | None]:
    """The network of a `.keras` file, and the side of its input where that is fixed or was said.

    What would run code (a Lambda layer, an object of the file's own) is refused, as Keras's safe mode does.
    Raises InputError, also where Keras or its backend is not installed.
    """
    require_safe(path)
    require_extra("train")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with stderr_held_back():
            import keras
    except (ImportError, ValueError) as error:
        if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
            require_extra("train-cpu")
        told = str(error).splitlines()[0]
        raise InputError(f"Keras cannot be imported with its backend (KERAS_BACKEND): {told}.") from error
    try:
        model: Any = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        told = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise InputError(f"{path} is not a Keras file that can be opened safely: {told}") from error
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[3] != 3:
        raise InputError(f"{path} takes {shape}; expected one input of images, (N, size, size, 3).")
    if shape[1] != shape[2] or (size is not None and shape[1] not in (None, size)):
        raise InputError(f"{path} takes images of {shape}; expected squares{f' of {size}' if size else ''}.")

    def network(pixels: Pixels) -> Any:
        return np.asarray(model.predict_on_batch(scaled_colours(pixels, scaling)))

    return network, shape[1] or size
