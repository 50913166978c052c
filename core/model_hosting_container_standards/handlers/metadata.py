"""Attributes that our decorators set on a handler, found through other decorators."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from ..asgi.endpoint import with_json_request, wrapped_by
from .registry import handler_registry

H = TypeVar("H", bound=Callable[..., Any])


def set_metadata(handler: H, name: str, value: Any) -> H:
    """Wrap the handler as an endpoint, with an attribute set on it.

    A registration of the handler by an inner decorator is updated to the endpoint.
    """
    endpoint = with_json_request(handler)
    setattr(endpoint, name, value)
    handler_registry.replace(handler, endpoint)
    return endpoint  # type: ignore[return-value]


def get_metadata(handler: Callable[..., Any] | None, name: str) -> Any:
    """Return the attribute of the outermost wrapper that has it; None if none has."""
    while handler is not None:
        # Statically, as a proxy object has every attribute.
        value = inspect.getattr_static(handler, name, None)
        if value is not None:
            return value
        if isinstance(handler, functools.partial):
            handler = handler.func
        else:
            handler = wrapped_by(handler)
    return None
