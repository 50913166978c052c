"""Between an app that sends its response and a customer's code that sees it first."""

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
#: By these a server sends what nobody here would see.
_UNSEEN: Final = ("http.response.pathsend", "http.response.zerocopysend")


class State(enum.Enum):
    """What becomes of a message of the app."""

    #: The response is not there yet: it is kept.
    BEFORE = enum.auto()
    #: It waits until it is read, or the rest is let through.
    HELD = enum.auto()
    #: It goes to the client.
    OPEN = enum.auto()
    #: The response is complete, or nobody wants more of it: it is dropped.
    COMPLETE = enum.auto()


class ResponseInterceptor:
    """Has the ``send`` of an app whose response goes to ``on_response`` first.

    The response is there with its first chunk: if that is the last one too, it is a
    whole response, else a stream. Of a stream the app makes one chunk ahead, and waits
    until that is read, or until the rest is let through, which costs next to nothing.
    """

    def __init__(
        self,
        send: RecordingSend,
        on_response: Callable[[InterceptedResponse], Awaitable[None]],
    ) -> None:
        self._noting = send
        self._send = send.send
        self._on_response = on_response
        self._start: Message | None = None
        self._first: bytes | None = None
        self._pending: Message | None = None
        #: Wakes the app, and whoever reads the stream.
        self._taken: asyncio.Future[None] | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self.state = State.BEFORE
        self._receiver: Callable[[Message], Awaitable[None]] = self._take
        #: Whether somebody who read the stream has got the app's error.
        self.error_is_seen = False

    def send(self, message: Message) -> Awaitable[None]:
        """Take a message from the app."""
        # What is open costs each chunk no coroutine of ours.
        return self._receiver(message)

    async def send_on(self, response: InterceptedResponse) -> None:
        """Send what there is of a stream, and let the rest through as it comes.

        Raises:
            RuntimeError: some of it has been read, and would be lost.
        """
        if self._first is None:
            raise RuntimeError(
                "response.body_iterator was read, but nothing was assigned: assign "
                "response.body, or another response.body_iterator."
            )
        await self._noting(response.head())
        await self._send({"type": _BODY, "body": self._first, "more_body": True})
        self._receiver = self._send
        self.state = State.OPEN
        _wake(self._taken)

    def close(self) -> None:
        """Drop what the app still sends: nobody wants it."""
        if self.state is not State.OPEN:
            self.state = State.COMPLETE
            self._pending = None
            _wake(self._taken)

    def fail(self, error: BaseException | None = None) -> None:
        """Let whoever reads the stream know that the app has ended; None: too soon."""
        self._error = error or ClientDisconnect()
        _wake(self._arrived)

    async def _take(self, message: Message) -> None:
        if self._start is None:
            if message["type"] == _START:
                self._start = message
            else:
                # Such as the debug information that a test client asks for.
                await self._send(message)
        elif message["type"] == _BODY and self.state is State.BEFORE:
            await self._begin(self._start, message)
        elif message["type"] == _BODY and self.state is not State.COMPLETE:
            await self._offer(message)

    async def _begin(self, start: Message, message: Message) -> None:
        body = message.get("body", b"")
        if message.get("more_body", False):
            self.state = State.HELD
            self._first = body
            response = InterceptedResponse(start, None, self._chunks())
        else:
            self.state = State.COMPLETE
            response = InterceptedResponse(start, body, None)
        await self._on_response(response)

    async def _offer(self, message: Message) -> None:
        if self.state is State.HELD:
            self._pending = message
            _wake(self._arrived)
            self._taken = asyncio.get_running_loop().create_future()
            await self._taken
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
                self.error_is_seen = True
                raise self._error
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        message, self._pending = self._pending, None
        _wake(self._taken)
        return message


def seen_whole(scope: Scope) -> Scope:
    """Return the scope without what lets the app send more than its messages say."""
    extensions = scope.get("extensions")
    if not extensions or extensions.keys().isdisjoint(_UNSEEN):
        return scope
    left = {name: value for name, value in extensions.items() if name not in _UNSEEN}
    return {**scope, "extensions": left}


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
