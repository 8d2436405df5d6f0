"""A labelled collection, and which of its photographs belong together."""

from dermsentry.collection.table import (
    COLUMNS,
    SPLITS,
    Collection,
    join_collections,
    read_collection,
    read_labels,
)

__all__ = ["COLUMNS", "SPLITS", "Collection", "join_collections", "read_collection", "read_labels"]
