"""The request that a middleware or formatter gets, and the one that is forwarded."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request, empty_receive
from starlette.types import Message, Receive, Scope

from ..asgi.body import JSONRequest, replay
from .content import (
    JSON_TYPE,
    encode_content,
    is_content,
    is_json,
    with_header,
    without_headers,
)


class ReplayableRequest(JSONRequest):
    """A request whose body can be read here and again by the app it is forwarded to."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._received: list[Message] = []
        self._receive_original = receive
        self._is_consumed = False
        super().__init__(scope, self._record)

    def to_forward(self, result: Any) -> tuple[Scope, Receive]:
        """Return scope and receive for the app, given a customer's return value.

        ``result`` is None or this request, possibly changed, or another request, or a
        body.

        Raises:
            TypeError: ``result`` is something else.
            RuntimeError: the app has already consumed the body, and no copy was kept.
        """
        is_ours = result is None or result is self
        if is_ours and self._is_untouched():
            return self.scope, self._receive_for_app
        if is_content(result):
            scope = _scope_of_new_body(self.scope, is_json(result))
            return self._with_body(scope, encode_content(result))
        request = self if result is None else result
        if not isinstance(request, Request):
            raise TypeError(
                f"A request was expected, not {type(result).__name__}: return a "
                "request or a body (bytes, text, a dict or a list), or nothing."
            )
        reads_ours = request.receive in (self._record, empty_receive)
        read = (request, self) if reads_ours else (request,)
        for reader in read:
            if (body := getattr(reader, "_body", None)) is not None:
                return self._with_body(request.scope, body)
        if not reads_ours:
            return request.scope, request.receive
        if self._is_consumed:
            raise RuntimeError(
                "The first call_next consumed the body: to call it twice, await "
                "request.body() before the first call."
            )
        # Chunks that were read from request.stream() are replayed one by one.
        return request.scope, replay([*self._received], self._receive_for_app)

    def _is_untouched(self) -> bool:
        """Whether the body has not been read, neither here nor by the app."""
        is_read = self._received or self._is_consumed or hasattr(self, "_body")
        return not is_read and self._receive == self._record

    def _with_body(self, scope: Scope, body: bytes) -> tuple[Scope, Receive]:
        # The recorded chunks are not needed any more.
        self._received.clear()
        scope = _with_length(scope, len(body))
        return scope, replay([{"type": "http.request", "body": body}], self._after_body)

    async def _record(self) -> Message:
        message = await self._receive_original()
        self._received.append(message)
        return message

    async def _receive_for_app(self) -> Message:
        """Receive for the app, when the body has not been read here."""
        message = await self._receive_original()
        if message.get("body") or message.get("more_body"):
            self._is_consumed = True
        elif message["type"] == "http.request":
            self._received.append(message)
        return message

    async def _after_body(self) -> Message:
        """Receive for the app, skipping the client's body, which was replaced."""
        while True:
            message = await self._receive_original()
            if message["type"] != "http.request":
                return message


def _scope_of_new_body(scope: Scope, json: bool) -> Scope:
    """Return the scope of a request whose body was replaced."""
    headers = without_headers(scope["headers"], b"content-encoding")
    if json:
        headers = with_header(headers, b"content-type", JSON_TYPE)
    return {**scope, "headers": headers}


def _with_length(scope: Scope, length: int) -> Scope:
    value = str(length).encode()
    headers = dict(scope["headers"])
    # A chunked body does not need a content-length.
    current = headers.get(
        b"content-length", headers.get(b"transfer-encoding") and value
    )
    if current == value:
        return scope
    changed = with_header(scope["headers"], b"content-length", value)
    return {**scope, "headers": changed}
