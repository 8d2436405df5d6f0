"""From a collection to a model bundle: split, pixels, networks, training, the study and its findings."""
