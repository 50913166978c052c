"""A session that begins by its first request: what its handler sees, and its answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from ..asgi.body import replay
from ..contract.headers import SESSION_ID
from .control_request import REQUEST_TYPE

_OF_A_BODY: Final = frozenset(
    {b"content-length", b"content-type", b"transfer-encoding"}
)
_JSON: Final = (b"content-type", b"application/json")


class NewSessionSend:
    """A ``send`` that tells the client of its session, if it is answered well."""

    def __init__(self, headers: Mapping[str, str], send: Send) -> None:
        self.has_begun = False
        self._headers = [(k.encode(), v.encode()) for k, v in headers.items()]
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] < 400:
            self.has_begun = True
            ours = {name for name, _ in self._headers}
            theirs = [h for h in message.get("headers", ()) if h[0] not in ours]
            message = {**message, "headers": [*theirs, *self._headers]}
        await self._send(message)


def with_session_id(scope: Scope, session_id: str) -> Scope:
    """Return a scope as if the client had sent this id."""
    headers = [
        (name, session_id.encode() if name == SESSION_ID else value)
        for name, value in scope["headers"]
    ]
    return {**scope, "headers": headers}


def control_request(scope: Scope, wanted: str) -> tuple[Scope, Receive]:
    """Return a request to begin or end a session, of the same client.

    The body of its own request is left to be read.
    """
    headers = [item for item in scope["headers"] if item[0] not in _OF_A_BODY]
    body = json.dumps({REQUEST_TYPE: wanted}).encode()
    messages = [{"type": "http.request", "body": body}]
    return {**scope, "headers": [*headers, _JSON]}, replay(messages, _wait)


async def _wait() -> Message:
    """Tell nothing of the client: it has sent more, which belongs to another reader."""
    message: Message = await asyncio.get_running_loop().create_future()
    return message
