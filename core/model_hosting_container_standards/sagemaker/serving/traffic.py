"""Every request: its id, its place in the numbers, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Final

from fastapi import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from ...common.fastapi.middleware.errors import refuse
from ...request_id import REQUEST_ID, X_REQUEST_ID, choose_id, new_id
from ..operations.paths import OTHER, PING, route_of
from ..operations.request_metrics import REQUESTS, Series
from .exchange import Exchange

#: What only looks.
_HARMLESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_METHODS: Final = _HARMLESS | {"DELETE", "PATCH", "POST", "PUT"}
_HEX_DIGITS: Final = 4
#: How long those that are cut short have for a last word, in seconds.
_LAST_WORD_S: Final = 1.0


class Traffic:
    """The outermost layer of an app, and one alone, as all requests pay for it.

    The id of a request is :data:`REQUEST_ID` for our own logs, ``X-Request-Id`` in the
    response and for the engine. Engines take it for the id of a generation, which must
    be unique while it runs: who has the id of another request that runs, as a client's
    second try has, is told apart by some digits more.

    All but ``/ping`` are waited for at the server's end, and cut short at the last.
    Once it is closed, new ones are refused, but for those that only look.

    Args:
        routes: labels of paths, see :func:`known_routes`.
    """

    #: What is inside it, known once the server starts.
    app: ASGIApp

    def __init__(self, routes: Mapping[str, str]) -> None:
        #: Why nothing new is answered any more.
        self.closed: str | None = None
        self._routes = routes
        #: By what the engine calls them.
        self._open: dict[bytes, Exchange] = {}
        self._progress = 0.0
        self._emptied: asyncio.Future[None] | None = None
        self._series: dict[tuple[str, str, int], Series] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Long, as each function more that is called would be a part of what it costs.
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method = scope["method"]
        route = self._routes.get(scope["path"]) or route_of(scope, self._routes)
        known = dict(scope["headers"])
        request_id = own_id = choose_id(known)
        is_open, works = route != PING, method not in _HARMLESS
        exchange = Exchange(request_id, send, works=works)
        if is_open:
            if own_id in self._open:
                own_id = own_id + b"-" + new_id(_HEX_DIGITS)
            self._open[own_id] = exchange
        _replace_id(scope, known, own_id)
        token = REQUEST_ID.set(request_id.decode())
        REQUESTS.begin()
        try:
            if is_open and works and self.closed is not None:
                await refuse(_unavailable(self.closed), scope, receive, exchange.send)
            else:
                await self._pass_on(exchange, scope, receive)
        except ClientDisconnect:
            raise
        except Exception:
            exchange.status = 500
            raise
        finally:
            REQUESTS.end()
            REQUEST_ID.reset(token)
            if is_open:
                self._close(own_id, exchange)
            key = route, method, exchange.status
            series = self._series.get(key) or self._add_series(*key)
            series.add(monotonic() - exchange.began)

    async def _pass_on(
        self, exchange: Exchange, scope: Scope, receive: Receive
    ) -> None:
        try:
            await self.app(scope, receive, exchange.send)
        except asyncio.CancelledError:
            if not exchange.is_cut:
                raise
        if exchange.is_cut:
            await exchange.end(_unavailable(self.closed or ""), scope, receive)

    def _close(self, own_id: bytes, exchange: Exchange) -> None:
        del self._open[own_id]
        if exchange.progress > self._progress:
            self._progress = exchange.progress
        if self._emptied is not None and not self._open:
            self._emptied.set_result(None)
            self._emptied = None

    def _add_series(self, route: str, method: str, status: int) -> Series:
        known = method if method in _METHODS else OTHER
        series = REQUESTS.series(route, known, str(status))
        if known == method:  # Or a client could fill the memory.
            self._series[route, method, status] = series
        return series

    def note_progress(self) -> None:
        """Note that the engine has worked."""
        self._progress = monotonic()

    def silence(self) -> float:
        """Return for how many seconds requests have waited and nothing came of any."""
        waiting = [exchange for exchange in self._open.values() if exchange.works]
        if not waiting:
            return 0.0
        progress = max(exchange.progress for exchange in waiting)
        return monotonic() - max(waiting[0].began, progress, self._progress)

    async def run_out(self, seconds: float) -> None:
        """Wait until nothing is being answered any more, but no longer than that."""
        if self._open:
            self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._emptied], timeout=max(0.0, seconds))

    @property
    def running(self) -> int:
        """How many requests are being answered, but for ``/ping``."""
        return len(self._open)

    async def cut(self) -> None:
        """End what is still being answered."""
        for exchange in self._open.values():
            exchange.cut()
        await self.run_out(_LAST_WORD_S)


def _replace_id(scope: Scope, known: Mapping[bytes, bytes], own_id: bytes) -> None:
    """Give the app the id, in headers of its own; ``known`` are those there are."""
    headers = scope["headers"]
    if X_REQUEST_ID in known:
        headers = [header for header in headers if header[0] != X_REQUEST_ID]
    scope["headers"] = [*headers, (X_REQUEST_ID, own_id)]


def _unavailable(reason: str) -> HTTPException:
    return HTTPException(503, reason, {"Retry-After": "1"})
