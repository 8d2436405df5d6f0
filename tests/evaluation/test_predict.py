"""What is read once: predictions, and what later checks need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bundles import SIZE, lesion, tiny_bundle
from dermsentry.collection import Collection, read_collection
from dermsentry.diagnoses import CODES
from dermsentry.errors import BundleError
from dermsentry.evaluation import predict
from dermsentry.evaluation.predict import choose_sample, read_and_predict
from dermsentry.evaluation.saliency.surround import lesion_painted_out, only_the_lesion
from dermsentry.images import read_fitted
from dermsentry.model import Bundle
from pictures import save


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def photographs(tmp_path: Path) -> Collection:
    for i in range(7):
        save(Image.fromarray(lesion(40 + 25 * i, seed=i)), tmp_path / "set" / "nevus" / f"{i}.png")
    (tmp_path / "set" / "nevus" / "3.png").write_bytes(b"broken")
    return read_collection(tmp_path / "set")


@pytest.mark.parametrize("batch", [2, 3, 64])
def test_what_was_asked_for_is_kept(bundle, photographs, monkeypatch, batch):
    monkeypatch.setattr(predict, "BATCH", batch)
    control = tiny_bundle(bundle.folder.parent / "control")
    table = photographs.table
    mask = np.zeros((SIZE, SIZE), bool)
    mask[SIZE // 3 : -SIZE // 3, SIZE // 3 : -SIZE // 3] = True
    seen = read_and_predict(
        bundle,
        photographs,
        table,
        sample={0, 3, 5},
        explained=dict.fromkeys((2, 3, 6), mask),
        control=control,
    )
    kept = [0, 1, 2, 4, 5, 6]
    assert list(seen.table["path"]) == [table["path"].iloc[i] for i in kept]
    assert [entry["path"] for entry in seen.unreadable] == ["nevus/3.png"]
    assert seen.sample.tolist() == [0, 4]  # rows of those that could be read
    assert seen.explained.tolist() == [2, 5]
    assert len(seen.skin_tone) == 6
    files = [photographs.paths[i] for i in kept]
    pixels = np.stack([read_fitted(file, SIZE, "squash") for file in files])
    np.testing.assert_array_equal(seen.pixels, pixels[[0, 4]])
    outputs = bundle.predict(pixels)
    np.testing.assert_allclose(seen.probability, outputs.probability, atol=1e-6)
    np.testing.assert_allclose(
        seen.activation, outputs.class_activation[[2, 5]][..., CODES.index("MEL")], atol=1e-5
    )
    np.testing.assert_allclose(seen.control, seen.activation, atol=1e-5)
    for scores, change in ((seen.painted_out, lesion_painted_out), (seen.alone, only_the_lesion)):
        changed = np.stack([change(pixels[row], mask) for row in (2, 5)])
        np.testing.assert_allclose(
            scores, bundle.predict(changed).probability[:, CODES.index("MEL")], atol=1e-6
        )


def test_a_control_that_gives_no_numbers_is_left_out(bundle, photographs, monkeypatch):
    class Broken:
        def predict(self, pixels):
            raise BundleError("the network gave a value that is not a probability")

    monkeypatch.setattr(predict, "BATCH", 2)
    seen = read_and_predict(
        bundle,
        photographs,
        photographs.table,
        explained=dict.fromkeys((0, 1, 5), np.ones((SIZE, SIZE), bool)),
        control=Broken(),
    )
    assert len(seen.activation) == 3
    assert seen.control is None


def test_nothing_is_kept_that_was_not_asked_for(bundle, photographs):
    seen = read_and_predict(bundle, photographs, photographs.table)
    assert len(seen.pixels) == len(seen.activation) == len(seen.sample) == 0
    assert seen.control is None


@given(
    st.lists(st.sampled_from(["MEL", "NV", "MEL|NV", ""]), max_size=60), st.integers(2, 40), st.integers(0, 9)
)
def test_a_sample_has_melanomas_first_up_to_half(labels, most, seed):
    sample = choose_sample(labels, most, seed)
    melanomas = [i for i in sample if labels[i] == "MEL"]
    assert all(labels[i] for i in sample)
    assert len(melanomas) == min(labels.count("MEL"), most // 2)
    others = sum(label not in ("MEL", "") for label in labels)
    assert len(sample) - len(melanomas) == min(others, most - len(melanomas))
    assert choose_sample(labels, most, seed) == sample
