"""Screen new images with a model bundle: an alert tier for each, why, and the files that say so."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dermsentry.screening.cluster import screen_dataset, screen_on_cluster
    from dermsentry.screening.finding import Finding
    from dermsentry.screening.partitions import Manifest
    from dermsentry.screening.pipeline import iter_screen, screen

__all__ = [
    "Finding",
    "Manifest",
    "iter_screen",
    "screen",
    "screen_dataset",
    "screen_on_cluster",
]

_FROM = {
    "Finding": "finding",
    "Manifest": "partitions",
    "iter_screen": "pipeline",
    "screen": "pipeline",
    "screen_dataset": "cluster",
    "screen_on_cluster": "cluster",
}


def __getattr__(name: str) -> Any:
    """A name is imported when it is first used: a guarded process needs few, and Windows has not all."""
    if name in _FROM:
        return getattr(import_module(f"{__name__}.{_FROM[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
