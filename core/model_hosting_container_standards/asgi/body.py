"""Request bodies: read, decoded and changed at most once, and only when asked for."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope

from ..contract.headers import CONTENT_TYPE

#: Where a body that a step of ours has changed travels to the handler's ``.json()``.
JSON_BODY: Final = "model_hosting_container_standards.body"

_JSON: Final = b"application/json"


class JSONBody:
    """A JSON object that a step of ours has edited.

    ``document`` is the edited object. ``raw`` is what the client would have sent: made
    only if somebody reads it, and from the original, so that a handler may do to the
    document what it likes.
    """

    def __init__(self, original: bytes, edit: Callable[[dict[str, Any]], None]) -> None:
        self.original = original
        self.edit = edit
        self.document = self._edited(decode_json)

    def also(self, edit: Callable[[dict[str, Any]], None]) -> None:
        """Edit it once more; nobody has read ``raw`` yet."""
        first = self.edit

        def both(document: dict[str, Any]) -> None:
            first(document)
            edit(document)

        edit(self.document)
        self.edit = both

    @functools.cached_property
    def raw(self) -> bytes:
        try:
            return msgspec.json.encode(self._edited(msgspec.json.decode))
        except (ValueError, TypeError, OverflowError, RecursionError):
            # NaN, lone surrogates and the like, which only the standard library knows.
            return json.dumps(self._edited(json.loads)).encode()

    def _edited(self, decode: Callable[[bytes], Any]) -> dict[str, Any]:
        document = decode(self.original)
        if not isinstance(document, dict):
            raise TypeError(f"The body is a {type(document).__name__}, not an object.")
        self.edit(document)
        return document


def decode_json(raw: bytes) -> Any:
    """Return what ``json.loads(raw)`` returns, or raise what it raises, but sooner."""
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        # The standard library takes more than JSON (NaN, UTF-16, lone surrogates), and
        # its errors are the ones handlers expect.
        return json.loads(raw)


def decode_object(raw: bytes) -> dict[str, Any] | None:
    """Return a body's JSON object, or None when it is anything else."""
    try:
        document = decode_json(raw)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def declares_json(scope: Scope) -> bool:
    """Whether FastAPI takes the body for JSON, as its content type says."""
    for name, value in scope["headers"]:
        if name == CONTENT_TYPE:  # The first one counts, as for Starlette.
            return value == _JSON or _is_json(value)
    return False


def _is_json(content_type: bytes) -> bool:
    media_type = content_type.partition(b";")[0].strip().lower()
    is_kind = media_type.startswith(b"application/") and media_type.endswith(b"+json")
    return media_type == _JSON or is_kind


def as_json(scope: Scope) -> Scope:
    """Return the scope of a body that is known to be JSON, with a type that says so.

    FastAPI passes any other body on as bytes, whatever is in it.
    """
    if declares_json(scope):
        return scope
    headers = [header for header in scope["headers"] if header[0] != CONTENT_TYPE]
    return {**scope, "headers": [*headers, (CONTENT_TYPE, _JSON)]}


async def declare_json(scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
    """Return the request, with a body that is a JSON object declared as one.

    It is read only if it claims to be something else, and is not a form of parts.

    Raises:
        ClientDisconnect: the client went away before the body was complete.
    """
    if declares_json(scope) or _is_multipart(scope):
        return scope, receive
    raw = await read_body(receive)
    scope = scope if decode_object(raw) is None else as_json(scope)
    return scope, replace_body(receive, raw)


def _is_multipart(scope: Scope) -> bool:
    return any(
        name == CONTENT_TYPE and value.lower().startswith(b"multipart/")
        for name, value in scope["headers"]
    )


class JSONRequest(Request):
    """A request whose ``.json()`` is decoded already, or decoded faster."""

    @classmethod
    def of(cls, request: Request) -> JSONRequest:
        """Return the same request: what one of them has read, the other has too."""
        same = cls.__new__(cls)
        same.__dict__ = request.__dict__
        return same

    async def json(self) -> Any:
        # Starlette's own cache, so that whoever asks next finds it too.
        if not hasattr(self, "_json"):
            if JSON_BODY in self.scope:
                self._json = self.scope[JSON_BODY].document
            else:
                self._json = decode_json(await self.body())
        return self._json

    async def body(self) -> bytes:
        # Whoever has the document need not have read the messages it came in.
        if JSON_BODY in self.scope:
            raw: bytes = self.scope[JSON_BODY].raw
            return raw
        return await super().body()


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
            return None, replay(messages, receive)
        if not message.get("more_body", False):
            return body, replay(messages, receive)


def replace_body(receive: Receive, raw: bytes) -> Receive:
    """Return a ``receive`` that gives ``raw`` as the body.

    ``receive`` must have been read to the end of the old one.
    """
    return replay([{"type": "http.request", "body": raw}], receive)


def replace_json_body(
    scope: Scope, receive: Receive, body: JSONBody
) -> tuple[Scope, Receive]:
    """Return the request with another body, which its scope has for who wants it whole.

    ``receive`` must have been read to the end of the old one.
    """

    def messages() -> Iterator[Message]:
        yield {"type": "http.request", "body": body.raw}

    # Its length is unknown until somebody reads it; ASGI allows a body without it.
    headers = [item for item in scope["headers"] if item[0] != b"content-length"]
    scope = as_json({**scope, "headers": headers, JSON_BODY: body})
    return scope, replay(messages(), receive)


def replay(messages: Iterable[Message], receive: Receive) -> Receive:
    pending = iter(messages)

    async def replay() -> Message:
        message = next(pending, None)
        return await receive() if message is None else message

    return replay
