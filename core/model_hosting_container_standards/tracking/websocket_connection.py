"""A WebSocket that is being served, and its end."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from typing import Final

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope
from starlette.websockets import WebSocketDisconnect

from ..asgi.websockets import INTERNAL_ERROR, SERVICE_RESTART, refuse_websocket
from ..request_id import X_REQUEST_ID
from .in_flight_request import InFlightRequest

_SWITCHING_PROTOCOLS: Final = 101
_FORBIDDEN: Final = 403
#: The close code of a connection that has done what it was for.
_NORMAL: Final = 1000
#: Messages that answer a handshake, with headers.
_ANSWERS: Final = frozenset({"websocket.accept", "websocket.http.response.start"})


class WebSocketConnection:
    """Serves a WebSocket, and closes it if the app does not.

    Args:
        request: tracks the connection. Its status becomes 101, or that of a refused
            handshake; 500 if the app fails; 503 if it is aborted.
        receive: the server's ``receive``.
    """

    def __init__(self, request: InFlightRequest, receive: Receive) -> None:
        self._request = request
        self._receive = receive
        self._is_answered = False
        #: Whether a close code can be sent.
        self._is_open = False

    async def serve(self, app: ASGIApp, scope: Scope) -> None:
        """Call the app; it may be aborted, and the client may disconnect.

        Raises:
            Exception: the app has failed; the client has got 1011, or the status 500.
        """
        try:
            await app(scope, self.receive, self.send)
            if not self._is_answered:  # The server answers 500, and logs it.
                self._request.status = 500
            await self._close(_NORMAL)
        except asyncio.CancelledError:
            if not self._request.is_aborted:
                raise
        except Exception as error:
            if not _is_disconnect(error):
                failure = HTTPException(500, HTTPStatus(500).phrase)
                await self._finish(failure, INTERNAL_ERROR, scope)
                raise

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._is_open = False
            self._is_answered = True
        return message

    async def send(self, message: Message) -> None:
        if self._request.is_aborted:
            return
        if message["type"] in _ANSWERS and not self._is_answered:
            self._is_answered = True
            self._is_open = message["type"] == "websocket.accept"
            self._request.status = message.get("status", _SWITCHING_PROTOCOLS)
            headers = [*message.get("headers", ())]
            headers.append((X_REQUEST_ID, self._request.request_id))
            message = {**message, "headers": headers}
        elif message["type"] == "websocket.close":
            if not self._is_answered:  # The server refuses the handshake.
                self._request.status = _FORBIDDEN
            self._is_answered = True
            self._is_open = False
        await self._request.raw_send(message)

    async def end(self, error: HTTPException, scope: Scope) -> None:
        """Close an aborted connection so that the client sees the error."""
        self._request.is_aborted = False
        await self._finish(error, SERVICE_RESTART, scope)

    async def _finish(self, error: HTTPException, code: int, scope: Scope) -> None:
        if self._is_answered:
            await self._close(code, error.detail)
        else:
            with contextlib.suppress(OSError):
                await refuse_websocket(error, scope, self._receive, self.send)
        self._request.status = error.status_code

    async def _close(self, code: int, reason: str = "") -> None:
        if self._is_open:
            # The client may have disconnected just now.
            with contextlib.suppress(OSError):
                message = {"type": "websocket.close", "code": code, "reason": reason}
                await self.send(message)


def _is_disconnect(error: BaseException) -> bool:
    """Whether the client has disconnected, in a task group of the app too."""
    if errors := getattr(error, "exceptions", None):
        return all(map(_is_disconnect, errors))
    return isinstance(error, WebSocketDisconnect)
