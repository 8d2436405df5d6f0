"""Whether a model's alerts are stable under corruptions and repeat captures."""
