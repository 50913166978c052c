"""The request a middleware or formatter sees, and what goes on from it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from ..body import JSONRequest, replay
from .content import JSON_TYPE, encode_content, is_content, with_header


class PassingRequest(JSONRequest):
    """A request that may be read here, and once more by whoever it is passed on to."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._received: list[Message] = []
        self._unread = receive
        super().__init__(scope, self._record)

    async def _record(self) -> Message:
        message = await self._unread()
        self._received.append(message)
        return message

    def passed_on(self, result: Any) -> tuple[Scope, Receive]:
        """Return the request that goes on, given what a customer made of this one.

        ``result`` is None or this request, which may have been changed, or another
        request, or a body.

        Raises:
            TypeError: it is none of these.
        """
        if is_content(result):
            return self._with_body(self.scope, encode_content(result), result)
        request = self if result is None else result
        if not isinstance(request, Request):
            raise TypeError(
                f"A request was expected, not {type(result).__name__}: return a "
                "request or a body (bytes, text, a dict or a list), or nothing."
            )
        body: bytes | None = getattr(request, "_body", None)
        if body is not None:
            return self._with_body(request.scope, body, None)
        if request is not self and request.receive != self._record:
            return request.scope, request.receive
        # What was read as a stream is read again as it came.
        return request.scope, replay(self._received, self._unread)

    def _with_body(
        self, scope: Scope, body: bytes, content: Any
    ) -> tuple[Scope, Receive]:
        headers = dict(scope["headers"])
        if (
            isinstance(content, dict | list)
            and headers.get(b"content-type") != JSON_TYPE
        ):
            scope = _with_header(scope, b"content-type", JSON_TYPE)
        length = str(len(body)).encode()
        if headers.get(b"content-length", length) != length:
            scope = _with_header(scope, b"content-length", length)
        return scope, replay([{"type": "http.request", "body": body}], self._after_body)

    async def _after_body(self) -> Message:
        """Receive what comes after the client's body, which has been replaced."""
        while True:
            message = await self._unread()
            if message["type"] != "http.request":
                return message


def _with_header(scope: Scope, name: bytes, value: bytes) -> Scope:
    return {**scope, "headers": with_header(scope["headers"], name, value)}
