"""One request and its response, which can be ended from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

import msgspec
from starlette.types import Message, Send

_EVENTS: Final = b"text/event-stream"
#: HTTP's errors begin here: they are no sign of an engine that works.
_ERRORS: Final = 400


class Exchange:
    """A request that is being answered, and how far its response has come."""

    __slots__ = ("_send", "_task", "is_cut", "is_over", "progress", "start", "started")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._task = asyncio.current_task()
        self.started = monotonic()
        #: When the engine was last seen to work for it; both by ``time.monotonic``.
        self.progress = 0.0
        #: The message that begins the response, once it has begun.
        self.start: Message | None = None
        self.is_over = self.is_cut = False

    def send(self, message: Message) -> Awaitable[None]:
        if self.is_cut:
            return _nothing()
        if self.start is None:
            self.start = message
        else:
            self.is_over = not message.get("more_body", False)
            if self.start["status"] < _ERRORS:
                self.progress = monotonic()
        return self._send(message)

    def cut(self) -> None:
        """Stop whoever answers: nothing more that he sends gets to the client."""
        self.is_cut = True
        if self._task is not None:
            self._task.cancel()

    async def end(self, refuse: Callable[[], Awaitable[None]], reason: str) -> None:
        """End what was cut short so that the client can see that it was.

        Args:
            refuse: answers, where nobody has begun to.

        Raises:
            ConnectionAbortedError: there is no way but to close the connection.
        """
        if self.start is None:
            await refuse()
        elif not self.is_over:
            if not _streams_events(self.start):
                raise ConnectionAbortedError(reason)
            body = b"data: %b\n\n" % msgspec.json.encode(_error(reason))
            await self._send({"type": "http.response.body", "body": body})


def _streams_events(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(_EVENTS)
        for name, value in start.get("headers", ())
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
