"""Dermsentry: melanoma alerts from skin photographs, and the honest numbers behind them.

Research software, not a medical device.

The stages, each usable alone from the files of the one before:

    collection = dermsentry.read_collection("photographs/")      # one row per photograph
    audit = dermsentry.audit_collection(collection)              # what is wrong with it
    split = dermsentry.make_split(collection)                    # honest parts: lesions stay together
    run = dermsentry.train(collection, split, "runs/first")      # a network, and a bundle of it
    dermsentry.evaluate(run.bundle, collection, split)           # figures with intervals
    dermsentry.screen(["new/"], "runs/first/bundle")             # alerts

Nothing heavy is imported until it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dermsentry._version import __version__ as __version__

_HOME = {
    "Collection": "dermsentry.collection",
    "read_collection": "dermsentry.collection",
    "join_collections": "dermsentry.collection",
    "read_labels": "dermsentry.collection",
    "Audit": "dermsentry.audit",
    "audit_collection": "dermsentry.audit",
    "make_split": "dermsentry.split",
    "read_split": "dermsentry.split",
    "train": "dermsentry.training.pipeline",
    "study": "dermsentry.nine_class.study",
    "Bundle": "dermsentry.model",
    "open_bundle": "dermsentry.model",
    "evaluate": "dermsentry.evaluation",
    "screen": "dermsentry.screening",
    "draw_phantoms": "dermsentry.phantoms",
    "DermsentryError": "dermsentry.errors",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from dermsentry.collection import Collection as Collection
    from dermsentry.collection import join_collections as join_collections
    from dermsentry.collection import read_collection as read_collection
    from dermsentry.collection import read_labels as read_labels
    from dermsentry.errors import DermsentryError as DermsentryError


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dermsentry' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
