"""Intercepts an app's response, so that a customer's code can change it first."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Message, Scope

from ..asgi.errors import RecordingSend
from .response import InterceptedResponse

_START: Final = "http.response.start"
_BODY: Final = "http.response.body"
#: ASGI extensions that send a body without a message that could be intercepted.
_OPAQUE_SENDS: Final = ("http.response.pathsend", "http.response.zerocopysend")


class State(enum.Enum):
    """How the app's next message is handled."""

    #: The response has not started: the message is kept.
    BEFORE = enum.auto()
    #: The app waits until the chunk is read or the stream is forwarded.
    HELD = enum.auto()
    #: The message is sent to the client.
    OPEN = enum.auto()
    #: The response is complete or closed: the message is dropped.
    COMPLETE = enum.auto()


class ResponseInterceptor:
    """Provides an app's ``send`` and passes the response to ``on_response`` first.

    ``on_response`` is called with the first chunk: if that is also the last one, the
    response is complete, otherwise it is a stream. In a stream the app is one chunk
    ahead: it waits until that chunk is read, or until the rest is forwarded, which
    costs almost nothing per chunk.
    """

    def __init__(
        self,
        send: RecordingSend,
        on_response: Callable[[InterceptedResponse], Awaitable[None]],
    ) -> None:
        self._recording_send = send
        self._send = send.send
        self._on_response = on_response
        self._start: Message | None = None
        self._first: bytes | None = None
        self._pending: Message | None = None
        #: Futures that wake the app and the reader of the stream.
        self._chunk_taken: asyncio.Future[None] | None = None
        self._chunk_ready: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self.state = State.BEFORE
        self._on_message: Callable[[Message], Awaitable[None]] = self._receive_message
        #: Whether the app's error was raised to the reader of the stream.
        self.error_was_raised = False

    def send(self, message: Message) -> Awaitable[None]:
        """Handle a message from the app."""
        # A forwarded stream needs no coroutine of ours per chunk.
        return self._on_message(message)

    async def forward(self, response: InterceptedResponse) -> None:
        """Send the start of a stream, and forward the rest unchanged.

        Raises:
            RuntimeError: part of the stream has been read and would be lost.
        """
        if self._first is None:
            raise RuntimeError(
                "response.body_iterator was read, but nothing was assigned: assign "
                "response.body, or another response.body_iterator."
            )
        await self._recording_send(response.head())
        await self._send({"type": _BODY, "body": self._first, "more_body": True})
        self._on_message = self._send
        self.state = State.OPEN
        _wake(self._chunk_taken)

    def close(self) -> None:
        """Drop the app's further messages, unless the stream is being forwarded."""
        if self.state is not State.OPEN:
            self.state = State.COMPLETE
            self._pending = None
            _wake(self._chunk_taken)

    def fail(self, error: BaseException | None = None) -> None:
        """Tell the reader of the stream that the app has ended.

        Args:
            error: the app's error; None if it returned before the stream was complete.
        """
        self._error = error or ClientDisconnect()
        _wake(self._chunk_ready)

    async def _receive_message(self, message: Message) -> None:
        kind = message["type"]
        if self._start is None:
            if kind == _START:
                self._start = message
            else:
                # For example the debug messages of Starlette's test client.
                await self._send(message)
        elif kind == _BODY and self.state is State.BEFORE:
            await self._on_response(self._begin(self._start, message))
        elif kind == _BODY and self.state is not State.COMPLETE:
            await self._offer(message)

    def _begin(self, start: Message, message: Message) -> InterceptedResponse:
        body = message.get("body", b"")
        if message.get("more_body", False):
            self.state = State.HELD
            self._first = body
            return InterceptedResponse(start, None, self._chunks())
        self.state = State.COMPLETE
        return InterceptedResponse(start, body, None)

    async def _offer(self, message: Message) -> None:
        if self.state is State.HELD:
            self._pending = message
            _wake(self._chunk_ready)
            self._chunk_taken = asyncio.get_running_loop().create_future()
            await self._chunk_taken
            if self._pending is None:
                return
            self._pending = None
        await self._send(message)

    async def _chunks(self) -> AsyncIterator[bytes]:
        first, self._first = self._first, None
        yield first or b""
        while self.state is State.HELD:
            message = await self._next()
            if not message.get("more_body", False):
                self.state = State.COMPLETE
            if chunk := message.get("body", b""):
                yield chunk

    async def _next(self) -> Message:
        while self._pending is None:
            if self._error is not None:
                self.error_was_raised = True
                raise self._error
            self._chunk_ready = asyncio.get_running_loop().create_future()
            await self._chunk_ready
        message, self._pending = self._pending, None
        _wake(self._chunk_taken)
        return message


def without_opaque_sends(scope: Scope) -> Scope:
    """Return the scope without extensions that send bodies outside of messages."""
    extensions = scope.get("extensions")
    if not extensions or extensions.keys().isdisjoint(_OPAQUE_SENDS):
        return scope
    kept = {
        name: value for name, value in extensions.items() if name not in _OPAQUE_SENDS
    }
    return {**scope, "extensions": kept}


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
