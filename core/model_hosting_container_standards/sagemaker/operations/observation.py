"""Every request has an id, and is counted."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from time import perf_counter
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...request_id import REQUEST_ID, X_REQUEST_ID, choose_id, new_id
from .paths import OTHER, route_of
from .request_metrics import REQUESTS, Series

#: Nobody gets to see it: the client has hung up before an answer began.
HUNG_UP: Final = 499

_METHODS: Final = frozenset(
    {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
)
_HEX_DIGITS: Final = 4


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
        # Long, as each function more that is called would be a part of what it costs.
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = perf_counter()
        status = HUNG_UP
        method = scope["method"]
        route = self._routes.get(scope["path"]) or route_of(scope, self._routes)
        known = dict(scope["headers"])
        request_id = own_id = choose_id(known)
        if own_id in self._running:
            own_id = own_id + b"-" + new_id(_HEX_DIGITS)
        self._running.add(own_id)
        _replace_id(scope, known, own_id)

        def answer(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = _with_id(message, request_id)
            return send(message)

        token = REQUEST_ID.set(request_id.decode())
        REQUESTS.begin()
        try:
            await self.app(scope, receive, answer)
        except ClientDisconnect:
            status = HUNG_UP
            raise
        except Exception:
            status = 500
            raise
        finally:
            REQUESTS.end()
            REQUEST_ID.reset(token)
            self._running.discard(own_id)
            key = route, method, status
            series = self._series.get(key) or self._add_series(*key)
            series.add(perf_counter() - start)

    def _add_series(self, route: str, method: str, status: int) -> Series:
        known = method if method in _METHODS else OTHER
        series = REQUESTS.series(route, known, str(status))
        if known == method:  # Or a client could fill the memory.
            self._series[route, method, status] = series
        return series


def _replace_id(scope: Scope, known: Mapping[bytes, bytes], own_id: bytes) -> None:
    """Give the app the id, in headers of its own; ``known`` are those there are."""
    headers = scope["headers"]
    if X_REQUEST_ID in known:
        headers = _without_id(headers)
    scope["headers"] = [*headers, (X_REQUEST_ID, own_id)]


def _with_id(message: Message, request_id: bytes) -> Message:
    """Return another message: an app may send one, and its headers, again."""
    headers = message.get("headers", ())
    for name, _ in headers:
        if name == X_REQUEST_ID:
            headers = _without_id(headers)
            break
    return {**message, "headers": [*headers, (X_REQUEST_ID, request_id)]}


def _without_id(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [header for header in headers if header[0] != X_REQUEST_ID]
