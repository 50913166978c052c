"""What a server without sessions answers to a client that wants one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import Receive

from ...common.fastapi.body import decode_json, peek_body
from ..headers import SESSION_ID

#: A control request is one short JSON object; nothing longer is looked into.
CONTROL_REQUEST_LIMIT: Final = 4096
CONTROL_REQUESTS: Final = frozenset({"NEW_SESSION", "CLOSE"})
_KEY: Final = b'"requestType"'


async def refuse_sessions(headers: Mapping[bytes, bytes], receive: Receive) -> Receive:
    """Return a ``receive`` for the untouched request, unless it is about a session.

    Raises:
        HTTPException: 400, the request names a session, or asks for one.
    """
    body, receive = await peek_body(receive, CONTROL_REQUEST_LIMIT)
    if SESSION_ID in headers or (body and _KEY in body and _is_control_request(body)):
        raise HTTPException(400, "Invalid payload. stateful sessions not enabled")
    return receive


def _is_control_request(body: bytes) -> bool:
    try:
        document = decode_json(body)
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(document, dict) and document.get("requestType") in CONTROL_REQUESTS
    )
