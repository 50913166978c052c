"""Tracking of the requests in flight."""
