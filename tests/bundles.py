"""A model bundle small enough for tests: the darker a photograph, the more melanoma."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dermsentry.diagnoses import CODES
from dermsentry.images import Pixels
from dermsentry.model import Bundle, Card, NoLesion, OutOfDistribution, Threshold, write_bundle
from dermsentry.model.bundle import CARD_FILE
from dermsentry.model.card import card_digest
from dermsentry.stats.intervals import Estimate

SIZE = 64
REFUSING = NoLesion(held_out=300, held_out_refused=0.005, non_lesions=750, non_lesions_refused=0.98)
"""What the card of a network says that refuses images without a lesion."""
FLAGGING = OutOfDistribution(held_out=300, held_out_flagged=0.01, sources={"elsewhere": 0.2})
"""What the card of a network says that flags what is unlike its training images."""


def tiny_onnx(
    size: int = SIZE,
    *,
    batch: int | str = "N",
    classes: int = len(CODES),
    scale: float = 1.0,
    colour: float = 0.0,
    green: float = 0.0,
    schema: int = 3,
) -> bytes:
    """Mean colour over 4×4 places, a linear map to the classes, softmax.

    Its `no_lesion` is 0 where `colour` is 0; otherwise it rises from 0 to 1 with blue, as fast as `colour` is
    high, through 0.5 where the mean of blue is half its range. So does `out_of_distribution` with green and
    `green`. In schema 2 there is only the former, by the latter's name.
    """
    rng = np.random.default_rng(7)
    weight = rng.normal(0, 0.3, (classes, 3, 1, 1)).astype(np.float32)
    bias = np.zeros(classes, np.float32)
    if classes == len(CODES):
        weight[CODES.index("MEL")] = -10.0
        weight[CODES.index("NV")] = 0.5
        bias[CODES.index("MEL")], bias[CODES.index("NV")] = 18.0, 2.0
    tensors = {
        "scale": np.float32(scale / 255),
        "weight": weight,
        "bias": bias,
        "axes": np.array([2, 3], np.int64),
        "towards": np.array([[0, 0], [0, green], [colour, 0]], np.float32),
        "limit": np.array([-own / 2 if own else -30 for own in (colour, green)], np.float32),
        "first": np.int64(0),
        "second": np.int64(1),
    }
    step = size // 4
    scores = ("no_lesion", "out_of_distribution") if schema == 3 else ("out_of_distribution", "unused")
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["channels"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "AveragePool", ["channels"], ["places"], kernel_shape=[step, step], strides=[step, step]
        ),
        helper.make_node("Conv", ["places", "weight", "bias"], ["shares"]),
        helper.make_node("Transpose", ["shares"], ["class_activation"], perm=[0, 2, 3, 1]),
        helper.make_node("ReduceMean", ["shares", "axes"], ["logits"], keepdims=0),
        helper.make_node("Softmax", ["logits"], ["probability"], axis=1),
        helper.make_node("ReduceMean", ["places", "axes"], ["embedding"], keepdims=0),
        helper.make_node("MatMul", ["embedding", "towards"], ["together"]),
        helper.make_node("Add", ["together", "limit"], ["margins"]),
        helper.make_node("Sigmoid", ["margins"], ["both"]),
        helper.make_node("Gather", ["both", "first"], [scores[0]], axis=1),
        helper.make_node("Gather", ["both", "second"], [scores[1]], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, size, size, 3])],
        [
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, [batch, classes]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, 3]),
            helper.make_tensor_value_info("class_activation", TensorProto.FLOAT, [batch, 4, 4, classes]),
            *(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch])
                for name in scores
                if name != "unused"
            ),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def tiny_card(**overrides: Any) -> Card:
    reached = Estimate(0.94, 0.85, 0.98)
    fields: dict[str, Any] = {
        "name": "tiny",
        "size": SIZE,
        "aspect": "squash",
        "temperature": 1.0,
        "thresholds": {
            "alert": Threshold(0.5, 0.8, reached, "calibration"),
            "refer": Threshold(0.2, 0.95, None, "calibration"),
        },
        "no_lesion": None,
        "out_of_distribution": None,
        "evaluation": {},
        "training": {
            "fingerprint": "0" * 64,
            "licences": ["CC0"],
            "synthetic": True,
            "configuration": {"network": "tiny"},
            "versions": {"dermsentry": "0.1.0"},
        },
    }
    return Card(**(fields | overrides))


def tiny_bundle(folder: Path, **overrides: Any) -> Bundle:
    """Write a bundle into `folder`; keywords replace fields of its card.

    With `no_lesion` in the card, the network refuses what is blue; with `out_of_distribution`, it flags what
    is green.
    """
    card = tiny_card(**overrides)
    blue, green = (0.0 if said is None else 40.0 for said in (card.no_lesion, card.out_of_distribution))
    return write_bundle(folder, tiny_onnx(card.size, colour=blue, green=green), card)


def lesion(darkness: int = 100, seed: int = 0, side: int = 160) -> Pixels:
    """A dark disc with fine grain on skin: passes the quality gate."""
    rng = np.random.default_rng(seed)
    places = np.arange(side) - side / 2
    inside = (places[:, None] ** 2 + places[None, :] ** 2) < (side / 3) ** 2
    skin = np.array([210, 160, 140])
    picture = np.where(inside[:, :, None], np.maximum(skin - darkness, 25), skin)
    grain = rng.normal(0, 14, (side // 4, side // 4, 1)).repeat(4, 0).repeat(4, 1)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the card as a forger would: with a digest that holds."""
    record = json.loads((folder / CARD_FILE).read_text())
    change(record)
    text = json.dumps(record)
    record["digest"] = card_digest(text)
    (folder / CARD_FILE).write_text(json.dumps(record))
