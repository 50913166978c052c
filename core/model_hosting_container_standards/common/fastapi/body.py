"""Request bodies: read, decoded and changed at most once, and only when asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope

#: Where a body that a step of ours has changed travels to the handler's ``.json()``.
JSON_BODY: Final = "model_hosting_container_standards.body"


class JSONBody(NamedTuple):
    """A body in both its forms."""

    raw: bytes
    document: Any


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


def decode_object(raw: bytes) -> dict[str, Any] | None:
    """Return a body's JSON object, or None when it is anything else."""
    try:
        document = decode_json(raw)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


class JSONRequest(Request):
    """A request whose ``.json()`` is decoded already, or decoded faster."""

    @classmethod
    def of(cls, request: Request) -> JSONRequest:
        """Return the same request: what one of them has read, the other has too."""
        same = cls.__new__(cls)
        same.__dict__ = request.__dict__
        return same

    async def json(self) -> Any:
        # Starlette's own caches, so that whoever asks next finds both.
        if not hasattr(self, "_json"):
            if JSON_BODY in self.scope:
                self._body, self._json = self.scope[JSON_BODY]
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
    """Return the request with another body, in the scope in both its forms.

    ``receive`` must have been read to the end of the old one.
    """
    raw = encode_json(document)
    headers = [item for item in scope["headers"] if item[0] != b"content-length"]
    headers.append((b"content-length", b"%d" % len(raw)))
    scope = {**scope, "headers": headers, JSON_BODY: JSONBody(raw, document)}
    return scope, replace_body(receive, raw)


def _replay(messages: Iterable[Message], receive: Receive) -> Receive:
    pending = iter(messages)

    async def replay() -> Message:
        message = next(pending, None)
        return await receive() if message is None else message

    return replay
