from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundles import FLAGGING, REFUSING, SIZE, rewrite, tiny_bundle, tiny_card, tiny_onnx
from dermsentry.diagnoses import CODES
from dermsentry.errors import BundleError, OutputError
from dermsentry.model import (
    CARD_FILE,
    LEARNED_FILE,
    MODEL_FILE,
    Bundle,
    LearnedFrom,
    Threshold,
    open_bundle,
    self_test_picture,
    write_bundle,
)
from dermsentry.model.card import card_text, describe, parse_card
from dermsentry.stats.intervals import Estimate


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(
        tmp_path_factory.mktemp("model") / "tiny", no_lesion=REFUSING, out_of_distribution=FLAGGING
    ).folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def pictures(count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(1).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def test_a_written_bundle_opens_with_everything_its_card_said(original: Path) -> None:
    bundle = open_bundle(original)
    card = bundle.card
    assert card.classes == CODES
    assert card.thresholds["alert"] == Threshold(0.5, 0.8, Estimate(0.94, 0.85, 0.98), "calibration")
    assert card.thresholds["refer"].sensitivity is None
    assert (card.no_lesion, card.out_of_distribution) == (REFUSING, FLAGGING)
    assert card.self_test is not None
    assert sum(card.self_test.probability) == pytest.approx(1, abs=1e-5)
    assert bundle.name == f"tiny {card.digest[:12]} (synthetic)"
    assert json.loads((original / CARD_FILE).read_text()) == json.loads(card_text(card, original))


@pytest.mark.parametrize("count", [0, 1, 2, 37])
@pytest.mark.parametrize("threads", [1, 3])
def test_predict_gives_the_same_for_any_batch_and_any_threads(
    original: Path, count: int, threads: int
) -> None:
    bundle = open_bundle(original, threads=threads)
    pixels = pictures(count)
    together = bundle.predict(pixels)
    assert together.probability.shape == (count, 9)
    assert together.embedding.shape == (count, 3)
    assert together.class_activation.shape == (count, 4, 4, 9)
    assert together.out_of_distribution.shape == (count,)
    for position in range(count):
        alone = bundle.predict(pixels[position : position + 1])
        np.testing.assert_allclose(alone.probability[0], together.probability[position], atol=1e-6)


def test_heat_is_the_logits_share_of_each_place(original: Path) -> None:
    outputs = open_bundle(original).predict(pictures(2))
    logits = outputs.class_activation.mean(axis=(1, 2))
    shares = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(outputs.probability, shares / shares.sum(1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("shape", [(SIZE, SIZE, 3), (1, SIZE, SIZE + 1, 3), (1, 3, SIZE, SIZE)])
def test_predict_says_which_pixels_it_expects(original: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, 64, 64, 3\) uint8"):
        open_bundle(original).predict(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="float32"):
        open_bundle(original).predict(np.zeros((1, SIZE, SIZE, 3), np.float32))  # type: ignore[arg-type]


def test_the_self_test_picture_never_changes() -> None:
    picture = self_test_picture(7, 33)
    assert picture.shape == (1, 33, 33, 3)
    assert picture.dtype == np.uint8
    assert int(picture.astype(np.int64).sum()) == 468569


# --- refusals: each one clear line ---


def refused(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_folder_or_file_is_named(folder: Path, tmp_path: Path) -> None:
    assert "is not a model bundle" in refused(tmp_path / "nowhere")
    assert "is not a model bundle" in refused(folder / CARD_FILE)
    assert "is not a model bundle" in refused(Path("a\0b"))
    (folder / MODEL_FILE).unlink()
    assert "model.onnx is missing" in refused(folder)
    (folder / CARD_FILE).unlink()
    assert "card.json is missing" in refused(folder)


def test_a_bundle_from_the_future_says_to_upgrade(folder: Path) -> None:
    rewrite(folder, lambda record: record.update(schema=4, brand_new={"of": "later"}))
    assert "written by a later version" in refused(folder)


def test_a_changed_network_is_refused(folder: Path) -> None:
    data = bytearray((folder / MODEL_FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / MODEL_FILE).write_bytes(data)
    assert "is not the file its card names" in refused(folder)


def test_a_changed_card_is_refused(folder: Path) -> None:
    text = (folder / CARD_FILE).read_text().replace('"value": 0.5', '"value": 0.6', 1)
    (folder / CARD_FILE).write_text(text)
    assert "changed after it was written" in refused(folder)


def test_a_card_laid_out_anew_is_the_same_card(folder: Path) -> None:
    record = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps(dict(reversed(record.items()))))
    assert open_bundle(folder).card.name == "tiny"


def test_other_weights_fail_the_self_test_even_with_their_own_hash(folder: Path) -> None:
    import hashlib

    other = tiny_onnx(scale=0.9)
    (folder / MODEL_FILE).write_bytes(other)
    rewrite(folder, lambda record: record.update(sha256=hashlib.sha256(other).hexdigest()))
    assert "self-test does not give" in refused(folder)


@pytest.mark.parametrize("name", ["no_lesion", "out_of_distribution"])
def test_another_limit_fails_the_self_test(folder: Path, name: str) -> None:
    rewrite(folder, lambda record: record["self_test"].update({name: 0.4}))
    other = "out-of-distribution" if name == "no_lesion" else "no-lesion"
    words = name.replace("_", "-")
    found = refused(folder)
    assert re.search(rf"probability off by 0, class activation by 0, .*{words} score by 0\.\d+", found)
    assert re.search(rf"{other} score by 0,", found)


def test_a_score_that_is_no_probability_is_refused(folder: Path) -> None:
    class Wrong:
        def run(self, names: object, feeds: object) -> list[object]:
            scores = [np.zeros(1), np.array([np.nan])]
            return [np.full((1, 9), 1 / 9), np.zeros((1, 3)), np.zeros((1, 4, 4, 9)), *scores]

    bundle = open_bundle(folder)
    with pytest.raises(BundleError, match="not a probability"):
        Bundle(folder, bundle.card, 1, Wrong()).predict(pictures(1))


@pytest.mark.parametrize(("name", "channel"), [("no_lesion", 2), ("out_of_distribution", 1)])
def test_each_score_rises_with_its_own(folder: Path, name: str, channel: int) -> None:
    colours = np.zeros((3, SIZE, SIZE, 3), np.uint8)
    colours[..., channel] = np.array([100, 128, 160])[:, None, None]
    outputs = open_bundle(folder).predict(colours)
    score = getattr(outputs, name)
    assert score[0] < 0.1
    assert score[1] == pytest.approx(0.5, abs=0.05)
    assert score[2] > 0.9
    (other,) = {"no_lesion", "out_of_distribution"} - {name}
    assert (getattr(outputs, other) < 1e-6).all()


def test_the_one_score_of_schema_2_says_whether_there_is_a_lesion(tmp_path: Path) -> None:
    card = tiny_card(no_lesion=REFUSING)
    onnx = tiny_onnx(colour=40.0, schema=2)
    folder = write_bundle(tmp_path / "new", onnx, card).folder

    def older(record: dict[str, Any]) -> None:
        said = record.pop("no_lesion")
        del said["sources"]
        test = record["self_test"]
        test["out_of_distribution"] = test.pop("no_lesion")
        record.update(schema=2, out_of_distribution=said)

    rewrite(folder, older)
    bundle = open_bundle(folder)
    assert (bundle.card.no_lesion, bundle.card.out_of_distribution) == (REFUSING, None)
    blue = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    blue[..., 2] = 160
    outputs = bundle.predict(blue)
    assert outputs.no_lesion[0] > 0.9
    assert outputs.out_of_distribution[0] == 0


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "null", "NaN", '{"schema": NaN}', "[" * 100_000, '"\ud800"', "1" * 5000]
)
def test_a_card_that_is_no_card_is_refused(folder: Path, text: str) -> None:
    (folder / CARD_FILE).write_text(text, errors="surrogatepass")
    assert str(folder / CARD_FILE) in refused(folder)


@pytest.mark.parametrize(
    ("onnx", "expected"),
    [
        (b"not a network", "ONNX Runtime can open"),
        (b"", "ONNX Runtime can open"),
        (tiny_onnx(size=2 * SIZE), "the network takes"),
        (tiny_onnx(batch=1), "exactly 1 photographs"),
        (tiny_onnx(classes=7), r"expected \(N, 9\)"),
    ],
)
def test_a_network_that_is_no_bundles_is_refused_before_anything_is_written(
    tmp_path: Path, onnx: bytes, expected: str
) -> None:
    with pytest.raises(BundleError, match=expected):
        write_bundle(tmp_path / "new", onnx, tiny_card())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"name": "two\nlines"}, "name: received"),
        ({"size": 0}, "size: received 0, expected a whole number of at least 8"),
        ({"aspect": "stretch"}, "aspect: received 'stretch', expected squash or crop or pad"),
        ({"temperature": float("nan")}, "cannot hold this card"),
        ({"classes": ("MEL", "NV")}, "classes: received a list of 2"),
        ({"training": {"synthetic": "no"}}, "synthetic: received 'no', expected true or false"),
        ({"thresholds": {"alert": Threshold(0.5, 0.9, None, "x")}}, "refer is missing"),
        (
            {
                "thresholds": {
                    "alert": Threshold(0.2, 0.8, None, "x"),
                    "refer": Threshold(0.5, 0.9, None, "x"),
                }
            },
            "refer.value: received 0.5, expected at most the alert's 0.2",
        ),
        (
            {"no_lesion": replace(REFUSING, held_out=0)},
            "no_lesion.held_out: received 0, expected a whole number",
        ),
        (
            {"no_lesion": replace(REFUSING, non_lesions_refused=2.0)},
            "non_lesions_refused: received 2, expected a num",
        ),
        (
            {"out_of_distribution": replace(FLAGGING, sources={"elsewhere": 2.0})},
            "out_of_distribution.sources",
        ),
    ],
)
def test_write_bundle_refuses_a_wrong_card(tmp_path: Path, overrides: dict[str, Any], expected: str) -> None:
    with pytest.raises(BundleError, match=expected):
        tiny_bundle(tmp_path / "new", **overrides)
    assert list(tmp_path.iterdir()) == []


