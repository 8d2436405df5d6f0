"""Which cases raise an alert, and the messages about it."""
