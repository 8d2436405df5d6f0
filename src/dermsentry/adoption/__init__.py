"""A bundle made a site's own: calibrated and with thresholds from its photographs, and what that promises.

`pipeline.adopt` reads and screens photographs; `fitting.propose` alone serves a clinic, whose photographs
were screened before.
"""
