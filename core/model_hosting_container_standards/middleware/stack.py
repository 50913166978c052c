"""Builds customers' middleware and places it in an app."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.types import ASGIApp

from ..asgi.deferred_bootstrap import deferred_bootstrap_of, surround_middleware
from ..asgi.endpoint import describe, unwrap
from ..asgi.errors import InnerApp
from ..exceptions import MiddlewareRegistrationError
from .asgi_class import ASGIMiddleware, InsideBaseHTTP
from .formatters import Formatters
from .function import FunctionMiddleware
from .registry import (
    INPUT_FORMATTER,
    OUTPUT_FORMATTER,
    PRE_POST_PROCESS,
    THROTTLE,
    registration_error,
)
from .resolution import FoundMiddleware


class Layer(msgspec.Struct):
    """Middleware as an ASGI app, and the placeholder for the app inside it."""

    entry: ASGIApp
    inner: InnerApp


class CustomerMiddleware(msgspec.Struct):
    """Customers' middleware outside and inside the app's own middleware."""

    outer: Layer | None
    inner: Layer | None

    def surround(self, app: FastAPI) -> None:
        """Wrap the app when the server starts, or fill a deferred app's placeholders.

        Until the start, an engine may still add middleware of its own.
        """
        placeholders = deferred_bootstrap_of(app)
        if placeholders is None:
            outer, inner = map(_as_middleware, (self.outer, self.inner))
            surround_middleware(app, outer, inner)
            return
        for layer, placeholder in (
            (self.outer, placeholders.outer),
            (self.inner, placeholders.inner),
        ):
            if layer is not None:
                placeholder.app = _connect(layer, placeholder.app)


def make_customer_middleware(
    app: FastAPI,
    found: Mapping[str, FoundMiddleware],
    around_formatters: Callable[[ASGIApp], ASGIApp] | None = None,
) -> CustomerMiddleware:
    """Instantiate the middleware that was found; an error stops the server's start.

    Args:
        around_formatters: wraps the formatters, if there are any.

    Raises:
        MiddlewareError: a class cannot be instantiated, or a function has a signature
            that does not fit.
    """
    if app.middleware_stack is not None and deferred_bootstrap_of(app) is None:
        raise MiddlewareRegistrationError(
            "The app has answered requests before bootstrap(app), so middleware cannot "
            "be put around it: call bootstrap(app) before the server starts."
        )
    return CustomerMiddleware(_make_outer(found), _make_inner(found, around_formatters))


def _make_outer(found: Mapping[str, FoundMiddleware]) -> Layer | None:
    if THROTTLE not in found:
        return None
    inner = InnerApp()
    return Layer(_make(THROTTLE, found[THROTTLE], inner), inner)


def _make_inner(
    found: Mapping[str, FoundMiddleware],
    around_formatters: Callable[[ASGIApp], ASGIApp] | None,
) -> Layer | None:
    inner = InnerApp()
    entry: ASGIApp = inner
    formatters = [_formatter(p, found) for p in (INPUT_FORMATTER, OUTPUT_FORMATTER)]
    if any(formatters):
        entry = Formatters(entry, *formatters)
        if around_formatters is not None:
            entry = around_formatters(entry)
    if PRE_POST_PROCESS in found:
        entry = _make(PRE_POST_PROCESS, found[PRE_POST_PROCESS], entry)
    return None if entry is inner else Layer(entry, inner)


def _formatter(
    place: str, found: Mapping[str, FoundMiddleware]
) -> Callable[..., Any] | None:
    if place not in found:
        return None
    function = _instance(place, found[place])
    _check_arguments(place, found[place], function, "request or response")
    return function


def _make(place: str, found: FoundMiddleware, app: ASGIApp) -> ASGIApp:
    """Return ``app`` wrapped in the middleware."""
    function = found.function
    if (cls := _asgi_class(function)) is not None:
        _check_arguments(place, found, function, "app")
        if issubclass(cls, BaseHTTPMiddleware):
            app = InsideBaseHTTP(app)
        return ASGIMiddleware(_construct(place, found, app))
    function = _instance(place, found)
    _check_arguments(place, found, function, "request", "call_next")
    return FunctionMiddleware(app, function)


def _asgi_class(function: Callable[..., Any]) -> type | None:
    """Return the class if its instances are ASGI apps, otherwise None."""
    cls = unwrap(function)
    if not inspect.isclass(cls):
        return None
    return cls if len(inspect.signature(cls.__call__).parameters) > 3 else None


def _construct(place: str, found: FoundMiddleware, *args: Any) -> Any:
    try:
        return found.function(*args)
    except Exception as error:
        raise registration_error(place)(
            f"{found.source}: {describe(found.function)} cannot be instantiated: "
            f"{type(error).__name__}: {error}"
        ) from error


def _instance(place: str, found: FoundMiddleware) -> Callable[..., Any]:
    """Return the function, or an instance if it is a class."""
    if not inspect.isclass(found.function):
        return found.function
    instance: Callable[..., Any] = _construct(place, found)
    return instance


def _check_arguments(
    place: str, found: FoundMiddleware, function: Callable[..., Any], *names: str
) -> None:
    try:
        inspect.signature(function).bind(*names)
    except TypeError as error:
        raise registration_error(place)(
            f"{found.source}: {describe(function)} is called with "
            f"{' and '.join(names)}, which it does not take: {error}."
        ) from None


def _as_middleware(layer: Layer | None) -> list[Middleware]:
    if layer is None:
        return []

    def connect(app: ASGIApp) -> ASGIApp:
        return _connect(layer, app)

    return [Middleware(connect)]


def _connect(layer: Layer, app: ASGIApp) -> ASGIApp:
    layer.inner.app = app
    return layer.entry
