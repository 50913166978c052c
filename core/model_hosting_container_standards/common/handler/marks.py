"""What decorators of ours say about a handler, found again through other decorators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..fastapi.endpoint import with_json_request
from .registry import handler_registry

H = TypeVar("H", bound=Callable[..., Any])


def mark(handler: H, name: str, value: Any) -> H:
    """Return the handler as an endpoint that has an attribute.

    What is registered by a decorator below this one is replaced by what is returned.
    """
    endpoint = with_json_request(handler)
    setattr(endpoint, name, value)
    handler_registry.replace(handler, endpoint)
    return endpoint  # type: ignore[return-value]


def find_mark(handler: Callable[..., Any] | None, name: str) -> Any:
    """Return the outermost value of the attribute, None if there is none."""
    while handler is not None:
        if hasattr(handler, name):
            return getattr(handler, name)
        handler = getattr(handler, "func", None) or getattr(
            handler, "__wrapped__", None
        )
    return None
