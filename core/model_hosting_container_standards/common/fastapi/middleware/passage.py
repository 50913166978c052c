"""Between an app that sends its response and a customer's code that sees it first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from starlette.types import Message, Send

from .response import PassingResponse

_START: Final = "http.response.start"
_BODY: Final = "http.response.body"


class Passage:
    """Has the ``send`` of an app whose response goes to ``on_response`` first.

    The response is there with its first chunk: if that is the last one too, it is a
    whole response, else a stream. Of a stream the app makes one chunk ahead, and waits
    until that is read, or until the rest is let through, which costs next to nothing.
    """

    def __init__(
        self, send: Send, on_response: Callable[[PassingResponse], Awaitable[None]]
    ) -> None:
        self._send = send
        self._on_response = on_response
        self._start: Message | None = None
        self._has_begun = False
        self._first: bytes | None = None
        self._pending: Message | None = None
        #: Wakes the app, and whoever reads the stream.
        self._taken: asyncio.Future[None] | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        #: Whether the rest goes straight to the client, or nowhere.
        self.is_open = False
        self.is_closed = False
        #: Whether all of the response has been handed over.
        self.is_complete = False

    def send(self, message: Message) -> Awaitable[None]:
        """Take a message from the app.

        Raises:
            OSError: nobody wants the rest; ASGI says so of a client that has gone.
        """
        # No coroutine of our own for each chunk that passes.
        return self._send(message) if self.is_open else self._take(message)

    async def send_on(self, response: PassingResponse) -> None:
        """Send what there is of a stream, and let the rest through as it comes."""
        await self._send(response.head())
        if self._first is not None:
            first, self._first = self._first, None
            await self._send({"type": _BODY, "body": first, "more_body": True})
        self.is_open = True
        _wake(self._taken)

    def close(self) -> None:
        """Let the app know that nobody wants the rest, if there is any."""
        self.is_closed = not self.is_complete
        _wake(self._taken)

    def fail(self, error: BaseException) -> None:
        """Let whoever reads the stream know that the app will not send the rest."""
        self._error = error
        _wake(self._arrived)

    async def _take(self, message: Message) -> None:
        if self._has_begun:
            await self._offer(message)
        elif message["type"] == _START:
            self._start = message
        elif self._start is None:
            # Such as the debug information that a test client asks for.
            await self._send(message)
        else:
            await self._begin(self._start, message)

    async def _begin(self, start: Message, message: Message) -> None:
        if message["type"] != _BODY:
            # A file that the server sends by itself, say.
            self.is_open = True
            await self._send(start)
            await self._send(message)
            return
        self._has_begun = True
        body = message.get("body", b"")
        if message.get("more_body", False):
            self._first = body
            response = PassingResponse(start, None, self._chunks())
        else:
            self.is_complete = True
            response = PassingResponse(start, body, None)
        await self._on_response(response)

    async def _offer(self, message: Message) -> None:
        self._pending = message
        _wake(self._arrived)
        if not self.is_closed:
            self._taken = asyncio.get_running_loop().create_future()
            await self._taken
        if self._pending is None:
            return
        self._pending = None
        if not self.is_open:
            raise OSError("The rest of the response is not wanted.")
        await self._send(message)

    async def _chunks(self) -> AsyncIterator[bytes]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        while not self.is_complete:
            message = await self._next()
            self.is_complete = not message.get("more_body", False)
            if chunk := message.get("body", b""):
                yield chunk

    async def _next(self) -> Message:
        while self._pending is None:
            if self._error is not None:
                raise self._error
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        message, self._pending = self._pending, None
        _wake(self._taken)
        return message


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
