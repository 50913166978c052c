"""The requests that a server is answering: counted, refused at its end, cut short."""

from __future__ import annotations

import asyncio
from functools import partial
from time import monotonic
from typing import Final

from fastapi import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from ...common.fastapi.middleware.errors import refuse
from .exchange import Exchange

#: What only looks.
_HARMLESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: How long those that are cut short have for a last word, in seconds.
_LAST_WORD_S: Final = 1.0


class Traffic:
    """The outermost ASGI app of a server.

    Requests that make it work are those but for ``GET``, ``HEAD`` and ``/ping``.
    """

    #: What is inside it, known once the server starts.
    app: ASGIApp

    def __init__(self) -> None:
        #: Why nothing new is answered any more.
        self.closed: str | None = None
        self._open: dict[Exchange, None] = {}
        self._progress = 0.0
        self._emptied: asyncio.Future[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _HARMLESS or _is_ping(scope):
            await self.app(scope, receive, send)
            return
        if self.closed is not None:
            await refuse(_unavailable(self.closed), scope, receive, send)
            return
        exchange = Exchange(send)
        self._open[exchange] = None
        try:
            try:
                await self.app(scope, receive, exchange.send)
            except asyncio.CancelledError:
                if not exchange.is_cut:
                    raise
            if exchange.is_cut:
                await self._end(exchange, scope, receive, send)
        finally:
            self._close(exchange)

    async def _end(
        self, exchange: Exchange, scope: Scope, receive: Receive, send: Send
    ) -> None:
        reason = self.closed or ""
        error = _unavailable(reason)
        await exchange.end(partial(refuse, error, scope, receive, send), reason)

    def _close(self, exchange: Exchange) -> None:
        del self._open[exchange]
        if exchange.progress > self._progress:
            self._progress = exchange.progress
        if self._emptied is not None and not self._open:
            self._emptied.set_result(None)
            self._emptied = None

    def note_progress(self) -> None:
        """Note that the engine has worked."""
        self._progress = monotonic()

    def silence(self) -> float:
        """Return for how many seconds requests have waited and nothing came of any."""
        if not self._open:
            return 0.0
        began = next(iter(self._open)).started
        progress = max(exchange.progress for exchange in self._open)
        return monotonic() - max(began, progress, self._progress)

    async def run_out(self, seconds: float) -> None:
        """Wait until nothing is being answered any more, but no longer than that."""
        if self._open:
            self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._emptied], timeout=max(0.0, seconds))

    async def cut(self) -> None:
        """End what is still being answered."""
        for exchange in self._open:
            exchange.cut()
        await self.run_out(_LAST_WORD_S)


def _is_ping(scope: Scope) -> bool:
    path: str = scope["path"]
    return path == scope.get("root_path", "") + "/ping" or path == "/ping"


def _unavailable(reason: str) -> HTTPException:
    return HTTPException(503, reason, {"Retry-After": "1"})
