"""What a bundle learned from is recognised by id, lesion, patient and look, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bundles import lesion, tiny_card, tiny_onnx
from dermsentry.collection import Collection, read_collection
from dermsentry.errors import InputError
from dermsentry.evaluation import evaluate
from dermsentry.evaluation.contamination import find_learned, learned_from, perceptual_hashes
from dermsentry.images import Pixels
from dermsentry.model import Bundle, write_bundle
from dermsentry.model.learned_from import LearnedFrom
from dermsentry.split import make_split
from tables import table_collection

NOTHING = np.zeros(0, np.uint64)


def rows(**columns: list[str]) -> Any:
    count = len(next(iter(columns.values())))
    return table_collection(
        [{"image_id": "", **{name: values[i] for name, values in columns.items()}} for i in range(count)]
    ).table


def told(known: Any, table: Any) -> list[bool]:
    by_id, by_look = find_learned(learned_from(known, []), table, NOTHING)
    assert by_look.tolist() == []
    return [bool(one) for one in by_id]


def test_ids_are_compared_as_groups_compare_them() -> None:
    known = rows(image_id=["ISIC_0000001", "IMG_0012", "a_lesion", ""])
    here = rows(image_id=["ISIC_0000001_copy", "IMG_0012", "a_lesion", "", "ISIC_0000002"])
    assert told(known, here) == [True, False, True, False, False]


@pytest.mark.parametrize("column", ["lesion_id", "patient_id"])
def test_lesions_and_patients_hold_within_their_source(column: str) -> None:
    known = rows(**{column: ["L1", "HAM_0000118", "L2", ""], "source": ["a", "a", "", "a"]})
    ids, sources = ["L1", "L1", "HAM_0000118", "L2", "", "L3"], ["a", "b", "b", "", "a", "a"]
    here = rows(**{column: ids, "source": sources})
    assert told(known, here) == [True, False, True, False, False, False]


def photographs(root: Path, names: list[str], seed: int = 0) -> list[Pixels]:
    made = [lesion(60 + 9 * i, seed + i) for i in range(len(names))]
    for i, (name, pixels) in enumerate(zip(names, made, strict=True)):
        path = root / ("melanoma" if i % 2 else "nevus") / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        varied = np.roll(pixels, (7 * i, 11 * i), axis=(0, 1))
        Image.fromarray(varied).save(path)
        made[i] = varied
    return made


def test_a_copy_at_another_size_and_quality_looks_the_same_and_another_does_not(tmp_path: Path) -> None:
    own = photographs(tmp_path, [f"p{i}" for i in range(12)])
    known = learned_from(rows(image_id=[""]), own)
    Image.fromarray(own[3]).resize((120, 96)).save(tmp_path / "copy.jpg", quality=80)
    copy = np.asarray(Image.open(tmp_path / "copy.jpg"))
    other = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    _, near = find_learned(known, rows(image_id=["x", "y"]), perceptual_hashes([copy, other]))
    assert near.tolist() == [True, False]
    assert perceptual_hashes(own).tolist() == perceptual_hashes(own).tolist()
    assert len(set(perceptual_hashes(own).tolist())) == 12


def test_looks_in_few_bands_are_those_of_comparing_each_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    # Half share the bits of a band, as similar photographs do.
    known = np.unique(random.integers(0, 1 << 63, 4000, dtype=np.uint64))
    known[::2] &= np.uint64(~0x1FFFFF & (1 << 64) - 1)
    looks = random.integers(0, 1 << 63, 900, dtype=np.uint64)
    for bits in range(6):  # a photograph that differs in so many, anywhere
        for i in range(100):
            look = int(known[37 * i + bits])
            for bit in random.choice(64, bits, replace=False):
                look ^= 1 << int(bit)
            looks[100 * bits + i] = look
    expected = [bool((np.bitwise_count(known ^ look) <= 2).any()) for look in looks]
    assert 300 <= sum(expected) < 700
    compared = 0
    count = np.bitwise_count

    def counting(bits: Any) -> Any:
        nonlocal compared
        compared += len(bits)
        return count(bits)

    monkeypatch.setattr("dermsentry.evaluation.contamination._COMPARED", 1000)
    monkeypatch.setattr(np, "bitwise_count", counting)
    learned = LearnedFrom(NOTHING, NOTHING, NOTHING, np.unique(known))
    _, near = find_learned(learned, rows(image_id=[""]), looks)
    assert near.tolist() == expected
    assert compared < len(known) * len(looks) / 3
    for few in (LearnedFrom(NOTHING, NOTHING, NOTHING, NOTHING), learned):
        assert find_learned(few, rows(image_id=[""]), looks[:0])[1].shape == (0,)
    assert not find_learned(LearnedFrom(*[NOTHING] * 4), rows(image_id=[""]), looks)[1].any()


@pytest.fixture
def learned(tmp_path: Path) -> tuple[Bundle, Collection]:
    """A bundle that learned from eight of twelve photographs, two of them under other names."""
    photographs(tmp_path / "set", [f"image_of_{chr(97 + i)}" for i in range(12)])
    collection = read_collection(tmp_path / "set")
    card = tiny_card()
    first = collection.table.iloc[:8].copy()
    first.loc[first.index[:2], "image_id"] = ["another name", "and another"]
    pictures = [np.asarray(Image.open(path).resize((card.size, card.size))) for path in collection.paths[:8]]
    known = learned_from(first, pictures)
    return write_bundle(tmp_path / "bundle", tiny_onnx(), card, known), collection


def test_an_evaluation_leaves_out_what_was_learned_from(
    learned: tuple[Bundle, Collection], tmp_path: Path
) -> None:
    bundle, collection = learned
    found = evaluate(bundle, collection, out=tmp_path / "out", resamples=20)
    assert found.photographs == 4
    assert found.warnings[0] == (
        "8 of the 12 photographs are among those that the model learned from, or of the same lesion or "
        "patient (2 of them only by the look of the image), and left out of every figure."
    )
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["learned_from"] == {"photographs": 8, "of": 12, "by_look": 2, "left_out": True}
    assert len((tmp_path / "out" / "predictions.csv").read_text().splitlines()) == 5
    kept = evaluate(bundle, collection, keep_learned=True, resamples=20)
    assert kept.photographs == 12
    assert kept.warnings[0].endswith(
        "(2 of them only by the look of the image): these figures are optimistic."
    )
    assert kept.about["learned_from"].left_out is False
    only = replace(collection, table=collection.table.iloc[:8])
    with pytest.raises(InputError, match="learned from all of the 8 photographs; evaluate it on others"):
        evaluate(bundle, only, resamples=20)


def test_every_other_check_is_of_what_is_left(learned: tuple[Bundle, Collection], tmp_path: Path) -> None:
    bundle, collection = learned
    masks = tmp_path / "masks"
    masks.mkdir()
    for path in collection.paths:
        mask = np.zeros((160, 160), np.uint8)
        mask[40:120, 40:120] = 255
        Image.fromarray(mask).save(masks / f"{path.stem}_segmentation.png")
    rest = replace(collection, table=collection.table.iloc[8:].reset_index(drop=True))
    options: dict[str, Any] = {"masks": masks, "robustness": True, "resamples": 20}
    found, expected = evaluate(bundle, collection, **options), evaluate(bundle, rest, **options)
    assert found.saliency == expected.saliency
    assert found.robustness == expected.robustness
    assert found.overall == expected.overall
    assert found.truth == expected.truth


def test_a_split_that_it_was_trained_on_and_a_part_it_learned_from_are_taken_at_their_word(
    learned: tuple[Bundle, Collection], tmp_path: Path
) -> None:
    bundle, collection = learned
    split = make_split(collection)
    other = evaluate(bundle, collection, split, part="train", resamples=20)
    assert other.photographs == split.counts()["train"]
    assert other.about["learned_from"].left_out is False
    training = {**bundle.card.training, "split_fingerprint": split.fingerprint()}
    own = replace(bundle, card=replace(bundle.card, training=training))
    same = evaluate(own, collection, split, resamples=20)
    assert same.photographs == split.counts()["test"]
    assert same.about["learned_from"] is None


def test_a_lesion_is_known_by_its_published_name_too() -> None:
    known = rows(image_id=["ISIC_0027419"], source=["a"]).assign(published_lesion=["HAM_0000118"])
    here = rows(image_id=["x", "y", "z"], lesion_id=["HAM_0000118", "", "L1"], source=["b", "b", "a"])
    assert told(known, here) == [True, False, False]
    assert told(here, known) == [True]
    both = here.assign(published_lesion=["", "HAM_0000118", ""])
    assert told(known, both) == [True, True, False]