def test_a_tolerance_that_lets_all_pass_is_refused(folder: Path) -> None:
    rewrite(folder, lambda record: record["self_test"].update(tolerance=1.0))
    assert "self_test.tolerance: received 1, expected a number of at most 0.02" in refused(folder)


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("temperature", 10**400, "temperature: received a huge number, expected"),
        ("temperature", True, "temperature: received true, expected a number"),
        ("size", 64.0, "size: received 64, expected a whole number"),
        ("name", "a\x1b[2J", r"name: received 'a\\x1b\[2J', expected text without"),
        ("sha256", "0" * 63, "sha256: received '0+', expected text matching"),
        ("created", "yesterday", "created: received 'yesterday', expected"),
        (
            "thresholds.alert.value",
            1.5,
            "thresholds.alert.value: received 1.5, expected a number of at most 1",
        ),
        ("thresholds.alert.extra", 1, "thresholds.alert.'extra' is a field that this version does not know"),
        ("thresholds.third", {}, "thresholds.'third' is a field that"),
        ("thresholds.alert.sensitivity.low", -0.1, "thresholds.alert.sensitivity: received an object, expec"),
        (
            "thresholds.alert.sensitivity.sd",
            0.1,
            "sensitivity.'sd' is a field that this version does not kno",
        ),
        ("self_test.probability", [0.1] * 8, "self_test.probability: received a list of 8, expected"),
        ("self_test.probability", ["a"] * 9, "self_test.probability.0: received 'a', expected a number"),
        ("training.licences", ["a", 3], "training.licences.1: received 3, expected text"),
        ("training.versions", {"numpy": "2\n"}, "training.versions: received 'numpy2.*control characters"),
        ("training.configuration", [], "training.configuration: received a list of 0, expected an object"),
        ("brand_new", 1, "'brand_new' is a field that this version does not know"),
    ],
)
def test_a_wrong_field_is_named_with_what_came_and_what_was_expected(
    folder: Path, place: str, value: object, expected: str
) -> None:
    def change(record: dict[str, Any]) -> None:
        *way, last = place.split(".")
        for name in way:
            record = record[name]
        record[last] = value

    rewrite(folder, change)
    assert re.search(expected, refused(folder)), refused(folder)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_hostile_card_is_read_or_refused_in_one_line(original: Path, data: st.DataObject) -> None:
    record = json.loads((original / CARD_FILE).read_text())
    place = record
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        if data.draw(st.booleans()):
            place[key] = data.draw(anything)
        else:
            del place[key]
        break
    message = ""
    try:
        assert describe(parse_card(json.dumps(record), Path("card.json")))
    except BundleError as error:
        message = str(error)
    assert "\n" not in message
    message.encode("utf-8")


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_any_text_in_place_of_a_card_is_refused(text: str) -> None:
    with pytest.raises(BundleError):
        parse_card(text, Path("card.json"))


