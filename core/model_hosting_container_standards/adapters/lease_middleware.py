"""Leases of adapters that last until the HTTP request that took them ends."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from .request_leases import CURRENT, RequestLeases
from .runtime import AdapterRuntime


class LeaseMiddleware:
    """Gives each HTTP request its own leases, on a server that has adapters.

    ``__call__`` is not a coroutine function, so that requests to a server without
    adapters do not pay for an additional coroutine.
    """

    def __init__(self, app: ASGIApp, runtime: AdapterRuntime) -> None:
        self.app = app
        self.runtime = runtime

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        adapters = self.runtime.current
        if adapters is None or scope["type"] != "http":
            return self.app(scope, receive, send)
        return self._answer(RequestLeases(adapters.leases), scope, receive, send)

    async def _answer(
        self, leases: RequestLeases, scope: Scope, receive: Receive, send: Send
    ) -> None:
        token = CURRENT.set(leases)
        try:
            await self.app(scope, receive, send)
        finally:
            CURRENT.reset(token)
            leases.release()
