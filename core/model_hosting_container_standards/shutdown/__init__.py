"""The end of a server, which finishes its requests."""
