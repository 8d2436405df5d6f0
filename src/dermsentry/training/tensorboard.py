"""Logs for TensorBoard, an epoch at a time."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from dermsentry.errors import InputError


def require_tensorboard() -> None:
    """Raise InputError where TensorBoard is not installed."""
    if not importlib.util.find_spec("tensorboard"):
        raise InputError("TensorBoard is not installed; run `pip install tensorboard`, or train without it.")


def log_epoch(folder: Path, row: Mapping[str, float]) -> None:
    """Log an epoch's figures under the names that Keras gives them."""
    for part in ("train", "validation"):
        with tf.summary.create_file_writer(str(folder / part)).as_default(step=int(row["epoch"])):
            for figure, value in row.items():
                if figure.startswith("val_") == (part == "validation") and figure != "epoch":
                    tf.summary.scalar(f"epoch_{figure.removeprefix('val_')}", value)
