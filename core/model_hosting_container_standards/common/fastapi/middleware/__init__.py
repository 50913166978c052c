"""Middleware and formatters of customers: how they are registered."""

from ....middleware.decorators import (
    custom_middleware,
    input_formatter,
    output_formatter,
)
from ....middleware.registry import middleware_registry

__all__ = [
    "custom_middleware",
    "input_formatter",
    "middleware_registry",
    "output_formatter",
]
