"""Predictions against the truth, every figure with its interval.

evaluate(bundle, collection, split)                  # a model bundle on photographs
evaluate_table("predictions.csv", collection, split) # a table of anyone's predictions
evaluate_predictions(truth, probability, groups)     # predictions from anywhere
"""

from dermsentry.evaluation.pipeline import evaluate, evaluate_table
from dermsentry.evaluation.predictions import evaluate_predictions
from dermsentry.evaluation.results import Evaluation
from dermsentry.stats.intervals import Estimate

__all__ = ["Estimate", "Evaluation", "evaluate", "evaluate_predictions", "evaluate_table"]