# --- what it learned from ---


def some_hashes(count: int, seed: int = 0) -> LearnedFrom:
    numbers = np.random.default_rng(seed).integers(0, 2**48, (3, count), dtype=np.uint64)
    looks = np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)
    return LearnedFrom(*(np.unique(row) for row in numbers), np.unique(looks))


@pytest.fixture
def learned(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "learned", tiny_onnx(), tiny_card(), some_hashes(50)).folder


def test_what_it_learned_from_is_kept(learned: Path) -> None:
    found, expected = open_bundle(learned).learned_from, some_hashes(50)
    assert found is not None
    for own in fields(LearnedFrom):
        np.testing.assert_array_equal(getattr(found, own.name), getattr(expected, own.name))
    assert found.to_bytes() == expected.to_bytes()
    assert len(some_hashes(10_000).to_bytes()) < 300_000
    assert LearnedFrom(*[np.zeros(0, np.uint64)] * 4).to_bytes()


def test_a_bundle_without_hashes_opens_and_one_that_replaces_it_leaves_none(learned: Path) -> None:
    again = write_bundle(learned, tiny_onnx(), open_bundle(learned).card)
    assert again.learned_from is None
    assert "learned_from" not in again.card.training
    assert not (learned / LEARNED_FILE).exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not a complete model bundle: learned_from.npz is missing"),
        (some_hashes(50, 1).to_bytes(), "is not the file that the card names"),
    ],
)
def test_hashes_that_are_missing_or_others_are_refused(
    learned: Path, content: bytes | None, message: str
) -> None:
    (learned / LEARNED_FILE).unlink()
    if content is not None:
        (learned / LEARNED_FILE).write_bytes(content)
    with pytest.raises(BundleError, match=message):
        open_bundle(learned)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"nothing", npz(images=np.zeros(3)), npz()])
