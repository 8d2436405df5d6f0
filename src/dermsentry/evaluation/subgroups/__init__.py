"""Whether a model serves some patients worse than others."""
