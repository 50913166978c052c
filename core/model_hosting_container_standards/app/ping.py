"""What answers ``/ping``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fastapi import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from .server_runtime import ServerRuntime


class Ping:
    """The ASGI app of ``/ping``: one handler for each method.

    Whoever answers, a server that is shutting down or has no engine is not well.
    """

    def __init__(self, handlers: Mapping[str, ASGIApp], serving: ServerRuntime) -> None:
        self.handlers = handlers
        self.serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if problem := await self.serving.problem():
            raise HTTPException(503, problem)
        await self.handlers[scope["method"]](scope, receive, send)
