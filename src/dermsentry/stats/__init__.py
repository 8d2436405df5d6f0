"""Metrics, intervals, resampling and calibration, in NumPy and SciPy: no photographs, no networks."""
