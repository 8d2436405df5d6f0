"""A quantised network says nearly what it said, in half the bytes, and the same on every processor."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx as onnx_format
import onnxruntime
import pytest
from onnx import numpy_helper

from dermsentry.diagnoses import CODES
from dermsentry.errors import BundleError
from dermsentry.images import fit, read_photograph
from dermsentry.model import read_network
from dermsentry.phantoms import draw_phantom
from dermsentry.stats.resampling import Resampler
from dermsentry.training.configuration import Configuration
from dermsentry.training.export import check_cost, to_onnx
from dermsentry.training.networks import REFUSING_NOTHING, efficientnet_lite
from dermsentry.training.pretrained import backbone, build, load_onnx
from dermsentry.training.quantise import IN_FLOAT, quantise

CARD = read_network()[0]


def drawn(first: int, count: int) -> np.ndarray:
    """Phantoms at the bundled model's size, (count, size, size, 3) uint8."""
    pictures = [draw_phantom(CODES[i % 9], i, (CARD.size, CARD.size)) for i in range(first, first + count)]
    return np.stack([fit(np.asarray(picture), CARD.size, CARD.aspect) for picture in pictures])


@cache
def whole() -> bytes:
    """The bundled model's network in single precision."""
    network = build(
        Configuration(
            network=backbone("dermoscopy"), size=CARD.size, weights="dermoscopy", aspect=CARD.aspect
        )
    )
    return to_onnx(network, CARD.temperature, REFUSING_NOTHING)


@cache
def quantised() -> bytes:
    """The same, quantised on phantoms."""
    return quantise(whole(), drawn(0, 16))


@cache
def kernels() -> list[tuple[Any, np.ndarray]]:
    """Each quantised convolution's node and the 8-bit integers of its kernel."""
    graph = onnx_format.load_from_string(quantised()).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node}
    convolutions = [node for node in graph.node if node.op_type == "Conv" and node.input[1] in made]
    return [(node, numpy_helper.to_array(stored[made[node.input[1]].input[0]])) for node in convolutions]


def run(onnx: bytes, pixels: np.ndarray, **entries: str) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    for key, value in entries.items():
        options.add_session_config_entry(key.replace("_", "."), value)
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": pixels}), strict=True))


def test_it_says_nearly_what_it_said_in_little_more_than_a_quarter_of_the_bytes() -> None:
    assert len(quantised()) < 0.31 * len(whole())
    pixels = drawn(100, 12)
    before, after = run(whole(), pixels), run(quantised(), pixels)
    assert before.keys() == after.keys()
    assert np.abs(after["probability"] - before["probability"]).mean() < 0.02
    correlation = np.corrcoef(after["embedding"].ravel(), before["embedding"].ravel())[0, 1]
    assert 0.98 < correlation < 1


def test_every_convolution_but_the_first_is_quantised_and_nothing_after_the_last() -> None:
    assert {kernel.dtype.name for _, kernel in kernels()} == {"int8"}
    every = [node for node in onnx_format.load_from_string(quantised()).graph.node if node.op_type == "Conv"]
    assert [node.name for node, _ in kernels()] == [node.name for node in every[IN_FLOAT:]]
    graph = onnx_format.load_from_string(quantised()).graph
    made = {node.output[0]: node for node in graph.node}
    heads = [node for node in graph.node if node.op_type == "MatMul"]
    assert heads
    fed = [made[name].op_type for node in heads for name in node.input if name in made]
    assert "DequantizeLinear" not in fed
    assert not any(node.op_type == "Mul" and "stem" in node.name for node in graph.node)


def test_no_sum_of_two_products_overflows_16_bits() -> None:
    """What AVX2 computes with; depthwise kernels are multiplied otherwise, and have all 8 bits."""
    largest = {True: 0, False: 0}
    for node, kernel in kernels():
        depthwise = any(attribute.name == "group" and attribute.i > 1 for attribute in node.attribute)
        largest[depthwise] = max(largest[depthwise], int(np.abs(kernel.astype(int)).max()))
    assert 2 * 255 * largest[False] <= 2**15 - 1
    assert largest[False] >= 63
    assert largest[True] >= 127


def test_an_option_against_overflow_changes_nothing() -> None:
    pixels = drawn(100, 2)
    for name, expected in run(quantised(), pixels).items():
        np.testing.assert_array_equal(run(quantised(), pixels, session_x64quantprecision="1")[name], expected)


def test_an_image_alone_gives_what_it_gives_among_others() -> None:
    pixels = drawn(100, 3)
    together = run(quantised(), pixels)
    for i in range(3):
        for name, alone in run(quantised(), pixels[i : i + 1]).items():
            np.testing.assert_allclose(alone[0], together[name][i], rtol=1e-4, atol=1e-5)


