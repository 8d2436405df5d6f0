"""The model bundle: its network, its card, and the card as a page to read."""

from dermsentry.model.bundle import (
    BUNDLED,
    CARD_FILE,
    LEARNED_FILE,
    MODEL_FILE,
    OUTPUTS,
    PAGES,
    Bundle,
    Outputs,
    bundled,
    open_bundle,
    read_hashes,
    read_network,
    require_place,
    self_test_picture,
    write_again,
    write_bundle,
)
from dermsentry.model.card import Adopted, Card, OutOfDistribution, Promise, SelfTest, Threshold
from dermsentry.model.learned_from import LearnedFrom

__all__ = [
    "BUNDLED",
    "CARD_FILE",
    "LEARNED_FILE",
    "MODEL_FILE",
    "OUTPUTS",
    "PAGES",
    "Adopted",
    "Bundle",
    "Card",
    "LearnedFrom",
    "OutOfDistribution",
    "Outputs",
    "Promise",
    "SelfTest",
    "Threshold",
    "bundled",
    "open_bundle",
    "read_hashes",
    "read_network",
    "require_place",
    "self_test_picture",
    "write_again",
    "write_bundle",
]
