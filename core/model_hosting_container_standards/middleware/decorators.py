"""The decorators by which middleware and formatters are registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..exceptions import MiddlewareRegistrationError
from .registry import INPUT_FORMATTER, MIDDLEWARE, OUTPUT_FORMATTER, middleware_registry

M = TypeVar("M", bound=Callable[..., Any])


def custom_middleware(name: str) -> Callable[[M], M]:
    """Put the decorated middleware around the app; it is returned unchanged.

    ``"throttle"`` is outermost of all; ``"pre_post_process"`` is inside the engine's
    own middleware. It is a function ``(request, call_next)``, sync or async, or an ASGI
    class, made with the app as its only argument. It sees every HTTP request.

    Raises:
        MiddlewareRegistrationError: there is no such name, it is no callable, or there
            is another one already.
    """
    if name not in MIDDLEWARE:
        raise MiddlewareRegistrationError(
            f"There is no middleware {name!r}: use one of {MIDDLEWARE}."
        )

    def decorate(middleware: M) -> M:
        middleware_registry.add(name, middleware)
        return middleware

    return decorate


def input_formatter(func: M) -> M:
    """Let a function see every HTTP request; it is returned unchanged.

    ``fn(request)``, sync or async, may change the request it gets and return nothing,
    or return another request, or a body: bytes, text, or a dict or list for JSON.

    Raises:
        FormatterRegistrationError: it is no callable, or there is another one already.
    """
    middleware_registry.add(INPUT_FORMATTER, func)
    return func


def output_formatter(func: M) -> M:
    """Let a function see every HTTP response; it is returned unchanged.

    ``fn(response)``, sync or async, may change ``status_code``, ``headers`` and
    ``body`` and return nothing, or return another response, or a body as an input
    formatter does. A stream has ``body_iterator`` instead of ``body``: leave it, and
    chunks pass by; assign an iterator, and its chunks are sent; read it to the end and
    assign ``body``, and the response is whole.

    Raises:
        FormatterRegistrationError: it is no callable, or there is another one already.
    """
    middleware_registry.add(OUTPUT_FORMATTER, func)
    return func
