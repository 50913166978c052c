"""Customers' middleware and formatters."""
