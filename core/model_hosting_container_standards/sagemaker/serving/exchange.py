"""One request and its response, which can be ended from outside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Final

import msgspec
from starlette.types import Message, Send

_EVENTS: Final = b"text/event-stream"


class Exchange:
    """A request that is being answered, and how far its response has come."""

    __slots__ = (
        "_send",
        "_task",
        "begun",
        "is_cut",
        "is_over",
        "progress",
        "started_at",
        "streams_events",
    )

    def __init__(self, send: Send) -> None:
        self._send = send
        self._task = asyncio.current_task()
        self.started_at = time.monotonic()
        #: When the engine was last seen to work for it; both by ``time.monotonic``.
        self.progress = 0.0
        #: The status of the response, 0 before it begins.
        self.begun = 0
        self.is_over = self.is_cut = self.streams_events = False

    def send(self, message: Message) -> Awaitable[None]:
        if self.is_cut:
            return _nothing()
        if message["type"] == "http.response.start":
            self.begun = message["status"]
            self.streams_events = _streams_events(message)
        elif message["type"] == "http.response.body":
            self.is_over = not message.get("more_body", False)
            if self.begun < 400:
                self.progress = time.monotonic()
        return self._send(message)

    def cut(self) -> None:
        """Stop whoever answers: nothing more that he sends gets to the client."""
        self.is_cut = True
        if self._task is not None:
            self._task.cancel()

    async def end(self, reason: str) -> None:
        """End a response that was cut short so that the client can see that it was.

        Raises:
            ConnectionAbortedError: there is no way but to close the connection.
        """
        if self.is_over:
            return
        if not self.streams_events:
            raise ConnectionAbortedError(reason)
        body = b"data: %b\n\n" % msgspec.json.encode(_error(reason))
        await self._send({"type": "http.response.body", "body": body})


def _streams_events(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(_EVENTS)
        for name, value in message.get("headers", ())
    )


def _error(reason: str) -> dict[str, object]:
    """Return an error as OpenAI's clients know it from a stream."""
    return {
        "error": {
            "message": reason,
            "type": "ServiceUnavailableError",
            "param": None,
            "code": 503,
        }
    }


async def _nothing() -> None:
    pass
