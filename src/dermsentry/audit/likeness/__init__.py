"""Whether two photographs are one: what is their content, what is distinctive in it, and if it agrees."""
