"""The request a middleware or formatter sees, and what goes on from it."""

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
    """A request that may be read here, and once more by whoever it is passed on to."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._received: list[Message] = []
        self._unread = receive
        self._is_taken = False
        super().__init__(scope, self._record)

    def passed_on(self, result: Any) -> tuple[Scope, Receive]:
        """Return the request that goes on, given what a customer made of this one.

        ``result`` is None or this request, which may have been changed, or another
        request, or a body.

        Raises:
            TypeError: it is none of these.
            RuntimeError: the app has got the body already, and nobody else has it.
        """
        if is_content(result):
            scope = _of_content(self.scope, is_json(result))
            return self._with_body(scope, encode_content(result))
        request = self if result is None else result
        if not isinstance(request, Request):
            raise TypeError(
                f"A request was expected, not {type(result).__name__}: return a "
                "request or a body (bytes, text, a dict or a list), or nothing."
            )
        is_own = request.receive in (self._record, empty_receive)
        read = (request, self) if is_own else (request,)
        for reader in read:
            if (body := getattr(reader, "_body", None)) is not None:
                return self._with_body(request.scope, body)
        if not is_own:
            return request.scope, request.receive
        if self._is_taken:
            raise RuntimeError(
                "The body has gone with the first call_next: await request.body() "
                "before it, to pass the request on twice."
            )
        if not self._received:
            return request.scope, self._hand_out
        # What was read as a stream is read again as it came.
        return request.scope, replay([*self._received], self._hand_out)

    def _with_body(self, scope: Scope, body: bytes) -> tuple[Scope, Receive]:
        # It need not be held twice.
        self._received.clear()
        scope = _with_length(scope, len(body))
        return scope, replay([{"type": "http.request", "body": body}], self._after_body)

    async def _record(self) -> Message:
        message = await self._unread()
        self._received.append(message)
        return message

    async def _hand_out(self) -> Message:
        """Receive for the app, which reads what nobody has read here."""
        message = await self._unread()
        if message.get("body") or message.get("more_body"):
            self._is_taken = True
        elif message["type"] == "http.request":
            self._received.append(message)
        return message

    async def _after_body(self) -> Message:
        """Receive what comes after the client's body, which has been replaced."""
        while True:
            message = await self._unread()
            if message["type"] != "http.request":
                return message


def _of_content(scope: Scope, json: bool) -> Scope:
    """Return the scope of a request that has new content."""
    headers = without_headers(scope["headers"], b"content-encoding")
    if json:
        headers = with_header(headers, b"content-type", JSON_TYPE)
    return {**scope, "headers": headers}


def _with_length(scope: Scope, length: int) -> Scope:
    value = str(length).encode()
    headers = dict(scope["headers"])
    # A chunked body has none, and needs none.
    told = headers.get(b"content-length", headers.get(b"transfer-encoding") and value)
    if told == value:
        return scope
    changed = with_header(scope["headers"], b"content-length", value)
    return {**scope, "headers": changed}
