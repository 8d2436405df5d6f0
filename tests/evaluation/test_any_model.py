"""Anyone's model: what it expects of an image is done, its numbers are read right, no code is run."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from typer.testing import CliRunner

from dermsentry import evaluate_table, predict_table
from dermsentry.cli import app
from dermsentry.collection import Collection, read_collection
from dermsentry.errors import DataWarning, InputError
from dermsentry.evaluation.any_model import scaled_colours


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Red photographs are melanomas, green ones nevi; one file is broken."""
    root = tmp_path_factory.mktemp("any")
    for i in range(6):
        for name, colour in (("melanoma", (200 + i, 40, 60)), ("nevus", (50, 180 + i, 60))):
            (root / name).mkdir(exist_ok=True)
            Image.new("RGB", (40, 30), colour).save(root / name / f"{name[0]}{i}x.png")
    (root / "nevus" / "brokenx.png").write_bytes(b"no picture")
    return read_collection(root)


def mean_colours(path: Path, shape: list[Any], kind: int = TensorProto.FLOAT, gain: float = 1.0) -> Path:
    """A model whose outputs are the means of red and green, times a gain."""
    first = shape[1] == 3
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("ReduceMean", ["f", "axes"], ["means"], keepdims=0))
    nodes.append(helper.make_node("MatMul", ["means", "pick"], ["y"]))
    pick = gain * np.eye(3 if first else shape[3], 2, dtype=np.float32)
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[0], 2])],
        [
            numpy_helper.from_array(np.array([2, 3] if first else [1, 2]), "axes"),
            numpy_helper.from_array(pick, "pick"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("shape", [["N", 3, 16, 16], ["N", 16, 16, 3], ["N", 3, "h", "w"], [4, 3, 16, 16]])
def test_an_onnx_file_is_read_in_either_order_of_axes(
    collection: Collection, tmp_path: Path, shape: list[Any]
) -> None:
    model = mean_colours(tmp_path / "model.onnx", shape, gain=10)
    with pytest.warns(DataWarning, match="taken for logits, a softmax"):
        made = predict_table(model, collection, tmp_path / "table.csv", classes=["mel", "naevus"], size=16)
    assert (made.images, made.read_as) == (12, "logits")
    assert [one.path for one in made.unreadable] == ["nevus/brokenx.png"]
    rows = table(tmp_path / "table.csv")
    assert list(rows[0]) == ["image", "MEL", "NV"]
    red, green = 10 * 200 / 255, 10 * 40 / 255
    assert float(rows[0]["MEL"]) == pytest.approx(1 / (1 + np.exp(green - red)), abs=1e-5)


def test_colours_are_scaled_as_said() -> None:
    pixels = np.array([[[[0, 128, 255]]]], np.uint8)
    assert scaled_colours(pixels, "0-255").ravel().tolist() == [0, 128, 255]
    assert scaled_colours(pixels, "0-1").ravel() == pytest.approx([0, 128 / 255, 1])
    assert scaled_colours(pixels, "-1-1").ravel() == pytest.approx([-1, 2 * 128 / 255 - 1, 1])
    torch = [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert scaled_colours(pixels, "imagenet").ravel() == pytest.approx(torch)


def test_a_function_of_a_batch_will_do_and_its_probabilities_are_kept(
    collection: Collection, tmp_path: Path
) -> None:
    def network(pixels: np.ndarray) -> np.ndarray:
        assert pixels.dtype == np.uint8
        assert pixels.shape[1:] == (24, 24, 3)
        return pixels[:, :, :, 0].mean(axis=(1, 2)) / 255

    made = predict_table(network, collection, tmp_path / "table.csv", classes=["melanoma"], size=24)
    assert made.read_as == "probabilities"
    rows = {row["image"]: float(row["MEL"]) for row in table(tmp_path / "table.csv")}
    assert rows["melanoma/m0x.png"] == pytest.approx(200 / 255)


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (["MEL", "wart"], "not understood wart"),
        (["NV", "BCC"], "melanoma among them"),
        (["MEL", "melanoma"], "each once"),
        (["MEL", "NV", "BCC"], r"shape \(12, 2\)|shape \(\d+, 2\)"),
    ],
)
def test_classes_have_to_fit(collection: Collection, tmp_path: Path, classes: list[str], told: str) -> None:
    model = mean_colours(tmp_path / "model.onnx", ["N", 3, 16, 16])
    with pytest.raises(InputError, match=told):
        predict_table(model, collection, tmp_path / "table.csv", classes=classes)
    assert not (tmp_path / "table.csv").exists()


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.h5", "model.pkl"])
def test_what_may_run_code_is_never_opened(collection: Collection, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04")
    with pytest.raises(InputError, match="may run any code when it is opened"):
        predict_table(tmp_path / name, collection, tmp_path / "table.csv", classes=["MEL"], size=16)


def test_an_input_that_does_not_fit_is_refused(collection: Collection, tmp_path: Path) -> None:
    out, classes = tmp_path / "t.csv", ["MEL", "NV"]
    shapes: dict[str, list[Any]] = {"a": ["N", 4, 16, 16], "b": ["N", 3, "h", "w"], "c": ["N", 3, 16, 16]}
    models = {name: mean_colours(tmp_path / f"{name}.onnx", shape) for name, shape in shapes.items()}
    with pytest.raises(InputError, match="expected one input of images"):
        predict_table(models["a"], collection, out, classes=classes)
    with pytest.raises(InputError, match="no size of the input"):
        predict_table(models["b"], collection, out, classes=classes)
    with pytest.raises(InputError, match="expected squares of 32"):
        predict_table(models["c"], collection, out, classes=classes, size=32)
    models["c"].write_bytes(b"no model")
    with pytest.raises(InputError, match="not an ONNX file"):
        predict_table(models["c"], collection, out, classes=classes)


@pytest.mark.filterwarnings("ignore::dermsentry.errors.DataWarning")
def test_the_command_writes_what_evaluate_takes(collection: Collection, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    layers = [keras.Input((16, 16, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    model.layers[-1].set_weights([np.array([[9, 0], [0, 9], [0, 0]], np.float32), np.zeros(2, np.float32)])
    model.save(tmp_path / "model.keras")
    arguments = [
        "predict", str(tmp_path / "model.keras"), str(collection.root), "--classes", "MEL, NV", "--out",
        str(tmp_path / "table.csv"),
    ]  # fmt: skip
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 3, done.output  # one image is broken
    assert "12 images, from logits" in done.stdout
    rows = table(tmp_path / "table.csv")
    assert all((float(row["MEL"]) > 0.5) == row["image"].startswith("melanoma") for row in rows)
    evaluation = evaluate_table(tmp_path / "table.csv", collection, resamples=20)
    assert evaluation.accuracy is not None
    assert evaluation.accuracy.value == 1
    assert CliRunner().invoke(app, arguments).exit_code == 3  # the same again
    other = CliRunner().invoke(app, [*arguments, "--scaling", "0-255"])
    assert "predict made of something else (scaling 0-1, now 0-255)" in str(other.exception)
    (tmp_path / "table.csv").write_text("image,MEL\n", encoding="utf-8")
    edited = CliRunner().invoke(app, arguments)
    assert "was changed since predict wrote it. Nothing was replaced" in str(edited.exception)
    assert CliRunner().invoke(app, [*arguments, "--force"]).exit_code == 3
    assert table(tmp_path / "table.csv") == rows
    made = predict_table(tmp_path / "model.keras", collection, tmp_path / "by.csv", classes=["MEL", "NV"])
    assert made.images == 12
    assert (tmp_path / "by.csv").read_bytes() == (tmp_path / "table.csv").read_bytes()
    with pytest.raises(InputError, match="expected squares of 32"):
        predict_table(
            tmp_path / "model.keras", collection, tmp_path / "t.csv", classes=["MEL", "NV"], size=32
        )


def test_a_keras_file_that_would_run_code_is_refused(tmp_path: Path, collection: Collection) -> None:
    keras = pytest.importorskip("keras")
    from dermsentry.evaluation.keras_files import open_keras

    unsafe = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Lambda(lambda x: x[:, 0, 0, :2])])
    unsafe.save(tmp_path / "unsafe.keras")
    with pytest.raises(InputError, match="opened safely"):
        open_keras(tmp_path / "unsafe.keras", "0-1")
