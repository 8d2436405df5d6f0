"""What cross-validation says of a way to train: figures on what each training left out."""

from dermsentry.evaluation.cross_validation.results import CrossValidation, FoldFigures, FoldResult, FoldRun

__all__ = ["CrossValidation", "FoldFigures", "FoldResult", "FoldRun"]
