"""Screen new images with a model bundle: an alert tier for each, why, and the files that say so."""

from dermsentry.screening.finding import Finding
from dermsentry.screening.pipeline import iter_screen, screen

__all__ = ["Finding", "iter_screen", "screen"]
