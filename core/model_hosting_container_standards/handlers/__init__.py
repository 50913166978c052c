"""Handlers of customers, frameworks and engines."""
