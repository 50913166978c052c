"""Middleware that is an ASGI class."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import answer_error


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
            started = noting.has_started
            await answer_error(error, scope, receive, send, started=started)


class NotingSend:
    """A ``send`` that knows whether a response has begun."""

    __slots__ = ("_send", "has_started")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_started = False

    def __call__(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self.has_started = True
        return self._send(message)
