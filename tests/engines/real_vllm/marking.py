"""Middleware for ``--middleware`` that marks every response."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Marking:
    """Adds a header with the name of the class."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def mark(message: Message) -> None:
            if message["type"] == "http.response.start":
                name = f"x-{type(self).__name__}".lower().encode()
                message["headers"] = [*message["headers"], (name, b"yes")]
            await send(message)

        await self.app(scope, receive, mark)


class Second(Marking):
    """A second one, with a header of its own."""
