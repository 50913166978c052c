"""Whether the engine works."""
