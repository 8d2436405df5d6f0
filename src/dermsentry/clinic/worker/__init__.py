"""The queue of photographs that wait for the model, and the workers that screen them."""
