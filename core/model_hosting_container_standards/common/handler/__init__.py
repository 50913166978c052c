"""Handlers: where they are registered, and which one answers."""

from ...handlers.registry import HandlerRegistry, handler_registry

__all__ = ["HandlerRegistry", "handler_registry"]