def test_a_file_that_holds_no_hashes_is_refused(learned: Path, content: bytes) -> None:
    (learned / LEARNED_FILE).write_bytes(content)
    named = {"sha256": hashlib.sha256(content).hexdigest()}
    rewrite(learned, lambda record: record["training"].update(learned_from=named))
    with pytest.raises(BundleError, match=r"^[^\n]* holds no hashes \("):
        open_bundle(learned)


# --- writing ---


def test_a_bundle_replaces_an_older_one_and_nothing_else(tmp_path: Path) -> None:
    first = tiny_bundle(tmp_path / "b")
    second = tiny_bundle(tmp_path / "b", name="second")
    assert open_bundle(tmp_path / "b").card.digest == second.card.digest != first.card.digest
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == [CARD_FILE, MODEL_FILE]
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter1.txt").write_text("irreplaceable")
    for taken in (other, other / "chapter1.txt"):
        with pytest.raises(OutputError, match="is not a model bundle; choose another folder"):
            tiny_bundle(taken)
    assert (other / "chapter1.txt").read_text() == "irreplaceable"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "thesis"]


def test_a_failed_write_leaves_the_older_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tiny_bundle(tmp_path / "b")

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"No space left on device\. Choose another folder or free space"):
        tiny_bundle(tmp_path / "b", name="second")
    monkeypatch.undo()
    assert open_bundle(tmp_path / "b").card.digest == first.card.digest
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_place_is_an_output_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        tiny_bundle(tmp_path / "b")


def test_a_network_that_gives_no_probability_is_refused(original: Path) -> None:
    opened = open_bundle(original)

    class Broken:
        def run(self, names: list[str], feeds: dict[str, Any]) -> list[Any]:
            found = [np.array(a) for a in opened.session.run(names, feeds)]
            found[0][0, 0] = np.nan
            return found

    with pytest.raises(BundleError, match="not a probability"):
        Bundle(opened.folder, opened.card, 1, Broken()).predict(pictures(1))


def test_the_description_is_in_words(tmp_path: Path) -> None:
    accuracy = {"value": 0.625, "low": 0.58, "high": 0.66}
    area = {"value": 0.91, "low": 0.9, "high": 0.92}
    figures = {"balanced_accuracy": accuracy, "log_loss": area, "melanoma_roc_auc": area, "photographs": 3}
    evaluation = {"validation": figures, "classes": list(CODES)}
    text = describe(tiny_bundle(tmp_path / "b", evaluation=evaluation).card)
    assert "On validation: melanoma AUROC 0.910 (0.900–0.920), balanced accuracy 62.5 % (58.0–66.0)." in text
    assert "Trained on synthetic images" in text
    assert "for a sensitivity of 80 %; sensitivity there 94.0 % (85.0–98.0)" in text
    assert "not a medical device" in text
