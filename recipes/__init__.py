"""Recipes: how what Dermsentry ships is made. Not installed."""
