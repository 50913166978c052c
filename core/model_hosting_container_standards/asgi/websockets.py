"""WebSockets: an app's routes for them, and how a handshake is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from fastapi import FastAPI, HTTPException
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match, Mount, WebSocketRoute
from starlette.types import Receive, Scope, Send

from .routing import iter_routes, request_scope

#: Close codes of RFC 6455 and of its registry: the message cannot be decoded, the
#: client may not do this, the handler failed, the server restarts, and is not ready.
INVALID_PAYLOAD: Final = 1007
POLICY_VIOLATION: Final = 1008
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012
TRY_AGAIN_LATER: Final = 1013

#: The close code for a status, where a server cannot send the status.
_CLOSE_CODES: Final = {500: INTERNAL_ERROR, 503: TRY_AGAIN_LATER}
_RESPONSE_EXTENSION: Final = "websocket.http.response"


class WebSocketTarget:
    """A WebSocket route of an app, as an ASGI app for connections to any path."""

    def __init__(self, entry: BaseRoute, path: str) -> None:
        self.entry = entry
        self.path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("root_path", "") + self.path
        scope = {**scope, "path": path, "raw_path": path.encode()}
        _, child_scope = self.entry.matches(scope)
        scope.update(child_scope)
        await self.entry.handle(scope, receive, send)


def find_websocket(app: FastAPI, path: str) -> WebSocketTarget | None:
    """Return the WebSocket route that answers ``path``; mounted apps are left out."""
    scope = {**request_scope(path, "GET"), "type": "websocket"}
    for entry in app.router.routes:
        if not isinstance(entry, Mount) and entry.matches({**scope})[0] is Match.FULL:
            return WebSocketTarget(entry, path)
    return None


def websocket_paths(app: FastAPI) -> Iterator[str]:
    """Yield the paths of the app's WebSocket routes."""
    for route in iter_routes(app):
        # FastAPI >= 0.137 yields a context of the route.
        if isinstance(getattr(route, "original_route", route), WebSocketRoute):
            yield route.path


def put_websocket_first(app: FastAPI, path: str, endpoint: Callable[..., Any]) -> None:
    """Insert a WebSocket route before all routes of the app.

    Args:
        endpoint: a function that takes a ``WebSocket``, or an instance that is an ASGI
            app.
    """
    if not hasattr(endpoint, "__name__"):
        endpoint.__name__ = type(endpoint).__name__  # vLLM logs it of each route.
    app.router.routes.insert(0, WebSocketRoute(path, endpoint, name=path))


async def refuse_websocket(
    error: HTTPException, scope: Scope, receive: Receive, send: Send
) -> None:
    """Refuse a handshake: answer it with the error's status, headers and text.

    A server without the extension for it gets a close code instead.
    """
    if _RESPONSE_EXTENSION in (scope.get("extensions") or {}):
        document = {"detail": error.detail}
        response = JSONResponse(document, error.status_code, error.headers)
        await response(scope, receive, send)
    else:
        code = _CLOSE_CODES.get(error.status_code, POLICY_VIOLATION)
        await send({"type": "websocket.close", "code": code})
