"""Lets ``/ping`` pass SGLang's check of API keys: SageMaker sends no key."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Final

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

_PING: Final = "/ping"


class ExceptPing:
    """Middleware that applies another middleware to every path but ``/ping``.

    Args:
        middleware: the other one.
    """

    def __init__(self, app: ASGIApp, middleware: Middleware) -> None:
        self.app = app
        self.guarded = _wrap(app, middleware)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        app = self.app if scope.get("path") == _PING else self.guarded
        return app(scope, receive, send)


def _wrap(app: ASGIApp, middleware: Middleware) -> ASGIApp:
    kind: Any = middleware.cls
    args: Sequence[Any] = getattr(middleware, "args", ())
    wrapped: ASGIApp = kind(app, *args, **middleware.kwargs)
    return wrapped


def exempt_ping(app: FastAPI, before: Sequence[Middleware]) -> None:
    """Exempt ``/ping`` from the middleware that was added since ``before``."""
    app.user_middleware = [
        middleware
        if any(middleware is known for known in before)
        else Middleware(ExceptPing, middleware=middleware)
        for middleware in app.user_middleware
    ]
