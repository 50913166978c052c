"""What decorators of ours say about a handler, found again through other decorators."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from ..asgi.endpoint import with_json_request, wrapped_by
from .registry import handler_registry

H = TypeVar("H", bound=Callable[..., Any])


def set_metadata(handler: H, name: str, value: Any) -> H:
    """Return the handler as an endpoint that has an attribute.

    What is registered by a decorator below this one is replaced by what is returned.
    """
    endpoint = with_json_request(handler)
    setattr(endpoint, name, value)
    handler_registry.replace(handler, endpoint)
    return endpoint  # type: ignore[return-value]


def get_metadata(handler: Callable[..., Any] | None, name: str) -> Any:
    """Return the outermost value of the attribute, None if there is none."""
    while handler is not None:
        # Statically: a proxy answers to any name, with another proxy.
        found = inspect.getattr_static(handler, name, None)
        if found is not None:
            return found
        if isinstance(handler, functools.partial):
            handler = handler.func
        else:
            handler = wrapped_by(handler)
    return None
