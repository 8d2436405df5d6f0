"""A labelled collection, and which of its photographs belong together."""

from dermsentry.collection.joins import join_collections
from dermsentry.collection.labels import read_labels
from dermsentry.collection.layouts import read_collection
from dermsentry.collection.table import COLUMNS, SPLITS, Collection

__all__ = ["COLUMNS", "SPLITS", "Collection", "join_collections", "read_collection", "read_labels"]
