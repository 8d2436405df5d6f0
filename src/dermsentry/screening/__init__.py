"""Screen new images with a model bundle: an alert tier for each, why, and the files that say so."""

from typing import TYPE_CHECKING, Any

from dermsentry.screening.finding import Finding
from dermsentry.screening.pipeline import iter_screen, screen

if TYPE_CHECKING:
    from dermsentry.screening.cluster import screen_dataset, screen_on_cluster
    from dermsentry.screening.partitions import Manifest

__all__ = ["Finding", "Manifest", "iter_screen", "screen", "screen_dataset", "screen_on_cluster"]


def __getattr__(name: str) -> Any:
    """What is for many machines, and for Linux and macOS alone, is imported when it is first used."""
    if name in ("Manifest", "screen_dataset", "screen_on_cluster"):
        from dermsentry.screening import cluster

        return getattr(cluster, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
