"""The model bundle: its network, its card, and the card as a page to read."""

from dermsentry.model.bundle import (
    BUNDLED,
    CARD_FILE,
    LEARNED_FILE,
    MODEL_FILE,
    OUTPUTS,
    Bundle,
    Outputs,
    bundled,
    open_bundle,
    read_network,
    self_test_picture,
    write_bundle,
)
from dermsentry.model.card import Card, NoLesion, OutOfDistribution, SelfTest, Threshold
from dermsentry.model.learned_from import LearnedFrom

__all__ = [
    "BUNDLED",
    "CARD_FILE",
    "LEARNED_FILE",
    "MODEL_FILE",
    "OUTPUTS",
    "Bundle",
    "Card",
    "LearnedFrom",
    "NoLesion",
    "OutOfDistribution",
    "Outputs",
    "SelfTest",
    "Threshold",
    "bundled",
    "open_bundle",
    "read_network",
    "self_test_picture",
    "write_bundle",
]
