"""A training computes in what the machine is fast in, and never in what it cannot."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import tensorflow as tf

from dermsentry.training.configuration import best_precision


@pytest.mark.parametrize(
    ("details", "precision"),
    [
        ([{"compute_capability": (9, 0)}], "mixed_bfloat16"),
        ([{"compute_capability": (8, 0)}, {"compute_capability": (8, 6)}], "mixed_bfloat16"),
        ([{"compute_capability": (7, 5)}], "float32"),
        ([{"compute_capability": (8, 0)}, {"compute_capability": (7, 0)}], "float32"),
        ([{}], "float32"),
    ],
)
def test_a_gpu_trains_in_bfloat16_if_it_multiplies_in_it(
    monkeypatch: pytest.MonkeyPatch, details: list[dict[str, Any]], precision: str
) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(range(len(details))))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details[gpu])
    assert best_precision() == precision


def test_what_is_calibrated_is_not_rounded_to_tensorfloat32() -> None:
    importlib.import_module("dermsentry.training.export")
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
