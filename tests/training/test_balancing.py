"""Copies fill every class to the number that was asked for, from its own photographs, by the seed alone."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from dermsentry.errors import InputError
from dermsentry.training.balancing import (
    balanced_copies,
    class_weights,
    copies_needed,
)
from examples import pictures

LABELS = ("MEL", "NV", "NV", "NV", "NV", "NV", "SK", "SK")


def test_every_class_gets_what_it_lacks() -> None:
    assert copies_needed(LABELS, 4) == {"MEL": 3, "NV": 0, "SK": 2}
    pixels = pictures(LABELS)
    copies, origins = balanced_copies(pixels, LABELS, per_class=20)
    assert Counter([*LABELS, *(LABELS[i] for i in origins)]) == {"MEL": 20, "NV": 20, "SK": 20}
    assert copies.shape == (len(origins), *pixels.shape[1:])
    assert copies.dtype == np.uint8
    assert set(origins[np.asarray(LABELS)[origins] == "SK"]) == {6, 7}  # not always the same one


def test_a_copy_is_a_change_of_its_origin_and_of_no_other() -> None:
    pixels = pictures(LABELS)
    copies, origins = balanced_copies(pixels, LABELS, per_class=30)
    colour = pixels[:, 12:20, 12:20].astype(float).mean(axis=(1, 2))
    for copy, origin in zip(copies, origins, strict=True):
        distance = np.linalg.norm(colour - copy[12:20, 12:20].mean(axis=(0, 1)), axis=1)
        assert LABELS[int(distance.argmin())] == LABELS[origin]
    changed = np.mean([(copy != pixels[origin]).any() for copy, origin in zip(copies, origins, strict=True)])
    assert changed > 0.9


def test_the_seed_decides_all_of_it() -> None:
    pixels = pictures(LABELS)
    np.random.seed(5)  # noqa: NPY002 - which Augmentor draws its brightness from
    first, origins = balanced_copies(pixels, LABELS, per_class=40, seed=3)
    np.random.seed(6)  # noqa: NPY002
    random.seed(6)
    again, same = balanced_copies(pixels, LABELS, per_class=40, seed=3)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(origins, same)
    other, _ = balanced_copies(pixels, LABELS, per_class=40, seed=4)
    assert (first != other).any()


@pytest.mark.parametrize("broken", [False, True])
def test_the_global_generators_are_left_as_they_were(broken: bool) -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = (random.random(), np.random.random())  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    if broken:
        with pytest.raises(TypeError):
            balanced_copies(pictures(LABELS).astype(complex), LABELS, per_class=9)  # type: ignore[arg-type]
    else:
        balanced_copies(pictures(LABELS), LABELS, per_class=9)
    assert (random.random(), np.random.random()) == expected  # noqa: NPY002


def test_nothing_lacking_is_no_copy() -> None:
    copies, origins = balanced_copies(pictures(LABELS), LABELS, per_class=1)
    assert copies.shape == (0, 32, 32, 3)
    assert origins.shape == (0,)


def test_copies_of_an_odd_shape_keep_it() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 30, 40, 3), dtype=np.uint8)
    assert balanced_copies(pixels, ("MEL", "NV"), per_class=10)[0].shape == (18, 30, 40, 3)


def test_weights_make_every_class_count_the_same() -> None:
    from sklearn.utils.class_weight import compute_sample_weight

    each = class_weights(LABELS)
    assert each == pytest.approx(compute_sample_weight("balanced", LABELS))
    totals = [each[np.asarray(LABELS) == name].sum() for name in sorted(set(LABELS))]
    assert totals == pytest.approx([len(LABELS) / 3] * 3)
    with pytest.raises(InputError, match="no labels"):
        class_weights(())
