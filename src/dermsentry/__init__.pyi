# The public API: `__init__.py` reads at run time which module each name comes from, type checkers its type.

from ._version import __version__
from .adoption.pipeline import adopt
from .adoption.results import Adoption
from .audit import Audit, audit_collection
from .audit.decisions import Decision, read_decisions
from .collection import Collection, join_collections, read_collection, read_labels
from .errors import ArchiveError, BundleError, DermsentryError, InputError, OutputError, TrainingError
from .evaluation import Estimate, Evaluation, evaluate, evaluate_table
from .evaluation.any_model import predict_table
from .evaluation.content import audit_content
from .evaluation.cross_validation import CrossValidation
from .evaluation.model_comparison import ModelDifference, compare_models
from .evaluation.publication import publish
from .evaluation.written import read_evaluations
from .fetching import Change, Fetched, fetch
from .model import Bundle, open_bundle
from .nine_class.pipeline import study
from .nine_class.results import Study
from .phantoms import Phantoms, draw_phantoms
from .screening import (
    Finding,
    Manifest,
    iter_screen,
    screen,
    screen_dataset,
    screen_on_cluster,
)
from .split import Fold, Split, make_folds, make_split, read_split
from .training import Run, train
from .training.cross_validation import cross_validate

__all__ = [
    "Adoption",
    "ArchiveError",
    "Audit",
    "Bundle",
    "BundleError",
    "Change",
    "Collection",
    "CrossValidation",
    "Decision",
    "DermsentryError",
    "Estimate",
    "Evaluation",
    "Fetched",
    "Finding",
    "Fold",
    "InputError",
    "Manifest",
    "ModelDifference",
    "OutputError",
    "Phantoms",
    "Run",
    "Split",
    "Study",
    "TrainingError",
    "__version__",
    "adopt",
    "audit_collection",
    "audit_content",
    "compare_models",
    "cross_validate",
    "draw_phantoms",
    "evaluate",
    "evaluate_table",
    "fetch",
    "iter_screen",
    "join_collections",
    "make_folds",
    "make_split",
    "open_bundle",
    "predict_table",
    "publish",
    "read_collection",
    "read_decisions",
    "read_evaluations",
    "read_labels",
    "read_split",
    "screen",
    "screen_dataset",
    "screen_on_cluster",
    "study",
    "train",
]
