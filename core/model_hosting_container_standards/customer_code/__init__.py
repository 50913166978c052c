"""Customers' Python: references to it, scripts, and names that moved."""
