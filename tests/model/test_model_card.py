from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bundles import FLAGGING, REFUSING, tiny_bundle
from dermsentry.model import Bundle
from dermsentry.model.model_card import WIDTH, model_card


def figure(value: float, wide: float = 0.03) -> dict[str, float]:
    return {"value": value, "low": value - wide, "high": value + wide}


EVALUATION: dict[str, Any] = {
    "held-out lesions": {
        "photographs": 1480,
        "melanomas": 61,
        "melanoma_roc_auc": figure(0.912),
        "sensitivity": figure(0.934),
        "calibration_error": figure(0.041),
        "alerts_per_melanoma": {"value": 4.2, "low": 3.1, "high": 5.9},
        "by sex": {"female": {"melanomas": 30, "sensitivity": figure(0.9)}, "male": None},
    },
    "targets": [{"target": "AUROC of at least 0.9", "reached": figure(0.912), "met": True}],
    "shortcuts": [{"told": "the set", "balanced_accuracy": 0.6123, "chance": 0.5}],
    "calibration": [{"method": "temperature", "folds": 5, "log_loss": figure(0.61), "chosen": False}],
    "experiments": {"linear": {"roc_auc": figure(0.85)}, "cnn": {"roc_auc": None}},
    "failures": ["Melanomas without pigment: 3 of 7 were missed."],
    "classes": ["AK", "MEL"],
}
TRAINING: dict[str, Any] = {
    "fingerprint": "ab" * 32,
    "split_fingerprint": "cd" * 32,
    "photographs": {"train": 404, "validation": 33},
    "photographs_by_diagnosis": {
        "train": {"NV": 300, "MEL": 100, "PBK|SK": 4},
        "validation": {"MEL": 33},
    },
    "licences": ["HAM10000: CC BY-NC 4.0", "ISIC 2017: CC0"],
    "weights_licence": "CC BY-NC 4.0",
    "synthetic": False,
    "configuration": {"network": "lite0", "seed": 7, "phases": [{"epochs": 2, "size": 128}]},
    "versions": {"numpy": "2.4", "dermsentry": "0.1.0"},
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("card") / "bundle"
    return tiny_bundle(
        folder, evaluation=EVALUATION, training=TRAINING, no_lesion=REFUSING, out_of_distribution=FLAGGING
    )


def with_card(bundle: Bundle, **fields: Any) -> Bundle:
    return replace(bundle, card=replace(bundle.card, **fields))


class _Shape(HTMLParser):
    """Headings, the cells of each table by row, and every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[int]] = []
        self.headings: list[str] = []
        self.tags: set[str] = set()
        self._heading = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append(0)
        elif tag in ("td", "th"):
            self.tables[-1][-1] += 1
        elif tag in ("h1", "h2", "h3"):
            self._heading = True
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("h1", "h2", "h3"):
            self._heading = False

    def handle_data(self, data: str) -> None:
        if self._heading:
            self.headings[-1] += data


def shape(text: str) -> _Shape:
    found = _Shape()
    found.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))
    return found


def test_everything_that_the_card_says_is_there(bundle: Bundle) -> None:
    text = model_card(bundle)
    for words in (
        "# Model card: tiny",
        bundle.card.digest,
        "1,480 photographs, 61 melanomas",
        "| melanoma AUROC | 0.912 (0.882–0.942) |",
        "| sensitivity | 93.4 % (90.4–96.4) |",
        "| calibration error | 4.1 % (1.1–7.1) |",
        "| alerts per melanoma | 4.200 (3.100–5.900) |",
        "| by sex, female, sensitivity | 90.0 % (87.0–93.0) |",
        "| AUROC of at least 0.9 | 91.2 % (88.2–94.2) | yes |",
        "| the set | 0.612 | 0.5 |",
        "| temperature | 5 | 0.610 (0.580–0.640) | no |",
        "| linear | 0.850 (0.820–0.880) |",
        "- Melanomas without pigment: 3 of 7 were missed.",
        "| melanoma (MEL) | 100 | 33 |",
        r"| pigmented benign keratosis or seborrheic keratosis (PBK\|SK) | 4 | 0 |",
        "| seed | 7 |",
        "epochs: 2; size: 128",
        "- **Non-commercial.** HAM10000: CC BY-NC 4.0",
        "- ISIC 2017: CC0",
        "Weights: **Non-commercial.** CC BY-NC 4.0.",
        "| alert | 50.0 % | 80 % | 94.0 % (85.0–98.0) | calibration |",
        "| refer | 20.0 % | 95 % | not measured | calibration |",
        "0.5 % of 300",
        "not a medical device",
    ):
        assert words in text
    assert "synthetic images" not in text


def test_it_is_markdown_whose_tables_hold(bundle: Bundle) -> None:
    text = model_card(bundle)
    found = shape(text)
    assert len(found.tables) == text.count("\n| ---")
    assert all(len(set(rows)) == 1 for rows in found.tables)
    assert all(len(line) <= WIDTH for line in text.splitlines() if not line.startswith(("|", "#")))
    assert found.headings[1:] == [
        "The model",
        "Intended use",
        "Not intended for",
        "Who should not rely on it",
        "How it was made",
        "Data",
        "Thresholds",
        "Figures",
        "Held-out lesions",
        "Targets, and whether they were reached",
        "Calibration methods that were compared",
        "Shortcuts that were tested for",
        "Experiments that led to it",
        "Images that it refuses",
        "Known failures",
        "Licence",
    ]
    assert not re.search(r"\n{3,}", text)
    assert text.endswith("\n")


def test_what_is_missing_is_said(bundle: Bundle) -> None:
    training = {k: v for k, v in TRAINING.items() if k not in ("weights_licence", "photographs_by_diagnosis")}
    bare = {**training, "synthetic": True, "licences": [], "configuration": {}, "versions": {}}
    bare.pop("photographs")
    text = model_card(
        with_card(bundle, evaluation={}, training=bare, no_lesion=None, out_of_distribution=None)
    )
    for words in (
        "synthetic images",
        "Nothing was measured.",
        "None is recorded, which does not mean that there are none.",
        "The number of photographs is not stated.",
        "No licence of the data is stated.",
        "no licence is stated",
        "it has no such score",
        "| seed | not stated |",
        "versions that are not stated",
    ):
        assert words in text
    shape(text)


def test_a_card_from_outside_cannot_break_the_page(bundle: Bundle) -> None:
    nasty = "<script>alert(1)</script> | x | [a](http://b) `c` **d**\n# e"
    evaluation = {nasty: {nasty: figure(0.5)}, "failures": [nasty], "targets": [{nasty: nasty}]}
    training = {**TRAINING, "licences": [nasty], "configuration": {nasty: nasty}, "weights_licence": nasty}
    found = shape(model_card(with_card(bundle, name=nasty, evaluation=evaluation, training=training)))
    plain = shape(model_card(bundle))
    assert "script" not in found.tags
    assert found.tags <= plain.tags
    assert all(len(set(rows)) == 1 for rows in found.tables)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**6) | st.floats(-5, 5) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["value", "low", "high", "a", "b_c", "|"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.sampled_from(["x", "targets", "shortcuts", "failures", "experiments"]), _VALUES))
def test_any_evaluation_gives_a_page(bundle: Bundle, evaluation: dict[str, Any]) -> None:
    found = shape(model_card(with_card(bundle, evaluation=evaluation)))
    assert found.headings[-1] == "Licence"
    assert all(len(set(rows)) == 1 for rows in found.tables)
