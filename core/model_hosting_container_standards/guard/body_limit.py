"""Refuse bodies that are too long before they are read completely."""

from __future__ import annotations

from typing import Final

from fastapi import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..asgi.errors import refuse
from ..settings import Settings

_DIGITS: Final = 20


def limit_body(limit: int, announced: int | None, app: ASGIApp) -> ASGIApp:
    """Return an app that enforces a limit around ``app``.

    Args:
        limit: the maximum length, in bytes.
        announced: a known length above the limit: the request is refused without
            reading its body. None: the length is unknown and is counted.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
        elif announced is None:
            await LimitedBody(limit, scope, receive, send).pass_on(app)
        else:
            await refuse(_too_long(limit), scope, receive, send)

    return answer


class LimitedBody:
    """A body of unknown length, and the response to its request.

    Once the body exceeds the limit the client gets a 413, and the app an
    ``http.disconnect``.
    """

    def __init__(self, limit: int, scope: Scope, receive: Receive, send: Send) -> None:
        self._limit = limit
        self._scope = scope
        self._receive = receive
        self._send = send
        self._length = 0
        self._answered = False
        self._refused = False

    async def pass_on(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self.receive, self.send)
        except ClientDisconnect:
            if not self._refused:
                raise

    async def receive(self) -> Message:
        if self._length > self._limit:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self._length += len(message.get("body", b""))
        if self._length <= self._limit:
            return message
        if not self._answered:
            self._refused = True
            error = _too_long(self._limit)
            await refuse(error, self._scope, self._receive, self._send)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self._refused:
            return
        self._answered = True
        await self._send(message)


def _too_long(limit: int) -> HTTPException:
    return HTTPException(
        413,
        f"The body has more than {limit} bytes, the limit of this server "
        f"({Settings.max_body_bytes.name}).",
    )


def read_length(header: bytes) -> int | None:
    """Return the value of ``Content-Length``; None if it is missing or invalid."""
    if not header.isdigit():
        return None
    # Python refuses to parse thousands of digits.
    return int(header.lstrip(b"0")[:_DIGITS] or b"0")
