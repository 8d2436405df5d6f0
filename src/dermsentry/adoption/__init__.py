"""A bundle made a site's own: calibrated and with thresholds from its photographs, and what that promises.

adopt(bundle, "photographs/", labels="histology.csv", out="site-bundle/")
"""

from dermsentry.adoption.pipeline import adopt
from dermsentry.adoption.results import Adoption

__all__ = ["Adoption", "adopt"]
