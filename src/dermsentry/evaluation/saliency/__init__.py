"""Whether the class activation map falls on the lesion, and depends on what was learned."""
