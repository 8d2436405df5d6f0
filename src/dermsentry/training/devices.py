"""Several GPUs: each takes a part of every batch, by `tf.distribute.MirroredStrategy`.

Keras documents it for TensorFlow; on it, Keras 3.15's own `DataParallel` silently trains on one device.
A step is that of one device: the loss is the mean over the whole batch, batch normalisation takes its mean
and variance over all parts, and the gradients are summed. So a run resumes on another number of devices.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray


def gpus() -> list[str]:
    """The names of the GPUs that TensorFlow sees."""
    return [device.name for device in tf.config.list_logical_devices("GPU")]


@cache
def strategy() -> Any:
    """The strategy of all GPUs; TensorFlow's own of a single device where there are not two."""
    found = gpus()
    return tf.distribute.MirroredStrategy(found) if len(found) > 1 else tf.distribute.get_strategy()


def count() -> int:
    """How many devices a network is trained on."""
    return int(strategy().num_replicas_in_sync)


def shared() -> bool:
    """Whether what is built here and now is built for several devices."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync) > 1


def share(taken: Any, *arrays: NDArray[Any]) -> tuple[Any, ...]:
    """Arrays of the same length, each device's part of them; all of them for each where there are too few.

    No device is left with an empty part: not every gradient is defined there, while the mean over equal parts
    is that of one.
    """
    devices = taken.num_replicas_in_sync
    if devices == 1:
        return arrays
    whole = len(arrays[0]) < devices

    def of(array: NDArray[Any]) -> Any:
        parts = [array] * devices if whole else np.array_split(array, devices)
        return taken.experimental_distribute_values_from_function(
            lambda context: tf.convert_to_tensor(parts[context.replica_id_in_sync_group])
        )

    return tuple(of(array) for array in arrays)


def over_all(value: Any) -> Any:
    """The sum of a value over the devices, from within a step."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def predict(network: keras.Model, pixels: NDArray[np.uint8]) -> NDArray[Any]:
    """What a network gives for a batch, computed on the devices that it was built on."""
    (parts,) = share(network.distribute_strategy, pixels)
    return np.asarray(network.predict_on_batch(parts)[: len(pixels)])