def test_a_network_begins_with_quantised_weights() -> None:
    before = efficientnet_lite(backbone("dermoscopy"), 32, normalised=False)
    rough = efficientnet_lite(backbone("dermoscopy"), 32, normalised=False)
    load_onnx(before, whole())
    load_onnx(rough, quantised())
    for layer in before.layers:
        if layer.name.endswith("_conv"):
            (kernel, bias), (found, offset) = layer.get_weights(), rough.get_layer(layer.name).get_weights()
            by_filter = np.abs(kernel).reshape(-1, len(bias))
            off = np.abs(found - kernel).reshape(by_filter.shape)
            # A filter of hardly anything has a coarser scale, so that its bias fits 32 bits.
            used = by_filter.max(axis=0) > 1e-3
            # Half a step of 1/63 of a filter's largest weight.
            assert (off <= 0.51 / 63 * by_filter.max(axis=0))[:, used].all(), layer.name
            np.testing.assert_allclose(offset[used], bias[used], atol=5e-3)
            np.testing.assert_allclose(offset[~used].clip(0), bias[~used].clip(0), atol=2e-3)
    stems = [network.get_layer("stem_conv").get_weights()[0] for network in (before, rough)]
    np.testing.assert_array_equal(*stems)
    np.testing.assert_array_equal(
        rough.get_layer("logits").get_weights()[0], before.get_layer("logits").get_weights()[0]
    )


def images(count: int) -> Resampler:
    return Resampler([str(i) for i in range(count)], 50)


def logits_of(classes: np.ndarray) -> np.ndarray:
    return 4 * np.eye(9, dtype=np.float32)[classes]


def test_the_cost_is_the_share_of_the_same_class_and_the_auroc() -> None:
    labels = ["MEL", "NV"] * 50
    right = logits_of(np.array([CODES.index(label) for label in labels]))
    wrong = right.copy()
    wrong[0] = wrong[1]
    cost = check_cost(labels, right, wrong, images(100), "made")
    assert cost["images"] == 100
    assert cost["same_class"]["value"] == 0.99
    auroc = cost["melanoma_roc_auc"]
    assert (auroc["float32"]["value"], auroc["float32"]["high"]) == (1.0, 1.0)
    assert auroc["drop"]["value"] == pytest.approx(0.01)
    assert auroc["drop"]["low"] < 0 < auroc["drop"]["high"]
    assert auroc["int8"]["value"] == pytest.approx(0.99)
    assert auroc["int8"]["low"] < 0.99 < auroc["int8"]["high"]
    assert "melanoma_roc_auc" not in check_cost(["NV"] * 3, right[:3], right[:3], images(3), "made")


def test_a_cost_that_is_no_chance_is_refused() -> None:
    labels = ["MEL", "NV"] * 50
    right = logits_of(np.array([CODES.index(label) for label in labels]))
    wrong = right.copy()
    wrong[:24] = wrong[1]
    with pytest.raises(BundleError, match=r"^made: quantised, 88 of 100 .*without quantisation"):
        check_cost(labels, right, wrong, images(100), "made")
    assert (
        check_cost(labels[22:30], right[22:30], wrong[22:30], images(8), "made")["same_class"]["value"]
        == 7 / 8
    )
    # Every class kept, nevus throughout, but a fifth of the melanomas ranked last.
    ranked = np.where(right > 0, right, 0)
    ranked[:, CODES.index("NV")] += 8
    lost = ranked.copy()
    lost[:20:2, CODES.index("MEL")] -= 20
    with pytest.raises(BundleError, match=r"melanoma's AUROC falls from 1\.000 to 0\.800"):
        check_cost(labels, ranked, lost, images(100), "made")


@pytest.mark.real
def test_on_photographs_melanoma_is_ranked_as_before(real_data: Path) -> None:
    import pandas as pd

    from dermsentry.stats.metrics import roc_auc_score

    table = pd.read_csv(real_data / "ham10000" / "metadata.csv").drop_duplicates("lesion_id")
    table = table.sample(frac=1, random_state=0)
    melanoma = (table["dx"] == "mel").to_numpy()
    learned, held = (
        table[64:128],
        pd.concat([table[128:][melanoma[128:]][:60], table[128:][~melanoma[128:]][:60]]),
    )

    def pixels(rows: pd.DataFrame) -> np.ndarray:
        paths = [real_data / "ham10000" / "images" / f"{name}.jpg" for name in rows["image_id"]]
        return np.stack([fit(read_photograph(path).pixels, CARD.size, CARD.aspect) for path in paths])

    images = pixels(held)
    before, after = (
        run(onnx, images)["probability"] for onnx in (whole(), quantise(whole(), pixels(learned)))
    )
    assert (before.argmax(axis=1) == after.argmax(axis=1)).mean() > 0.93
    truth, at = (held["dx"] == "mel").to_numpy(), CODES.index("MEL")
    lost = roc_auc_score(truth, before[:, at]) - roc_auc_score(truth, after[:, at])
    assert lost < 0.02
