"""Middleware that is an ASGI class."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import NotingSend, answer_error


class ASGIMiddleware:
    """Calls an instance of a customer's class, and answers what it raises."""

    def __init__(self, middleware: ASGIApp) -> None:
        self.middleware = middleware

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.middleware(scope, receive, send)
            return
        noting = NotingSend(send)
        try:
            await self.middleware(scope, receive, noting)
        except Exception as error:  # noqa: BLE001 - customers raise anything
            await answer_error(error, scope, receive, noting)
