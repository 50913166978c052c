"""Decorators that register middleware and formatters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..exceptions import MiddlewareRegistrationError
from .registry import INPUT_FORMATTER, MIDDLEWARE, OUTPUT_FORMATTER, middleware_registry

M = TypeVar("M", bound=Callable[..., Any])


def custom_middleware(name: str) -> Callable[[M], M]:
    """Register the decorated middleware and return it unchanged.

    ``"throttle"`` is the outermost middleware; ``"pre_post_process"`` runs inside the
    engine's own middleware. The middleware is a function ``(request, call_next)``, sync
    or async, or an ASGI class that takes the app as its only argument. It is called
    for every HTTP request.

    Raises:
        MiddlewareRegistrationError: ``name`` is unknown, the middleware is not a
            callable, or another one is registered under this name.
    """
    if name not in MIDDLEWARE:
        raise MiddlewareRegistrationError(
            f"Unknown middleware {name!r}: use one of {MIDDLEWARE}."
        )

    def decorate(middleware: M) -> M:
        middleware_registry.add(name, middleware)
        return middleware

    return decorate


def input_formatter(func: M) -> M:
    """Register a function that is called with every HTTP request; return it unchanged.

    ``fn(request)``, sync or async, changes the request in place and returns nothing,
    or returns another request, or a body: bytes, text, or a dict or list for JSON. If
    it returns a response, that is the answer, and the app is not called.

    Raises:
        FormatterRegistrationError: ``func`` is not a callable, or another input
            formatter is registered.
    """
    middleware_registry.add(INPUT_FORMATTER, func)
    return func


def output_formatter(func: M) -> M:
    """Register a function that is called with every HTTP response; return it unchanged.

    ``fn(response)``, sync or async, changes ``status_code``, ``headers`` and ``body``
    in place and returns nothing, or returns another response, or a body as an input
    formatter does. A stream has ``body_iterator`` instead of ``body``: if it is left
    alone, chunks are sent unchanged; if another iterator is assigned, that one's chunks
    are sent; to send one complete response, read it to the end and assign ``body``.

    Raises:
        FormatterRegistrationError: ``func`` is not a callable, or another output
            formatter is registered.
    """
    middleware_registry.add(OUTPUT_FORMATTER, func)
    return func
