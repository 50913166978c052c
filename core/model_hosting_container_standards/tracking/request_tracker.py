"""Every request: its id, its place in the numbers, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from time import monotonic
from typing import Final

from fastapi import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from ..asgi.errors import refuse
from ..contract.headers import CONTENT_ENCODING
from ..observability.request_metrics import REQUESTS, Series
from ..observability.route_labels import OTHER, UNPACKED, route_of
from ..request_id import INFERENCE_ID, REQUEST_ID, X_REQUEST_ID, choose_id, new_id
from .in_flight_request import HARMLESS, HUNG_UP, InFlightRequest
from .own_requests import OwnRequests

_METHODS: Final = HARMLESS | {"DELETE", "PATCH", "POST", "PUT"}
_HEX_DIGITS: Final = 4
#: How long those that are cut short have for a last word, in seconds.
_LAST_WORD_S: Final = 1.0


#: Where the scope of a request has the :class:`RequestTracker` it is a part of.
TRAFFIC: Final = "sagemaker.traffic"


def is_own(scope: Scope) -> bool:
    """Whether a handler of this server has made a request, to answer another one.

    It must not be refused for want of room, which the other one has. Costs a part of a
    millisecond: to be asked only where it would be refused.
    """
    tracker: RequestTracker | None = scope.get(TRAFFIC)
    return tracker is not None and tracker.has_own(scope)


class RequestTracker:
    """The outermost layer of an app, and one alone, as all requests pay for it.

    The id of a request is :data:`REQUEST_ID` for our own logs, ``X-Request-Id`` in the
    response and for the engine. Engines take it for the id of a generation, which must
    be unique while it runs: who has the id of another request that runs, as a client's
    second try has, is told apart by some digits more.

    All but ``/ping`` are waited for at the server's end, and cut short at the last.
    Once it is closed, new ones are refused, but for those that only look.

    Args:
        routes: labels of paths, see :func:`known_routes`.
        own: tells requests that the server makes to itself.
        unpacked: labels of the routes whose bodies are unpacked.
    """

    #: What is inside it, known once the server starts.
    app: ASGIApp
    #: The same for requests whose bodies are compressed.
    unpacking: ASGIApp

    def __init__(
        self,
        routes: Mapping[str, str],
        own: OwnRequests | None = None,
        unpacked: Collection[str] = UNPACKED,
    ) -> None:
        #: Why nothing new is answered any more.
        self.closed: str | None = None
        #: The server's, once it starts, and so the requests' too. To look it up takes a
        #: system call a request, up to Python 3.11.
        self.loop: asyncio.AbstractEventLoop | None = None
        self._routes = routes
        self._unpacked = unpacked
        self._own = own or OwnRequests(None)
        #: By what the engine calls them.
        self._open: dict[bytes, InFlightRequest] = {}
        #: How many of them the engine has to work for, and since when there are any.
        self._waiting = 0
        self._waiting_since = 0.0
        self._progress = 0.0
        #: Whether a client has left since then without an answer.
        self._is_abandoned = False
        self._emptied: asyncio.Future[None] | None = None
        self._series: dict[tuple[str, str, int], Series] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Few functions, as each one is a part of what every request costs.
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = self._begin(scope, send)
        token = REQUEST_ID.set(exchange.request_id.decode())
        try:
            if self.closed is not None and self._refuses(exchange):
                await refuse(_unavailable(self.closed), scope, receive, exchange.send)
                return
            try:
                app = self.unpacking if exchange.is_packed else self.app
                await app(scope, receive, exchange.send)
            except asyncio.CancelledError:
                if not exchange.is_cut:
                    raise
            if exchange.is_cut:
                await exchange.end(_unavailable(self.closed or ""), scope, receive)
        except ClientDisconnect:
            raise
        except Exception:
            exchange.status = 500
            raise
        finally:
            REQUEST_ID.reset(token)
            self._end(exchange)

    def _begin(self, scope: Scope, send: Send) -> InFlightRequest:
        inference_id = request_id = None
        is_packed = False
        headers = []
        for header in scope["headers"]:
            name = header[0]
            is_packed |= name == CONTENT_ENCODING
            if name == INFERENCE_ID:
                inference_id = header[1]
            if name == X_REQUEST_ID:
                request_id = header[1]
            else:
                headers.append(header)
        request_id = choose_id(inference_id, request_id)
        route = self._routes.get(scope["path"]) or route_of(scope, self._routes)
        task = asyncio.current_task(self.loop)
        exchange = InFlightRequest(route, scope["method"], request_id, send, task)
        if exchange.is_open:
            if exchange.works:
                if not self._waiting and not self._is_abandoned:
                    self._waiting_since = exchange.began
                self._waiting += 1
            if request_id in self._open:
                exchange.own_id += b"-" + new_id(_HEX_DIGITS)
            self._open[exchange.own_id] = exchange
        exchange.is_packed = is_packed and route in self._unpacked
        headers.append((X_REQUEST_ID, exchange.own_id))
        scope["headers"] = headers
        scope[TRAFFIC] = self
        REQUESTS.in_flight += 1
        return exchange

    def _end(self, exchange: InFlightRequest) -> None:
        REQUESTS.in_flight -= 1
        if exchange.is_open:
            del self._open[exchange.own_id]
            self._waiting -= exchange.works
            if exchange.progress > self._progress:
                self._progress = exchange.progress
                self._is_abandoned = False
            elif exchange.works and exchange.status == HUNG_UP:
                self._is_abandoned = True
            if self._emptied is not None and not self._open:
                self._emptied.set_result(None)
                self._emptied = None
        key = exchange.route, exchange.method, exchange.status
        series = self._series.get(key) or self._add_series(*key)
        series.add(monotonic() - exchange.began)

    def _add_series(self, route: str, method: str, status: int) -> Series:
        known = method if method in _METHODS else OTHER
        series = REQUESTS.series(route, known, str(status))
        if known == method:  # Or a client could fill the memory.
            self._series[route, method, status] = series
        return series

    def _refuses(self, exchange: InFlightRequest) -> bool:
        """Whether a request comes too late, now that nothing new is begun."""
        is_work = exchange.is_open and exchange.works
        return is_work and not self._is_own(exchange.raw_send)

    def has_own(self, scope: Scope) -> bool:
        """Whether a handler of this server has made a request."""
        ids = [value for name, value in scope["headers"] if name == X_REQUEST_ID]
        exchange = self._open.get(ids[0]) if ids else None
        return exchange is not None and self._is_own(exchange.raw_send)

    def _is_own(self, send: Send) -> bool:
        # Beside the request itself there is the one that is answered by it, unless
        # another process of the server answers that.
        may_be = len(self._open) > 1 or not self._own.is_alone
        return may_be and self._own.has_sent(send)

    def note_progress(self) -> None:
        """Note that the engine has worked."""
        self._progress = monotonic()
        self._is_abandoned = False

    def silence(self) -> float:
        """Return for how many seconds requests have waited and nothing came of any.

        Not always the same ones, and not always one: clients that hang up have waited
        in vain too.
        """
        if not self._waiting and not self._is_abandoned:
            return 0.0
        open_ones = self._open.values()
        progress = max((exchange.progress for exchange in open_ones), default=0.0)
        return monotonic() - max(self._waiting_since, progress, self._progress)

    async def wait_idle(self, seconds: float) -> None:
        """Wait until nothing is being answered any more, but no longer than that."""
        if self._open:
            self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._emptied], timeout=max(0.0, seconds))

    @property
    def running(self) -> int:
        """How many requests are being answered, but for ``/ping``."""
        return len(self._open)

    async def abort(self) -> None:
        """End what is still being answered."""
        for exchange in self._open.values():
            exchange.abort()
        await self.wait_idle(_LAST_WORD_S)


def _unavailable(reason: str) -> HTTPException:
    return HTTPException(503, reason, {"Retry-After": "1"})
