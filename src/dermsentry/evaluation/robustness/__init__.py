"""Whether alerts hold when a photograph is worse, or is taken again."""
