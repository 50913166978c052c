"""Decorators that register a handler and return it unchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from ..contract.routes import INVOKE, PING
from .registry import handler_registry

H = TypeVar("H", bound=Callable[..., Any])

HANDLER_NAMES: Final = (PING, INVOKE)


def override_handler(name: str) -> Callable[[H], H]:
    """Register a customer's handler for ``"ping"`` or ``"invoke"``.

    Raises:
        ValueError: the name is neither of these.
    """
    return _make_decorator(name, handler_registry.set_customer)


def register_handler(name: str) -> Callable[[H], H]:
    """Register a framework's handler for ``"ping"`` or ``"invoke"``.

    Raises:
        ValueError: the name is neither of these.
    """
    return _make_decorator(name, handler_registry.add_framework)


def _make_decorator(
    name: str, register: Callable[[str, Callable[..., Any]], None]
) -> Callable[[H], H]:
    if name not in HANDLER_NAMES:
        raise ValueError(f"Unknown handler {name!r}: use one of {HANDLER_NAMES}.")

    def decorate(handler: H) -> H:
        register(name, handler)
        return handler

    return decorate
