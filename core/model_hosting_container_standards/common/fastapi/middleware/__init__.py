"""Middleware and formatters of customers: how they are registered."""

from .decorators import custom_middleware, input_formatter, output_formatter

__all__ = ["custom_middleware", "input_formatter", "output_formatter"]
