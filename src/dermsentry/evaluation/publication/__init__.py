"""What a paper needs of a result: tables, figures, how it was run, reporting checklists and a datasheet."""

from dermsentry.evaluation.publication.publish import publish, published_files

__all__ = ["publish", "published_files"]
