"""Request bodies: read, decoded and re-encoded at most once, and only on demand."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope

from ..contract.headers import CONTENT_TYPE

#: Key of the :class:`JSONBody` in the scope, which the handler's ``.json()`` uses.
JSON_BODY: Final = "model_hosting_container_standards.body"

_JSON: Final = b"application/json"


class JSONBody:
    """An edited JSON object.

    ``document`` is the edited object; ``raw`` is its encoding. ``raw`` is computed only
    on demand, from the original, so that a handler may change the document.

    Args:
        original: the body as the client sent it.
        edit: changes the decoded object in place.

    Raises:
        TypeError: the body is JSON, but not an object.
        ValueError: the body is not JSON.
    """

    def __init__(self, original: bytes, edit: Callable[[dict[str, Any]], None]) -> None:
        self.original = original
        self.edit = edit
        self.document = self._edited(decode_json)

    def also(self, edit: Callable[[dict[str, Any]], None]) -> None:
        """Apply a further edit; ``raw`` must not have been read yet."""
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
            # NaN, lone surrogates and the like, which only the standard library takes.
            return json.dumps(self._edited(json.loads)).encode()

    def _edited(self, decode: Callable[[bytes], Any]) -> dict[str, Any]:
        document = decode(self.original)
        if not isinstance(document, dict):
            raise TypeError(f"The body is a {type(document).__name__}, not an object.")
        self.edit(document)
        return document


def decode_json(raw: bytes) -> Any:
    """Decode JSON like ``json.loads``, but faster.

    Raises:
        ValueError: as ``json.loads``; a ``JSONDecodeError`` for a body that is nested
            too deeply, too, because handlers only expect that one.
    """
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        # The standard library also takes NaN, UTF-16 and lone surrogates, and handlers
        # expect its errors.
        return _decode_by_standard_library(raw)


def _decode_by_standard_library(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except RecursionError:
        raise json.JSONDecodeError("Nested too deeply", "", 0) from None


def encode_json(document: Any) -> bytes:
    """Encode as JSON, also what only the standard library takes."""
    try:
        return msgspec.json.encode(document)
    except (ValueError, OverflowError, RecursionError):
        return json.dumps(document).encode()


def decode_object(raw: bytes) -> dict[str, Any] | None:
    """Return a body's JSON object; None if it is anything else."""
    try:
        document = decode_json(raw)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def declares_json(scope: Scope) -> bool:
    """Whether FastAPI treats the body as JSON, by its content type."""
    for name, value in scope["headers"]:
        if name == CONTENT_TYPE:  # The first header counts, as in Starlette.
            return value == _JSON or _is_json(value)
    return False


def _is_json(content_type: bytes) -> bool:
    media_type = content_type.partition(b";")[0].strip().lower()
    has_suffix = media_type.startswith(b"application/") and media_type.endswith(
        b"+json"
    )
    return media_type == _JSON or has_suffix


def as_json(scope: Scope) -> Scope:
    """Return the scope with a JSON content type.

    FastAPI passes a body with any other content type on as bytes.
    """
    if declares_json(scope):
        return scope
    headers = [header for header in scope["headers"] if header[0] != CONTENT_TYPE]
    return {**scope, "headers": [*headers, (CONTENT_TYPE, _JSON)]}


async def declare_json(scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
    """Return the request, with a JSON content type if its body is a JSON object.

    The body is read only if it has another content type, and is not multipart.

    Raises:
        ClientDisconnect: the client disconnected before the body was complete.
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
    """A request whose ``.json()`` uses :data:`JSON_BODY`, or the faster decoder."""

    @classmethod
    def of(cls, request: Request) -> JSONRequest:
        """Return a JSONRequest that shares all state with ``request``."""
        same = cls.__new__(cls)
        same.__dict__ = request.__dict__
        return same

    async def json(self) -> Any:
        # Starlette's own cache, which later calls use too.
        if not hasattr(self, "_json"):
            if JSON_BODY in self.scope:
                self._json = self.scope[JSON_BODY].document
            else:
                self._json = decode_json(self._whole_body() or await self.body())
        return self._json

    async def body(self) -> bytes:
        # The messages of an edited body may not have been read.
        if JSON_BODY in self.scope:
            raw: bytes = self.scope[JSON_BODY].raw
            return raw
        return self._whole_body() or await super().body()

    def _whole_body(self) -> bytes | None:
        """Return a body that has been read; without a coroutine, which costs time."""
        if not hasattr(self, "_body"):
            raw = take_whole(self._receive)
            if raw is None:
                return None
            self._body = raw
        return self._body


async def read_body(receive: Receive) -> bytes:
    """Read the whole body.

    Raises:
        ClientDisconnect: the client disconnected before the body was complete.
    """
    if (whole := take_whole(receive)) is not None:
        return whole
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def peek_body(receive: Receive, limit: int) -> tuple[bytes | None, Receive]:
    """Read a body of at most ``limit`` bytes without consuming it.

    Returns:
        The body, or None if it is longer or incomplete; and a ``receive`` that replays
        all messages from the beginning.
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
            return body, replace_body(receive, body)


class WholeBody:
    """A body that is there as a whole, to be received."""

    __slots__ = ("_raw", "_receive")

    def __init__(self, raw: bytes, receive: Receive) -> None:
        self._raw: bytes | None = raw
        self._receive = receive

    def take(self) -> bytes | None:
        """Return the body; None if it has been taken or received."""
        raw, self._raw = self._raw, None
        return raw

    async def receive(self) -> Message:
        raw = self.take()
        if raw is None:
            return await self._receive()
        return {"type": "http.request", "body": raw}


class EditedBody(WholeBody):
    """An edited body, which is encoded when it is received."""

    __slots__ = ("_body",)

    def __init__(self, body: JSONBody, receive: Receive) -> None:
        self._body: JSONBody | None = body
        self._receive = receive

    def take(self) -> bytes | None:
        body, self._body = self._body, None
        return None if body is None else body.raw


def take_whole(receive: Receive) -> bytes | None:
    """Take the body whose method ``receive`` is; None if it is not there.

    It is read without a coroutine, which would cost time in every request.
    """
    owner = getattr(receive, "__self__", None)
    return owner.take() if isinstance(owner, WholeBody) else None


def replace_body(receive: Receive, raw: bytes) -> Receive:
    """Return a ``receive`` with ``raw`` as the body.

    The old body must have been read completely from ``receive``.
    """
    return WholeBody(raw, receive).receive


def replace_json_body(
    scope: Scope, receive: Receive, body: JSONBody
) -> tuple[Scope, Receive]:
    """Return the request with an edited body, in its messages and in its scope.

    The old body must have been read completely from ``receive``.
    """
    # The length is unknown until the body is encoded; ASGI does not require it.
    headers = [item for item in scope["headers"] if item[0] != b"content-length"]
    scope = as_json({**scope, "headers": headers, JSON_BODY: body})
    return scope, EditedBody(body, receive).receive


def replay(messages: Iterable[Message], receive: Receive) -> Receive:
    """Return a ``receive`` that returns ``messages``, then those of ``receive``."""
    pending = iter(messages)

    async def replay() -> Message:
        message = next(pending, None)
        return await receive() if message is None else message

    return replay
