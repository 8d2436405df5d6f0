"""The worklist: photographs come in, the most worrying stand on top, a dermatologist decides."""
