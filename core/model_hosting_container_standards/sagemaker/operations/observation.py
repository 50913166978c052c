"""Every request has an id, and is counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...request_id import REQUEST_ID, X_REQUEST_ID, choose_id, new_id
from .metrics import DURATION, IN_FLIGHT, REQUESTS
from .paths import OTHER, route_of

#: Nobody gets to see it: the client has hung up before an answer began.
HUNG_UP: Final = 499

_METHODS: Final = frozenset(
    {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
)
_HEX_DIGITS: Final = 4

Series = tuple[Callable[[], None], Callable[[float], None]]


class Observation:
    """The outermost layer of an app: ids and metrics, at once, as all requests pay it.

    The id is :data:`REQUEST_ID` for our own logs, ``X-Request-Id`` in the response and
    for the engine. Engines take it for the id of a generation, which must be unique
    while it runs: who has the id of another request that runs, as a client's second try
    has, is told apart by some digits more.

    Args:
        routes: labels of paths, see :func:`known_routes`.
    """

    def __init__(self, app: ASGIApp, routes: Mapping[str, str]) -> None:
        self.app = app
        self._routes = routes
        self._running: set[bytes] = set()
        self._series: dict[tuple[str, str, int], Series] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = perf_counter()
        route = self._routes.get(scope["path"]) or route_of(scope, self._routes)
        method = scope["method"]
        headers = dict(scope["headers"])
        chosen = own = choose_id(headers)
        running = self._running
        if own in running:
            own = own + b"-" + new_id(_HEX_DIGITS)
        running.add(own)
        _replace_id(scope, headers, own)
        answer = Answer(send, chosen)
        token = REQUEST_ID.set(chosen.decode())
        IN_FLIGHT.inc()
        try:
            await self.app(scope, receive, answer)
        except ClientDisconnect:
            answer.status = HUNG_UP
            raise
        except Exception:
            answer.status = 500
            raise
        finally:
            IN_FLIGHT.dec()
            REQUEST_ID.reset(token)
            running.discard(own)
            key = route, method, answer.status
            count, observe = self._series.get(key) or self._add_series(*key)
            count()
            observe(perf_counter() - start)

    def _add_series(self, route: str, method: str, status: int) -> Series:
        known = method if method in _METHODS else OTHER
        count = REQUESTS.labels(route, known, str(status)).inc
        series = count, DURATION.labels(route).observe
        if known == method:  # Or a client could fill the memory.
            self._series[route, method, status] = series
        return series


class Answer:
    """The ``send`` of a request, which knows the status and adds the id."""

    __slots__ = ("request_id", "send", "status")

    def __init__(self, send: Send, request_id: bytes) -> None:
        self.send = send
        self.request_id = request_id
        self.status = HUNG_UP

    def __call__(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [
                header
                for header in message.get("headers", ())
                if header[0].lower() != X_REQUEST_ID
            ]
            headers.append((X_REQUEST_ID, self.request_id))
            # Neither is ours to change: an app may send the same objects again.
            message = {**message, "headers": headers}
        return self.send(message)


def _replace_id(scope: Scope, known: Mapping[bytes, bytes], own: bytes) -> None:
    """Give the app the id, in headers of its own."""
    there = known.get(X_REQUEST_ID)
    if there == own:
        return
    headers = scope["headers"]
    if there is not None:
        headers = [header for header in headers if header[0] != X_REQUEST_ID]
    scope["headers"] = [*headers, (X_REQUEST_ID, own)]
