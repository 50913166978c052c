"""What answers ``/ping``."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send


class Ping:
    """The ASGI app of ``/ping``: one handler for each method."""

    def __init__(self, handlers: Mapping[str, ASGIApp]) -> None:
        self.handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.handlers[scope["method"]](scope, receive, send)
