"""A path of 0.1.x, for what imports from it."""
