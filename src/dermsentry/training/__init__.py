"""From a collection and its split to a model bundle: train, calibrate, export."""

from __future__ import annotations

import os

# Both are read when Keras and TensorFlow are first imported, which the modules below do.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
