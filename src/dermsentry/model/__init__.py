"""The model bundle: its network, its card, and the card as a page to read."""

from dermsentry.model.bundle import (
    BUNDLED,
    CARD_FILE,
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

__all__ = [
    "BUNDLED",
    "CARD_FILE",
    "MODEL_FILE",
    "OUTPUTS",
    "Bundle",
    "Card",
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
