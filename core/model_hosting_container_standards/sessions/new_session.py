"""Sessions that begin with a model request, whose session id is ``NEW_SESSION``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from ..asgi.body import replay
from ..contract.headers import SESSION_ID
from .control_request import REQUEST_TYPE

_BODY_HEADERS: Final = frozenset(
    {b"content-length", b"content-type", b"transfer-encoding"}
)
_JSON: Final = (b"content-type", b"application/json")


class NewSessionSend:
    """A ``send`` that adds the session's headers to a response below status 400."""

    def __init__(self, headers: Mapping[str, str], send: Send) -> None:
        self.has_begun = False
        self._headers = [(k.encode(), v.encode()) for k, v in headers.items()]
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] < 400:
            self.has_begun = True
            replaced = {name for name, _ in self._headers}
            others = [h for h in message.get("headers", ()) if h[0] not in replaced]
            message = {**message, "headers": [*others, *self._headers]}
        await self._send(message)


def replace_session_id(scope: Scope, session_id: str) -> Scope:
    """Return the scope with this session id in its header."""
    headers = [
        (name, session_id.encode() if name == SESSION_ID else value)
        for name, value in scope["headers"]
    ]
    return {**scope, "headers": headers}


def control_request(scope: Scope, request_type: str) -> tuple[Scope, Receive]:
    """Return a request of the same client that begins or ends a session.

    The client's own body is not read.
    """
    headers = [item for item in scope["headers"] if item[0] not in _BODY_HEADERS]
    body = json.dumps({REQUEST_TYPE: request_type}).encode()
    messages = [{"type": "http.request", "body": body}]
    return {**scope, "headers": [*headers, _JSON]}, replay(messages, _wait)


async def _wait() -> Message:
    """Wait for ever: the client's own messages belong to the request's handler."""
    message: Message = await asyncio.get_running_loop().create_future()
    return message
