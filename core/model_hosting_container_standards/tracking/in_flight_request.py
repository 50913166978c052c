"""A request in flight, whose response can be aborted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from http import HTTPStatus
from time import monotonic
from typing import Final

import msgspec
from fastapi import HTTPException
from starlette.types import Message, Receive, Scope, Send

from ..asgi.errors import refuse
from ..observability.route_labels import PING
from ..request_id import X_REQUEST_ID

#: What metrics have as the method of a WebSocket.
WEBSOCKET: Final = "WEBSOCKET"
#: HTTP's safe methods, which need no work of the engine. A WebSocket may be silent for
#: minutes, while the engine has nothing to do for it.
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", WEBSOCKET})
_EVENT_STREAM: Final = b"text/event-stream"
_EVENT_ENDS: Final = (b"\n\n", b"\r\n\r\n")
#: The lowest error status: an error does not show that the engine makes progress.
_FIRST_ERROR: Final = 400
#: Status, in metrics only, of a request whose client disconnected before the response
#: started.
CLIENT_CLOSED_REQUEST: Final = 499


class InFlightRequest:
    """A request that is being answered, and the progress of its response.

    Args:
        route: the label of its path.
        request_id: the id in the response.
        send: the server's ``send``.
        task: the task that answers the request.
    """

    #: The id for the engine: the request id, made unique if another request has it.
    engine_id: bytes

    #: The HTTP status, or :data:`CLIENT_CLOSED_REQUEST`.
    status = CLIENT_CLOSED_REQUEST
    #: Whether the times of its chunks are needed, by which a hung engine is found.
    is_observed = True
    #: When the engine last made progress on it, by ``time.monotonic``.
    progress = 0.0
    is_aborted = False
    #: Whether its body has to be decompressed.
    is_compressed = False
    #: The first and the last message of the response, once there are any.
    _start: Message | None = None
    _last: Message | None = None
    #: Whether a chunk of the response shows that the engine makes progress.
    _shows_progress = False

    def __init__(
        self,
        route: str,
        method: str,
        request_id: bytes,
        send: Send,
        task: asyncio.Task[object] | None,
    ) -> None:
        self.route = route
        self.method = method
        self.request_id = self.engine_id = request_id
        #: Whether a shutdown waits for it.
        self.is_awaited = route != PING
        #: Whether the engine has to work for it.
        self.needs_engine = method not in SAFE_METHODS
        #: The server's ``send``, which changes nothing.
        self.raw_send = send
        self._task = task
        self.started_at = monotonic()

    def send(self, message: Message) -> Awaitable[None]:
        if self.is_aborted:
            return _nothing()
        kind = message["type"]
        if kind == "http.response.body":
            self._last = message
            if self._shows_progress:
                self.progress = monotonic()
        elif kind == "http.response.start":
            # Engines send an empty response to a client that has disconnected.
            gone = _is_disconnected(self.raw_send)
            self.status = CLIENT_CLOSED_REQUEST if gone else message["status"]
            self._shows_progress = self.needs_engine and (
                self.is_observed and self.status < _FIRST_ERROR
            )
            self._start = message = _with_id(message, self.request_id)
        return self.raw_send(message)

    def abort(self) -> None:
        """Cancel the task that answers, and drop further messages."""
        self.is_aborted = True
        if self._task is not None:
            self._task.cancel()

    async def end(self, error: HTTPException, scope: Scope, receive: Receive) -> None:
        """Finish an aborted response so that the client sees the error.

        Raises:
            ConnectionAbortedError: the response has started and is not an event stream;
                closing the connection is the only way to show the error.
        """
        self.is_aborted = False
        if self._start is None:
            await refuse(error, scope, receive, self.send)
        elif self._last is None or self._last.get("more_body", False):
            if not _is_event_stream(self._start):
                raise ConnectionAbortedError(error.detail)
            body = b"data: %b\n\n" % msgspec.json.encode(_error_document(error))
            if self._last and not self._last.get("body", b"").endswith(_EVENT_ENDS):
                body = b"\n\n" + body  # The last event is incomplete.
            await self.send({"type": "http.response.body", "body": body})


def _is_disconnected(send: Send) -> bool:
    """Whether the client has disconnected, if ``send`` is a method of uvicorn's."""
    return getattr(getattr(send, "__self__", None), "disconnected", False) is True


def _with_id(message: Message, request_id: bytes) -> Message:
    """Return a copy with the id: an app may send a message or its headers again."""
    headers: Iterable[tuple[bytes, bytes]] = message.get("headers", ())
    for name, _ in headers:
        if name == X_REQUEST_ID:
            headers = [header for header in headers if header[0] != X_REQUEST_ID]
            break
    return {**message, "headers": [*headers, (X_REQUEST_ID, request_id)]}


def _is_event_stream(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(_EVENT_STREAM)
        for name, value in start["headers"]
    )


def _error_document(error: HTTPException) -> dict[str, object]:
    """Return an error in the form that OpenAI's clients expect in a stream."""
    return {
        "error": {
            "message": error.detail,
            "type": HTTPStatus(error.status_code).phrase,
            "param": None,
            "code": error.status_code,
        }
    }


async def _nothing() -> None:
    pass
