"""Checks of a request before the app: API key, body size, content encoding."""
