"""The ``/ping`` route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fastapi import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from .server_runtime import ServerRuntime


class Ping:
    """The ASGI app of ``/ping``: a 503 during a shutdown or if the engine is unhealthy.

    Args:
        handlers: what answers otherwise, by method.
    """

    def __init__(self, handlers: Mapping[str, ASGIApp], runtime: ServerRuntime) -> None:
        self.handlers = handlers
        self.runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if problem := await self.runtime.problem():
            raise HTTPException(503, problem)
        await self.handlers[scope["method"]](scope, receive, send)
