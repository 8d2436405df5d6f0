"""Who may learn from what: splits by groups, and the folds of a cross-validation."""

from dermsentry.split.folds import Fold, make_folds
from dermsentry.split.make import make_split, random_split
from dermsentry.split.table import (
    APART,
    COLUMNS,
    DOUBTFUL,
    PARTS,
    Split,
    check_split,
    read_split,
    refuse_other_split,
    write_split,
)

__all__ = [
    "APART",
    "COLUMNS",
    "DOUBTFUL",
    "PARTS",
    "Fold",
    "Split",
    "check_split",
    "make_folds",
    "make_split",
    "random_split",
    "read_split",
    "refuse_other_split",
    "write_split",
]
