"""Predictions against the truth, every figure with its interval.

evaluate(bundle, collection, split)                  # a model bundle on photographs
evaluate_predictions(truth, probability, groups)     # predictions from anywhere
"""

from dermsentry.evaluation.pipeline import evaluate
from dermsentry.evaluation.predictions import evaluate_predictions
from dermsentry.evaluation.results import Evaluation
from dermsentry.stats.intervals import Estimate

__all__ = ["Estimate", "Evaluation", "evaluate", "evaluate_predictions"]
