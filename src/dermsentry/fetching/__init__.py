"""Sets of photographs rebuilt from the ISIC Archive: by id, whole, with their licences and present labels."""

from dermsentry.fetching.changes import Change
from dermsentry.fetching.pipeline import Fetched, fetch

__all__ = ["Change", "Fetched", "fetch"]
