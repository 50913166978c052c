"""Sticky sessions."""
