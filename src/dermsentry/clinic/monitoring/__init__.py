"""How readers and the model do in this clinic: performance, outcomes, drift."""
