"""Lets ``/ping`` pass SGLang's check of API keys: SageMaker sends no key."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Sequence
from typing import Any, Final

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

#: The name of the routes that ``bootstrap`` adds for ``/ping`` and its aliases.
_ROUTE_NAME: Final = "sagemaker_ping"


class ExceptPing:
    """Middleware that applies another middleware to every path but those of ``/ping``.

    Args:
        middleware: the other one.
        paths: ``/ping`` and its aliases.
    """

    def __init__(
        self, app: ASGIApp, middleware: Middleware, paths: Collection[str]
    ) -> None:
        self.app = app
        self.paths = paths
        self.guarded = _wrap(app, middleware)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        app = self.app if scope.get("path") in self.paths else self.guarded
        return app(scope, receive, send)


def _wrap(app: ASGIApp, middleware: Middleware) -> ASGIApp:
    kind: Any = middleware.cls
    args: Sequence[Any] = getattr(middleware, "args", ())
    wrapped: ASGIApp = kind(app, *args, **middleware.kwargs)
    return wrapped


def exempt_ping(app: FastAPI, before: Sequence[Middleware]) -> None:
    """Exempt ``/ping`` from the middleware that was added since ``before``."""
    routes = (route for route in app.routes if isinstance(route, Route))
    paths = {route.path for route in routes if route.name == _ROUTE_NAME}
    app.user_middleware = [
        middleware
        if any(middleware is known for known in before)
        else Middleware(ExceptPing, middleware=middleware, paths={"/ping", *paths})
        for middleware in app.user_middleware
    ]
