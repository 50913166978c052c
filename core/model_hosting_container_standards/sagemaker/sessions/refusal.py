"""What a server without sessions answers to a client that wants one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastapi import HTTPException
from starlette.types import Receive

from ...common.fastapi.body import decode_object, peek_body
from ..headers import SESSION_ID

NOT_ENABLED: Final = "Invalid payload. stateful sessions not enabled"
#: A control request is one short JSON object; longer bodies are not looked into.
CONTROL_REQUEST_LIMIT: Final = 4096
CONTROL_REQUESTS: Final = ("NEW_SESSION", "CLOSE")
_KEY: Final = b'"requestType"'


async def refuse_sessions(headers: Mapping[bytes, bytes], receive: Receive) -> Receive:
    """Return a ``receive`` for the untouched request, unless it is about a session.

    Raises:
        HTTPException: 400, the request names a session, or asks for one.
    """
    if headers.get(SESSION_ID):
        raise HTTPException(400, NOT_ENABLED)
    if not _may_be_short(headers):
        return receive
    body, receive = await peek_body(receive, CONTROL_REQUEST_LIMIT)
    if body and _KEY in body and _is_control_request(body):
        raise HTTPException(400, NOT_ENABLED)
    return receive


def _may_be_short(headers: Mapping[bytes, bytes]) -> bool:
    """Whether there is a body, and nothing says that it is too long to look into."""
    length = headers.get(b"content-length")
    if length is None:
        return b"transfer-encoding" in headers
    return length.isdigit() and 0 < int(length) <= CONTROL_REQUEST_LIMIT


def _is_control_request(body: bytes) -> bool:
    document = decode_object(body) or {}
    return document.get("requestType") in CONTROL_REQUESTS
