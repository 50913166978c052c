"""Track every request: its id, its metrics, and its end at a shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Final

from fastapi import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from ..asgi.errors import refuse
from ..asgi.header_values import set_header
from ..asgi.websockets import refuse_websocket
from ..contract.headers import CONTENT_ENCODING
from ..observability.request_metrics import REQUESTS, Series
from ..observability.route_labels import DECOMPRESSED, OTHER, route_of
from ..request_id import INFERENCE_ID, REQUEST_ID, X_REQUEST_ID, choose_id, new_id
from .in_flight_request import (
    CLIENT_CLOSED_REQUEST,
    SAFE_METHODS,
    WEBSOCKET,
    InFlightRequest,
)
from .own_requests import OwnRequests
from .websocket_connection import WebSocketConnection

_METHODS: Final = SAFE_METHODS | {"DELETE", "PATCH", "POST", "PUT"}
_HEX_DIGITS: Final = 4
#: Seconds that aborted requests have to send their error.
_ABORT_S: Final = 1.0


#: Key of the :class:`RequestTracker` in the scope of a request.
REQUEST_TRACKER: Final = "sagemaker.request_tracker"


def is_own(scope: Scope) -> bool:
    """Whether a handler of this server made the request while answering another one.

    It must not be refused for lack of capacity, as the outer request would wait for it
    forever. Takes a part of a millisecond: call it only before refusing a request.
    """
    tracker: RequestTracker | None = scope.get(REQUEST_TRACKER)
    return tracker is not None and tracker.is_own(scope)


class RequestTracker:
    """The outermost middleware: assigns ids, measures requests and can end them.

    It is a single layer, as it costs every request time.

    The id of a request is :data:`REQUEST_ID` for our own logs, and ``X-Request-Id`` in
    the response and for the engine. Engines use it as the id of a generation, which
    must be unique among running ones: if another running request has the same id, as
    when a client retries, some digits are appended for the engine.

    A shutdown waits for all requests but ``/ping``, and aborts them at its deadline.
    Once closed, the tracker refuses new requests, except those with safe methods.

    Args:
        routes: labels of paths, see :func:`known_routes`.
        own: recognises requests that the server sends to itself.
        finds_silence: whether :meth:`silence` is used, for which each chunk of a
            response is timed.
    """

    #: The app for requests; set when the server starts.
    app: ASGIApp
    #: The app for requests with a compressed body.
    decompressing_app: ASGIApp

    def __init__(
        self,
        routes: Mapping[str, str],
        own: OwnRequests | None = None,
        finds_silence: bool = True,
    ) -> None:
        #: Why new requests are refused; None while they are accepted.
        self.closed: str | None = None
        #: The server's event loop, set when it starts. Up to Python 3.11, looking it up
        #: takes a system call per request.
        self.loop: asyncio.AbstractEventLoop | None = None
        self._routes = routes
        self._own = own or OwnRequests(None)
        self._finds_silence = finds_silence
        #: Running requests except ``/ping``, by their id for the engine.
        self._requests: dict[bytes, InFlightRequest] = {}
        #: How many of them need the engine, and since when there are any.
        self._waiting = 0
        self._waiting_since = 0.0
        self._progress = 0.0
        #: Whether a client has disconnected since then without a response.
        self._is_abandoned = False
        self._idle: asyncio.Future[None] | None = None
        self._series: dict[tuple[str, str, int], Series] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Few function calls, as each one costs every request time.
        if scope["type"] != "http":
            await self._pass_on(scope, receive, send)
            return
        request = self._begin(scope, send, scope["method"])
        token = REQUEST_ID.set(request.request_id.decode())
        try:
            if self.closed is not None and self._must_refuse(request):
                await refuse(_unavailable(self.closed), scope, receive, request.send)
                return
            try:
                app = self.decompressing_app if request.is_compressed else self.app
                await app(scope, receive, request.send)
            except asyncio.CancelledError:
                if not request.is_aborted:
                    raise
            if request.is_aborted:
                await request.end(_unavailable(self.closed or ""), scope, receive)
        except ClientDisconnect:
            raise
        except Exception:
            request.status = 500
            raise
        finally:
            REQUEST_ID.reset(token)
            self._end(request)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._serve_websocket(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _serve_websocket(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        request = self._begin(scope, send, WEBSOCKET)
        connection = WebSocketConnection(request, receive)
        token = REQUEST_ID.set(request.request_id.decode())
        try:
            if self.closed is not None and not self._is_own(send):
                error = _unavailable(self.closed)
                await refuse_websocket(error, scope, receive, connection.send)
                return
            await connection.serve(self.app, scope)
            if request.is_aborted:
                await connection.end(_unavailable(self.closed or ""), scope)
        finally:
            REQUEST_ID.reset(token)
            self._end(request)

    def _begin(self, scope: Scope, send: Send, method: str) -> InFlightRequest:
        values = dict(scope["headers"])
        given_id = values.get(X_REQUEST_ID)
        request_id = choose_id(values.get(INFERENCE_ID), given_id)
        route = self._routes.get(scope["path"]) or route_of(scope, self._routes)
        task = asyncio.current_task(self.loop)
        request = InFlightRequest(route, method, request_id, send, task)
        if request.is_awaited:
            self._add(request)
        if CONTENT_ENCODING in values and route in DECOMPRESSED:
            request.is_compressed = True
        is_unique = len(values) == len(scope["headers"])
        if given_id != request.engine_id or not is_unique:
            set_header(scope, values, X_REQUEST_ID, request.engine_id)
        scope[REQUEST_TRACKER] = self
        REQUESTS.in_flight += 1
        return request

    def _add(self, request: InFlightRequest) -> None:
        request.is_observed = self._finds_silence
        if request.needs_engine:
            if not self._waiting and not self._is_abandoned:
                self._waiting_since = request.started_at
            self._waiting += 1
        if request.request_id in self._requests:
            request.engine_id += b"-" + new_id(_HEX_DIGITS)
        self._requests[request.engine_id] = request

    def _end(self, request: InFlightRequest) -> None:
        if request.is_awaited:
            del self._requests[request.engine_id]
            self._waiting -= request.needs_engine
            if request.progress > self._progress:
                self._progress = request.progress
                self._is_abandoned = False
            elif request.needs_engine and request.status == CLIENT_CLOSED_REQUEST:
                self._is_abandoned = True
            if self._idle is not None and not self._requests:
                self._idle.set_result(None)
                self._idle = None
        key = request.route, request.method, request.status
        series = self._series.get(key) or self._add_series(*key)
        series.add(monotonic() - request.started_at)
        # Last: a request that is no longer in flight has been counted.
        REQUESTS.in_flight -= 1

    def _add_series(self, route: str, method: str, status: int) -> Series:
        known = method if method in _METHODS else OTHER
        series = REQUESTS.series(route, known, str(status))
        if known == method:  # Or a client could fill the memory.
            self._series[route, method, status] = series
        return series

    def _must_refuse(self, request: InFlightRequest) -> bool:
        """Whether a new request is refused during a shutdown."""
        is_work = request.is_awaited and request.needs_engine
        return is_work and not self._is_own(request.raw_send)

    def is_own(self, scope: Scope) -> bool:
        """Whether a handler of this server made the request."""
        ids = [value for name, value in scope["headers"] if name == X_REQUEST_ID]
        request = self._requests.get(ids[0]) if ids else None
        return request is not None and self._is_own(request.raw_send)

    def _is_own(self, send: Send) -> bool:
        # An own request is sent while another one is being answered, in this process
        # or in another one of the server.
        is_possible = len(self._requests) > 1 or not self._own.is_alone
        return is_possible and self._own.includes(send)

    def note_progress(self) -> None:
        """Record that the engine has made progress."""
        self._progress = monotonic()
        self._is_abandoned = False

    def silence(self) -> float:
        """Return for how many seconds requests have waited without any progress.

        Requests whose client has disconnected without a response count too, so that
        retries do not reset the time.
        """
        if not self._waiting and not self._is_abandoned:
            return 0.0
        requests = self._requests.values()
        progress = max((request.progress for request in requests), default=0.0)
        return monotonic() - max(self._waiting_since, progress, self._progress)

    async def wait_idle(self, seconds: float) -> None:
        """Wait until no request is running, for at most ``seconds``."""
        if self._requests:
            self._idle = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._idle], timeout=max(0.0, seconds))

    @property
    def running(self) -> int:
        """Number of running requests, without ``/ping``."""
        return len(self._requests)

    async def abort(self) -> None:
        """Abort all running requests and wait until they have sent their error."""
        for request in self._requests.values():
            request.abort()
        await self.wait_idle(_ABORT_S)


def _unavailable(reason: str) -> HTTPException:
    return HTTPException(503, reason, {"Retry-After": "1"})
