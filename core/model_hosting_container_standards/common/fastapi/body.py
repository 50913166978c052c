"""Request bodies: read at most once, decoded at most once, and only when asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope

#: Where a decoded body travels from a step of ours to the handler's ``.json()``.
DECODED_BODY: Final = "model_hosting_container_standards.body"


def decode_json(raw: bytes) -> Any:
    """Return what ``json.loads(raw)`` returns, or raise what it raises, but sooner."""
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        # The standard library takes more than JSON (NaN, UTF-16, lone surrogates), and
        # its errors are the ones handlers expect.
        return json.loads(raw)


def encode_json(document: Any) -> bytes:
    """Return JSON from which ``decode_json`` makes an equal document again."""
    try:
        raw = msgspec.json.encode(document)
    except (ValueError, TypeError, OverflowError):
        return json.dumps(document).encode()
    # NaN and the infinities, which json.loads accepts, become null there.
    if b"null" in raw:
        return json.dumps(document).encode()
    return raw


class JSONRequest(Request):
    """A request whose ``.json()`` is decoded already, or decoded faster."""

    @classmethod
    def of(cls, request: Request) -> JSONRequest:
        """Return the same request: what one of them has read, the other has too."""
        same = cls.__new__(cls)
        same.__dict__ = request.__dict__
        return same

    async def json(self) -> Any:
        # Starlette's own cache, so that the body is decoded once for both.
        if not hasattr(self, "_json"):
            if DECODED_BODY in self.scope:
                self._json = self.scope[DECODED_BODY]
            else:
                self._json = decode_json(await self.body())
        return self._json


async def read_body(receive: Receive) -> bytes:
    """Read the whole body.

    Raises:
        ClientDisconnect: the client went away before it was complete.
    """
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def peek_body(receive: Receive, limit: int) -> tuple[bytes | None, Receive]:
    """Read a body of at most ``limit`` bytes, and give it back to be read again.

    Returns the body, or None when it is longer or incomplete, and a ``receive`` that
    tells the whole story from its beginning.
    """
    messages: list[Message] = []
    body = b""
    while True:
        message = await receive()
        messages.append(message)
        body += message.get("body", b"")
        if message["type"] != "http.request" or len(body) > limit:
            return None, _replay(messages, receive)
        if not message.get("more_body", False):
            return body, _replay(messages, receive)


def replace_body(receive: Receive, raw: bytes) -> Receive:
    """Return a ``receive`` that gives ``raw`` as the body.

    ``receive`` must have been read to the end of the old one.
    """
    return _replay([{"type": "http.request", "body": raw}], receive)


def replace_json_body(
    scope: Scope, receive: Receive, document: Any
) -> tuple[Scope, Receive]:
    """Return the request with another body, which is encoded only if somebody reads it.

    ``receive`` must have been read to the end of the old one.
    """

    def messages() -> Iterator[Message]:
        yield {"type": "http.request", "body": encode_json(document)}

    # The length is unknown until it is encoded; ASGI allows a body without it.
    headers = [item for item in scope["headers"] if item[0] != b"content-length"]
    scope = {**scope, "headers": headers, DECODED_BODY: document}
    return scope, _replay(messages(), receive)


def _replay(messages: Iterable[Message], receive: Receive) -> Receive:
    pending = iter(messages)

    async def replay() -> Message:
        message = next(pending, None)
        return await receive() if message is None else message

    return replay
