"""One request and its response, which can be ended from outside."""

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

#: Methods that only look.
HARMLESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_EVENTS: Final = b"text/event-stream"
#: How an event ends.
_ENDS: Final = (b"\n\n", b"\r\n\r\n")
#: HTTP's errors begin here: they are no sign of an engine that works.
_ERRORS: Final = 400
#: Nobody gets to see it: the client has hung up before an answer began.
HUNG_UP: Final = 499


class InFlightRequest:
    """A request that is being answered, and how far its response has come.

    Args:
        route: the label of its path.
        request_id: what its client gets to know.
        send: where the response goes.
        task: who answers it.
    """

    #: What the engine calls it: the client's id, as long as no other has it too.
    own_id: bytes

    #: Its status, HTTP's or :data:`HUNG_UP`.
    status = HUNG_UP
    #: When the engine was last seen to work for it, by ``time.monotonic``.
    progress = 0.0
    is_over = is_cut = False
    #: Whether its body is to be unpacked.
    is_packed = False
    #: The messages that began the response and that came last, once there are any.
    _start: Message | None = None
    _last: Message | None = None

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
        self.request_id = self.own_id = request_id
        #: Whether the server waits for it at its end.
        self.is_open = route != PING
        #: Whether the engine has to work for it.
        self.works = method not in HARMLESS
        #: What sends as it is.
        self.raw_send = send
        self._task = task
        self.began = monotonic()

    def send(self, message: Message) -> Awaitable[None]:
        if self.is_cut:
            return _nothing()
        if message["type"] == "http.response.start":
            # An engine answers even whom it knows to have left: with nothing.
            self.status = HUNG_UP if _has_left(self.raw_send) else message["status"]
            self._start = message = _with_id(message, self.request_id)
        elif message["type"] == "http.response.body":
            self._last = message
            self.is_over = not message.get("more_body", False)
            if self.works and self.status < _ERRORS:
                self.progress = monotonic()
        return self.raw_send(message)

    def abort(self) -> None:
        """Stop whoever answers: nothing more that he sends gets to the client."""
        self.is_cut = True
        if self._task is not None:
            self._task.cancel()

    async def end(self, error: HTTPException, scope: Scope, receive: Receive) -> None:
        """End what was cut short so that the client can see that it was.

        Raises:
            ConnectionAbortedError: there is no way but to close the connection.
        """
        self.is_cut = False
        if self._start is None:
            await refuse(error, scope, receive, self.send)
        elif not self.is_over:
            if not _streams_events(self._start):
                raise ConnectionAbortedError(error.detail)
            body = b"data: %b\n\n" % msgspec.json.encode(_document(error))
            if self._last and not self._last.get("body", b"").endswith(_ENDS):
                body = b"\n\n" + body  # It was cut in the middle of an event.
            await self.send({"type": "http.response.body", "body": body})


def _has_left(send: Send) -> bool:
    """Whether the client has hung up: uvicorn knows, whose method ``send`` is."""
    return getattr(getattr(send, "__self__", None), "disconnected", False) is True


def _with_id(message: Message, request_id: bytes) -> Message:
    """Return another message: an app may send one, and its headers, again."""
    headers: Iterable[tuple[bytes, bytes]] = message.get("headers", ())
    for name, _ in headers:
        if name == X_REQUEST_ID:
            headers = [header for header in headers if header[0] != X_REQUEST_ID]
            break
    return {**message, "headers": [*headers, (X_REQUEST_ID, request_id)]}


def _streams_events(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(_EVENTS)
        for name, value in start["headers"]
    )


def _document(error: HTTPException) -> dict[str, object]:
    """Return an error as OpenAI's clients know it from a stream."""
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
