"""Melanoma alerts from skin photographs: audit a collection, split it, train, evaluate, screen.

Research software, not a medical device.

The stages, each usable alone from the files of the one before:

    dermsentry.fetch("isic9", "photographs/")                    # a set, from the ISIC Archive
    collection = dermsentry.read_collection("photographs/")      # one row per image
    audit = dermsentry.audit_collection(collection)              # what is wrong with it
    split = dermsentry.make_split(collection)                    # images of a lesion stay together
    run = dermsentry.train(collection, split, "runs/first")      # a network, and a bundle of it
    dermsentry.evaluate(run.bundle, collection, split)           # figures with intervals
    dermsentry.screen("new/", "runs/first/bundle")               # alerts
    dermsentry.adopt("runs/first/bundle", "clinic/", labels="histology.csv", out="site/")  # for one clinic

Names are imported when they are first used (SPEC 1). What is not in `dermsentry.__all__` is internal.
"""

import lazy_loader

from dermsentry.errors import missing_extra

_get, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    try:
        return _get(name)
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error
