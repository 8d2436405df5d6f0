"""The judge: predictions against truth, every figure with its interval.

evaluate(bundle, collection, split)                  # a model bundle on photographs
evaluate_predictions(truth, probability, groups)     # predictions from anywhere
"""

from dermsentry.judge.bundles import evaluate
from dermsentry.judge.evaluation import evaluate_predictions
from dermsentry.judge.figures import Evaluation
from dermsentry.judge.intervals import Interval

__all__ = ["Evaluation", "Interval", "evaluate", "evaluate_predictions"]
