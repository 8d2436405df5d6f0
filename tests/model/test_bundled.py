"""The bundle that the package brings: whole, small, quick, what its model card says, and used by default."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dermsentry.diagnoses import CODES
from dermsentry.model import bundled, open_bundle
from dermsentry.model.model_card import model_card
from dermsentry.phantoms import Phantoms, draw_phantom
from dermsentry.screening import screen
from dermsentry.training import train
from dermsentry.training.configuration import Configuration
from dermsentry.training.pretrained import build

ROOT = Path(__file__).resolve().parents[2]


def test_it_opens_and_is_small() -> None:
    bundle = open_bundle()
    assert bundle.folder == bundled()
    assert bundle.card.classes == CODES
    assert not bundle.card.synthetic
    assert sum(file.stat().st_size for file in bundled().iterdir()) <= 16e6


def test_the_model_card_is_the_bundles() -> None:
    assert (ROOT / "MODEL_CARD.md").read_text(encoding="utf-8") == model_card(open_bundle())


def test_its_weights_are_marked_non_commercial() -> None:
    training = open_bundle().card.training
    assert "no commercial use" in training["weights_licence"]
    assert any("HAM10000: CC BY-NC" in licence for licence in training["licences"])


def test_a_photograph_is_screened_with_it_without_naming_it(phantoms: Phantoms) -> None:
    photograph = next(iter(sorted(phantoms.root.rglob("*.jpg"))))
    command = [sys.executable, "-m", "dermsentry.cli", "screen", str(photograph), "--format", "json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    finding = json.loads(ran.stdout)
    assert finding["model"].startswith("dermoscopy ")
    assert sum(finding["probabilities"].values()) == pytest.approx(1, abs=1e-3)


def test_a_network_begins_with_its_weights() -> None:
    size = open_bundle().card.size
    network = build(Configuration(network="lite2", size=size, weights="dermoscopy"))
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    called = np.asarray(network(pixels, training=False)).argmax(axis=1)
    np.testing.assert_array_equal(called, open_bundle().predict(pixels).probability.argmax(axis=1))


def test_a_linear_head_on_it_says_what_it_began_with(phantoms: Phantoms, tmp_path: Path) -> None:
    from dermsentry.collection import read_collection
    from dermsentry.split import make_split

    collection = read_collection(phantoms.root)
    run = train(collection, make_split(collection), tmp_path / "run", size=64, weights="dermoscopy")
    training = open_bundle(run.bundle).card.training
    assert training["configuration"]["weights"] == "dermoscopy"
    assert any("CC BY-NC" in licence for licence in training["licences"])


def test_its_probabilities_on_drawn_images_never_change() -> None:
    """Drawn images say nothing about patients; they show whether decoding, network or calibration changed."""
    golden = json.loads((Path(__file__).parent / "bundled.json").read_text())
    drawn = [draw_phantom(one["code"], one["seed"], (320, 240)) for one in golden]
    for expected, finding in zip(golden, screen(drawn), strict=True):
        assert finding.tier == expected["tier"]
        # 8-bit integers may round otherwise on another processor, as the self-test allows.
        for figure in ("probabilities", "no_lesion", "out_of_distribution"):
            assert getattr(finding, figure) == pytest.approx(expected[figure], abs=0.01)
